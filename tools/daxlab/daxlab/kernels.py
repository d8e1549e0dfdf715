# SPDX-License-Identifier: BSD-3-Clause
"""Kernels: a series of the distribution's, a build tree, or an image with its modules."""
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import zlib
from pathlib import Path

from . import modules, progress, vmlinux
from .errors import LabError

# Only the plain flavour: cloud has no 9p, rt is another kernel, dbg is no kernel.
_IMAGE = (r"^linux-(image|binary|binary-unsigned)-([0-9]+\.[0-9]+)\.([0-9][^-]*(-[0-9]+)?)"
          r"-amd64(-unsigned)?$")
# What the lab may want to load from a modules tree of 100 MB and more.
_KEEP = re.compile(
    r"kernel/(arch|crypto|lib|mm|virt|net/9p|net/core|net/vmw_vsock|fs/(ext4|jbd2|xfs|9p|"
    r"netfs|fscache|fuse|overlayfs|nls|btrfs|f2fs|erofs|configfs)|fs/[^/]*\.ko|drivers/(acpi|block|"
    r"char/hw_random|dax|md|nvdimm|nvme|virtio|vdpa|vhost|char/[^/]*\.ko|dma-buf)|"
    r"drivers/net/virtio|drivers/base|"
    # RDMA over the network stack, with what it stands on.
    r"drivers/infiniband/(core|sw/rxe)|net/ipv[46]/[^/]*udp_tunnel)")
# Of the cache. What was kept under another rule lacks something: it is got again.
FOLDER = "kernels.%08x" % zlib.crc32(_KEEP.pattern.encode())
NEWEST = "newest"


class Kernel:
    """A kernel that can be booted: `image` for QEMU, `modules` as modprobe wants them."""

    def __init__(self, name, folder):
        facts = json.loads((folder / "facts.json").read_text())
        self.name = name
        self.release = facts["release"]
        self.series = facts["series"]
        self.folder = folder
        self.image = folder / "vmlinux"
        self.modules_root = str(folder) if facts["modules"] else None
        self.key = facts["key"]


class Offer:
    """A kernel that the archive has."""

    def __init__(self, series, release, packages, size):
        self.series, self.release = series, release
        self.packages, self.size = packages, size


def version_key(text):
    """Orders 6.1.0-9 before 6.1.0-10, and 6.9 before 6.10."""
    return [int(part) for part in re.findall(r"\d+", text)]


def offers(packages):
    """{series: Offer}, the newest of each, from the archive's packages."""
    best = {}
    for name in packages:
        match = re.match(_IMAGE, name)
        if not match:
            continue
        series = match.group(2)
        release = "%s.%s-amd64" % (series, match.group(3))
        parts = _parts(name, release, packages)
        # Signed before unsigned of the same release; both hold the same kernel.
        rank = (version_key(release), "unsigned" not in name)
        if parts and (series not in best or rank > best[series][0]):
            size = sum(packages[part].size for part in parts)
            best[series] = (rank, Offer(series, release, parts, size))
    return {series: offer for series, (_, offer) in best.items()}


def _parts(name, release, packages):
    """The packages that make up a kernel; None for one that cannot be completed.

    Until 6.18 linux-image-V holds everything. After that it is an empty one that draws in
    linux-binary-V (the image) and linux-modules-V; for a while the modules came as part of
    linux-binary-V's own dependencies.
    """
    parts = [name]
    if name.startswith("linux-image-"):
        return parts if packages[name].size > 20 << 20 else None
    modules_name = "linux-modules-" + release
    if modules_name not in packages:
        return None
    parts.append(modules_name)
    if "linux-base-" + release in packages:
        parts.append("linux-base-" + release)
    return parts


class Store:
    """Kernels in the cache."""

    def __init__(self, cache, apt):
        self.cache, self.apt = cache, apt
        self.root = cache.root / FOLDER

    def cached(self):
        """{series: folder} of what is there."""
        if not self.root.is_dir():
            return {}
        found = {}
        for folder in sorted(self.root.iterdir(), key=lambda p: version_key(p.name)):
            if (folder / "facts.json").exists():
                facts = json.loads((folder / "facts.json").read_text())
                found[facts["series"]] = folder
        return found

    def offered(self, refresh=False):
        self.apt.update(force=refresh)
        return offers(self.apt.packages(r"^linux-(image|binary|modules|base)-.*amd64"))

    def _newest(self, refresh):
        """The newest series that there is; offline, the newest one cached."""
        try:
            names = self.offered(refresh)
        except LabError:
            names = self.cached()
        if not names:
            raise LabError("no kernel is cached and none can be had; is the network up?")
        return max(names, key=version_key)

    def get(self, spec, refresh=False):
        """The Kernel that `spec` names, downloaded when need be."""
        if "/" in spec or os.path.exists(spec):
            return user_kernel(self.cache, spec)
        series = self._newest(refresh) if spec == NEWEST else spec
        cached = self.cached()
        if series in cached and not refresh:
            return Kernel(spec, cached[series])
        offered = self.offered(refresh)
        if series not in offered:
            raise LabError(unknown(spec, offered, cached))
        offer = offered[series]
        if series in cached and cached[series].name == offer.release:
            return Kernel(spec, cached[series])
        folder = self._fetch(offer)
        if series in cached:
            shutil.rmtree(cached[series], ignore_errors=True)
        return Kernel(spec, folder)

    def _fetch(self, offer):
        def build(path):
            mib = offer.size >> 20
            # The packages, what they unpack to, and the image out of its compression.
            self.cache.need_space(mib * 3 + 400, "kernel %s" % offer.release)
            progress.note("getting kernel %s (%d MB)" % (offer.release,
                                                        offer.size // 1000000))
            started = time.monotonic()
            debs = path.parent / "debs"
            debs.mkdir()
            unpacked = path.parent / "unpacked"
            for deb in self.apt.download(offer.packages, debs):
                _unpack_deb(deb, unpacked)
            _assemble(unpacked, offer.series, offer.release, path)
            progress.note("kernel %s is ready (%.0f s)"
                          % (offer.release, time.monotonic() - started))
        return self.cache.entry("%s/%s" % (FOLDER, offer.release), build)


def unknown(spec, offered, cached):
    can = sorted(set(offered) | set(cached), key=version_key)
    return ("no kernel %r: there are the series %s, and '%s'; or name a build tree "
            "(a folder) or IMAGE:MODULES" % (spec, ", ".join(can), NEWEST))


def _wanted(name):
    name = name.lstrip("./")
    if re.match(r"boot/(vmlinuz|config)-", name):
        return True
    match = re.match(r"(?:usr/)?lib/modules/[^/]+/(.*)$", name)
    if not match:
        return False
    inside = match.group(1)
    return bool(_KEEP.match(inside)) if inside.startswith("kernel/") else True


def _unpack_deb(deb, target):
    """Unpacks what _wanted() says; four fifths of a kernel package are drivers."""
    source = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)],
                              stdout=subprocess.PIPE)
    with tarfile.open(fileobj=source.stdout, mode="r|") as tar:
        for member in tar:
            if member.isfile() and _wanted(member.name):
                path = target / member.name.lstrip("./")
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as handle:
                    shutil.copyfileobj(tar.extractfile(member), handle)
    source.stdout.read()
    if source.wait() != 0:
        raise LabError("%s cannot be unpacked; try again with --refresh" % deb.name)


def _assemble(unpacked, series, release, path):
    tree = next((tree for tree in (unpacked / "usr/lib/modules" / release,
                                   unpacked / "lib/modules" / release)
                 if tree.is_dir()), None)
    if not tree:
        raise LabError("the packages of %s hold no modules; this is a bug in daxlab"
                       % release)
    image = next((p for p in (tree / "vmlinuz", tree / "vmlinuz.unsigned",
                              unpacked / "boot" / ("vmlinuz-" + release)) if p.exists()), None)
    if not image:
        raise LabError("the packages of %s hold no image; this is a bug in daxlab" % release)
    path.mkdir()
    vmlinux.extract(image, path / "vmlinux")
    for config in (tree / "config", unpacked / "boot" / ("config-" + release)):
        if config.exists():
            shutil.copy(config, path / "config")
    for extra in tree.glob("vmlinuz*"):
        extra.unlink()
    (path / "lib/modules").mkdir(parents=True)
    shutil.move(str(tree), str(path / "lib/modules" / release))
    modules.depmod(str(path), release)
    _write_facts(path, series, release, release, True)


def _write_facts(path, series, release, key, has_modules):
    (path / "facts.json").write_text(json.dumps(
        {"series": series, "release": release, "key": key, "modules": has_modules}))


def user_kernel(cache, spec):
    """A build tree, or IMAGE:MODULES. Unpacked into the cache under the image's identity."""
    image, modules_root, release = _user_parts(spec)
    stat = os.stat(image)
    key = "user-%x-%x-%x" % (stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def build(path):
        cache.need_space(200, "the image of " + spec)
        path.mkdir()
        vmlinux.extract(image, path / "vmlinux")
        _write_facts(path, ".".join(release.split(".")[:2]), release, key, False)

    folder = cache.entry("user/" + key, build)
    kernel = Kernel(spec, folder)
    kernel.modules_root = modules_root
    return kernel


def _user_parts(spec):
    image, _, modules_root = spec.partition(":")
    if not os.path.exists(image):
        raise LabError("no kernel %s: there is no such file or folder" % image)
    if os.path.isdir(image):
        tree = Path(image)
        image = tree / "arch/x86/boot/bzImage"
        if not image.exists():
            raise LabError("%s holds no arch/x86/boot/bzImage; build it there (make bzImage), "
                           "or name IMAGE:MODULES" % tree)
    release = image_release(image)
    if modules_root and not os.path.isdir(os.path.join(modules_root, "lib/modules", release)):
        raise LabError("%s holds no lib/modules/%s; install the modules there (make "
                       "modules_install INSTALL_MOD_PATH=%s)"
                       % (modules_root, release, modules_root))
    if modules_root:
        modules_root = os.path.abspath(modules_root)
    return str(image), modules_root or None, release


def image_release(path):
    """The release that a bzImage says it is (boot protocol: kernel_version)."""
    with open(path, "rb") as handle:
        head = handle.read(1 << 16)
    if head[0x202:0x206] != b"HdrS":
        raise LabError("%s is no Linux bzImage; name one (arch/x86/boot/bzImage, "
                       "/boot/vmlinuz-...)" % path)
    at = int.from_bytes(head[0x20e:0x210], "little") + 0x200
    text = head[at:head.index(b"\0", at)].decode(errors="replace")
    return text.split()[0]
