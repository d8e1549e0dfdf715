# SPDX-License-Identifier: BSD-3-Clause
"""Takes the ELF image out of a bzImage.

A kernel that is entered through its PVH note starts at once. As a bzImage it would first
unpack itself in the guest, which costs ten seconds and more under emulation.
"""
import bz2
import lzma
import shutil
import struct
import subprocess
import zlib

from .errors import LabError

PT_NOTE = 4
XEN_ELFNOTE_PHYS32_ENTRY = 18


def payload(image):
    """The compressed kernel inside a bzImage (boot protocol 2.08 and later)."""
    if image[0x202:0x206] != b"HdrS":
        raise LabError("this is no Linux bzImage; name one (arch/x86/boot/bzImage, "
                       "/boot/vmlinuz-...)")
    setup_sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    return image[start:start + length]


def _external(tool, data):
    if not shutil.which(tool):
        raise LabError("this kernel is packed with %s; install %s" % (tool, tool))
    # The build appends the unpacked length as four bytes, which the tools call garbage.
    done = subprocess.run([tool, "-dc"], input=data[:-4], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return done.stdout


def unpack(data):
    if data.startswith(b"\x7fELF"):
        return data
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(data)
    if data.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(b"\x5d\0\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor().decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return _external("zstd", data)
    if data.startswith(b"\x02\x21\x4c\x18"):
        return _external("lz4", data)
    raise LabError("this kernel is packed in a way that the lab does not know (first bytes "
                   "%s)" % data[:4].hex())


def has_pvh_entry(elf):
    """Whether the ELF image carries the note that says where PVH enters it."""
    if elf[:4] != b"\x7fELF" or elf[4] != 2:
        return False
    table, = struct.unpack_from("<Q", elf, 0x20)
    entry_size, count = struct.unpack_from("<HH", elf, 0x36)
    for index in range(count):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", elf,
                                                         table + index * entry_size)
        if kind == PT_NOTE and _notes_have_pvh(elf[offset:offset + size]):
            return True
    return False


def _notes_have_pvh(notes):
    at = 0
    while at + 12 <= len(notes):
        name_size, data_size, kind = struct.unpack_from("<III", notes, at)
        name = notes[at + 12:at + 12 + name_size]
        if kind == XEN_ELFNOTE_PHYS32_ENTRY and name == b"Xen\0":
            return True
        at += 12 + (name_size + 3 & ~3) + (data_size + 3 & ~3)
    return False


def extract(bzimage, target):
    """Writes the bootable form of `bzimage`: its ELF image, or itself without a PVH note."""
    with open(bzimage, "rb") as handle:
        image = handle.read()
    elf = unpack(payload(image))
    with open(target, "wb") as handle:
        handle.write(elf if has_pvh_entry(elf) else image)
