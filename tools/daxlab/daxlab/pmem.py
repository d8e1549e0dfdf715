# SPDX-License-Identifier: BSD-3-Clause
"""The kinds of persistent memory that a guest can have."""
from dataclasses import dataclass, replace

from .errors import LabError

# Where QEMU's q35 splits the guest's memory: this much lies below 4 GiB once there is more
# than the limit.
LOW_MIB, LOW_LIMIT_MIB = 2048, 2816
FOUR_GIB_MIB = 4096


@dataclass(frozen=True)
class Kind:
    name: str
    device: str = "nvdimm"          # of QEMU; "ram": a part of the guest's memory
    persistence: str = "mem-ctrl"   # what the platform keeps at a power cut, as QEMU calls it
    namespace: str = "fsdax"        # the mode of ndctl; "raw": as the kernel finds it
    align: str = "2M"               # of the namespace, as ndctl wants it

    @property
    def path(self):
        return "/dev/dax0.0" if self.namespace == "devdax" else "/dev/pmem0"

    @property
    def outlives_guest(self):
        """The bytes are in a file of the host, and not in the guest's own memory."""
        return self.device != "ram"

    def label(self, kernel, fs):
        kind = () if self.name == NVDIMM else (self.name,)
        return "/".join((kernel,) + kind + (fs,))

    def memory_mib(self, memory_mib, size_mib):
        return memory_mib + (0 if self.outlives_guest else size_mib)

    def kernel_args(self, memory_mib, size_mib):
        if self.outlives_guest:
            return ()
        return ("memmap=%dM!%dM" % (size_mib, _end_of_ram(memory_mib, size_mib)),)


def _end_of_ram(memory_mib, size_mib):
    """The address in MiB of the last @size_mib of the guest's memory."""
    total = memory_mib + size_mib
    if total < LOW_LIMIT_MIB:
        return total - size_mib
    high = total - LOW_MIB
    if size_mib > high:
        raise LabError("--pmem memmap: %d MiB do not fit behind 4 GiB with --memory %d; take "
                       "--memory %d" % (size_mib, memory_mib, LOW_MIB))
    return FOUR_GIB_MIB + high - size_mib


NVDIMM = "nvdimm"
KINDS = {kind.name: kind for kind in (
    Kind(NVDIMM),
    Kind("eadr", persistence="cpu"),
    Kind("virtio", device="virtio-pmem", namespace="raw"),
    Kind("memmap", device="ram", namespace="raw"),
    Kind("devdax", namespace="devdax"),
)}
DEFAULT = KINDS[NVDIMM]
# What device DAX can map by one entry of the page table.
ALIGNMENTS = ("4K", "2M", "1G")
# A namespace begins with its header, and its content at the next multiple of its alignment.
LEAST_MIB_OF_1G = 2048


def find(name, systems, align=None):
    """The kind of that name, for a guest with one of the file systems."""
    if name not in KINDS:
        raise LabError("--pmem %s: the lab knows %s" % (name, ", ".join(KINDS)))
    kind = KINDS[name]
    if kind.namespace == "devdax" and systems != ["none"]:
        raise LabError("--pmem devdax: no file system fits on device DAX; say --fs none")
    return _aligned(kind, align) if align else kind


def _aligned(kind, align):
    if align not in ALIGNMENTS:
        raise LabError("--align %s: the lab knows %s" % (align, ", ".join(ALIGNMENTS)))
    if kind.namespace != "devdax":
        raise LabError("--align is the alignment of device DAX; say --pmem devdax --fs none")
    return replace(kind, align=align)
