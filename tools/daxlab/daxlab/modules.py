# SPDX-License-Identifier: BSD-3-Clause
"""Which kernel modules a guest loads, and in which order."""
import lzma
import os
import shutil
import subprocess

from .errors import LabError

# Persistent memory, and the way in and out. Without these a guest is of no use.
BASE = ("virtio_pci", "9pnet_virtio", "9p", "nfit", "nd_pmem")
FILE_SYSTEMS = ("ext4", "xfs")
# Providers of checksums that older ext4 and xfs ask the crypto layer for by name; modprobe
# knows them as soft dependencies only, and newer kernels have them built in or not at all.
WANTED = ("crc32c_generic", "libcrc32c", "crc32c_cryptoapi", "virtio_pmem", "nd_e820",
          "device_dax", "dax_pmem", "loop",
          # Makes a block device slow.
          "dm_delay")


def _tool(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not path:
        raise LabError("%s is missing; install kmod" % name)
    return path


def depmod(root, release):
    subprocess.run([_tool("depmod"), "-b", root, release], check=True,
                   stderr=subprocess.DEVNULL)


def _show_depends(root, release, name):
    # -C /dev/null: the machine's own modprobe.d may hide a module behind an install line.
    return subprocess.run(
        [_tool("modprobe"), "-C", "/dev/null", "-d", root, "-S", release,
         "--show-depends", name],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)


def load_order(root, release, builtin_only=False, more=()):
    """Paths of the modules to insert, in order; of `more` those that the kernel has."""
    if builtin_only:
        return []
    order = []
    for name in WANTED + BASE + FILE_SYSTEMS + tuple(more):
        done = _show_depends(root, release, name)
        if done.returncode != 0:
            if name in WANTED or name in more:
                continue
            raise LabError("kernel %s has no module %s, nor is it built in; build it with "
                           "CONFIG_%s" % (release, name, CONFIG[name]))
        for line in done.stdout.splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in order:
                order.append(words[1])
    return order


CONFIG = {"virtio_pci": "VIRTIO_PCI", "9pnet_virtio": "NET_9P_VIRTIO", "9p": "9P_FS",
          "nfit": "ACPI_NFIT", "nd_pmem": "BLK_DEV_PMEM", "ext4": "EXT4_FS",
          "xfs": "XFS_FS"}


def content(path):
    """A module's bytes, unpacked: the guest's insmod knows no compression."""
    with open(path, "rb") as handle:
        data = handle.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".gz"):
        import gzip
        return gzip.decompress(data)
    if path.endswith(".zst"):
        zstd = shutil.which("zstd")
        if not zstd:
            raise LabError("modules are packed with zstd; install zstd")
        return subprocess.run([zstd, "-dc"], input=data, stdout=subprocess.PIPE,
                              check=True).stdout
    return data


def guest_name(path):
    name = os.path.basename(path)
    return name[:name.index(".ko")] + ".ko"
