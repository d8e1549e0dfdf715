# SPDX-License-Identifier: BSD-3-Clause
"""The guest's initramfs: a base per kernel, cached, and the command's files after it."""
import hashlib
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

from . import closure, cpio, modules
from .errors import LabError

INIT = Path(__file__).with_name("guest-init")
TOOLS = {"ndctl": "ndctl", "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs",
         "mkfs.xfs": "xfsprogs", "xfs_repair": "xfsprogs", "xfs_io": "xfsprogs",
         "xfs_db": "xfsprogs"}
BUSYBOX = ("busybox", "busybox-static")
UNUSED_S = 3600
MKE2FS_CONF = "/etc/mke2fs.conf"    # without it mkfs.ext4 makes file systems of another age
FOLDERS = ("/dev", "/proc", "/sys", "/tmp", "/run/daxlab", "/share", "/mnt/pmem", "/root",
           "/etc", "/var/tmp", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64")


def find_tool(name, package):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if not path:
        raise LabError("%s is missing; install %s" % (name, package))
    return path


def tool_paths():
    paths = {name: find_tool(name, package) for name, package in TOOLS.items()}
    busybox = find_tool(*BUSYBOX)
    if closure.parse_ldd(_ldd(busybox), busybox):
        raise LabError("%s is not static; install busybox-static" % busybox)
    return busybox, paths


def _ldd(path):
    return subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          universal_newlines=True).stdout


def _identity(paths):
    digest = hashlib.sha256(INIT.read_bytes())
    digest.update(Path(__file__).read_bytes())
    digest.update(Path(modules.__file__).read_bytes())
    for path in sorted(paths):
        info = os.stat(path)
        digest.update(("%s %d %d\n" % (path, info.st_size, info.st_mtime_ns)).encode())
    return digest.hexdigest()[:16]


def applets(busybox):
    done = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True)
    return set(done.stdout.split()) - {"busybox"}


def base(cache, kernel, more=()):
    """The cached archive with init, tools and the kernel's modules, `more` among them."""
    busybox, tools = tool_paths()
    order = []
    if kernel.modules_root:
        order = modules.load_order(kernel.modules_root, kernel.release, more=more)
    conf = [MKE2FS_CONF] if os.path.exists(MKE2FS_CONF) else []
    identity = _identity([busybox] + list(tools.values()) + conf + order)
    name = "initramfs/%s/%s" % (kernel.key, identity)

    def build(path):
        with open(path, "wb") as out:
            _write_base(cpio.Writer(out), busybox, tools, order)

    path = cache.entry(name, build)
    os.utime(path)
    _prune(path)
    return path


def _prune(used):
    """Takes away what older tools or an older lab made for this kernel, but not at once:
    another run may be about to read it."""
    for path in used.parent.iterdir():
        try:
            if path.stat().st_mtime < time.time() - UNUSED_S:
                path.unlink()
        except FileNotFoundError:
            pass    # another run was quicker


def _write_base(archive, busybox, tools, order):
    for path in FOLDERS:
        archive.folder(path)
    for name in ("bin", "sbin", "lib", "lib64"):
        archive.symlink("/" + name, "usr/" + name)
    # The kernel opens the console before devtmpfs is there.
    archive.device("/dev/console", stat.S_IFCHR | 0o600, 5, 1)
    archive.device("/dev/null", stat.S_IFCHR | 0o666, 1, 3)
    archive.data("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.data("/etc/group", b"root:x:0:\n")
    archive.data("/etc/mtab", b"/proc/self/mounts", stat.S_IFLNK | 0o777)
    archive.file("/init", INIT, 0o755)
    archive.file("/usr/bin/busybox", busybox, 0o755)
    for name in sorted(applets(busybox) - set(tools)):
        archive.symlink("/usr/bin/" + name, "busybox")
    found = {}
    for path in tools.values():
        found.update(closure.files(path, path))
    for guest_path in sorted(found):
        archive.file(guest_path, found[guest_path])
    if os.path.exists(MKE2FS_CONF):
        archive.file(MKE2FS_CONF, MKE2FS_CONF)
    _write_modules(archive, order)
    archive.close()


def _write_modules(archive, order):
    for path in order:
        archive.data("/usr/lib/daxlab/" + modules.guest_name(path), modules.content(path))
    listing = "".join(modules.guest_name(path) + "\n" for path in order)
    archive.data("/usr/lib/daxlab/order", listing.encode())


def split_with(spec):
    """FILE or FILE:GUESTPATH."""
    host, _, guest = spec.partition(":")
    if not os.path.exists(host):
        raise LabError("--with %s: there is no such file" % host)
    return host, guest or "/usr/local/bin/" + os.path.basename(host)


def _command_file(command):
    """(host file to bring along or None, the word to run) for a command's first word."""
    word = command[0]
    if "/" in word:
        if os.path.isfile(word):
            return word, "/usr/local/bin/" + os.path.basename(word)
        return None, word
    if word in TOOLS or word in applets(find_tool(*BUSYBOX)):
        return None, word
    host = shutil.which(word)
    return host, word


def extra_files(command, with_files):
    """({guest path: host path}, command) that this run adds to the base."""
    found, command = {}, list(command)
    guest_names = set()
    for spec in with_files:
        host, guest = split_with(spec)
        guest_names.add(os.path.basename(guest))
        found.update(_tree(host, guest))
    if command and command[0] not in guest_names:
        host, command[0] = _command_file(command)
        if host:
            guest = command[0] if "/" in command[0] else "/usr/local/bin/" + command[0]
            found.update(closure.files(host, guest))
        elif "/" not in command[0] and command[0] not in TOOLS and \
                command[0] not in applets(find_tool(*BUSYBOX)):
            raise LabError("no command %s on this machine or in the guest; name its file, or "
                           "bring it along: --with FILE" % command[0])
    return found, command


def _tree(host, guest):
    if not os.path.isdir(host):
        return closure.files(host, guest)
    found = {}
    for folder, _, names in os.walk(host):
        inside = os.path.relpath(folder, host)
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                found.update(closure.files(path, os.path.normpath(
                    os.path.join(guest, inside, name))))
    return found


def build(base_path, files, target):
    """The initramfs of one run: the kernel takes archives one after the other."""
    with open(target, "wb") as out:
        with open(base_path, "rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)
        archive = cpio.Writer(out)
        for guest_path in sorted(files):
            archive.file(guest_path, files[guest_path])
        archive.close()
