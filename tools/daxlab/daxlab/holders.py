# SPDX-License-Identifier: BSD-3-Clause
"""What a guest has beside its persistent memory, so that daxverify and daxbench can hold memory in
every way they know, and exchange ranges of files on xfs: `daxlab matrix` and `daxlab bench` always
give it, `daxlab run` with --holders.
"""
# Loaded besides those that every guest has (modules.py): memory regions over the network stack, and
# a block device on which I/O takes no time.
# Of the others, io_uring, userfaultfd, AF_XDP and udmabuf are built into distribution kernels,
# and loop and dm_delay, which make a device slow, are among every guest's modules.
# Older rdma_rxe and nvme_core ask the crypto layer for their checksums by name.
MODULES = ("crc32_generic", "rdma_rxe", "ib_uverbs", "crc64_rocksoft_generic", "nvme",
           "null_blk")

# Reserved for memory on hugetlb, of 2 MiB each.
HUGE_PAGES = 8

# A second NVDIMM, gone with the guest, with a namespace in devdax mode; a link to its device.
DEVDAX_MIB = 64
DEVDAX = "/dev/devdax"

# An NVMe drive whose controller has memory of its own (CMB), which PCI peers can reach.
NVME = "/dev/nvme0n1"
NVME_DRIVE_MIB, NVME_MEMORY_MIB = 16, 64


def environment():
    """For guest-init."""
    return [("HUGE_PAGES", str(HUGE_PAGES)), ("DEVDAX", DEVDAX), ("EXCHANGE_RANGE", "1")]


def devices(label_mib, folder):
    """QEMU's words for the second NVDIMM and the NVMe drive, which is a file in `folder`."""
    drive = folder / "nvme"
    with open(drive, "xb") as handle:
        handle.truncate(NVME_DRIVE_MIB << 20)
    return ["-object", "memory-backend-ram,id=mem2,size=%dM" % (DEVDAX_MIB + label_mib),
            "-device", "nvdimm,id=nv2,memdev=mem2,label-size=128K",
            "-blockdev", "driver=file,node-name=nvme,filename=%s" % str(drive).replace(",", ",,"),
            "-device", "nvme,serial=daxlab,drive=nvme,cmb_size_mb=%d" % NVME_MEMORY_MIB]
