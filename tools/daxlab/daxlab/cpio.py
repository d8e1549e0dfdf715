# SPDX-License-Identifier: BSD-3-Clause
"""Writes cpio archives in the "newc" form, the one that the kernel unpacks.

Written here and not by cpio(1) so that a file's guest path is free of its host path and so
that root's ownership and device nodes need no root on the host.
"""
import os
import stat


class Writer:
    def __init__(self, out):
        self._out = out
        self._size = 0
        self._inode = 0
        self._folders = {""}

    def _write(self, data):
        self._out.write(data)
        self._size += len(data)

    def _pad(self):
        self._write(b"\0" * (-self._size % 4))

    def _header(self, name, mode, size, device=0):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, size, 0, 0,
                  os.major(device), os.minor(device), len(encoded), 0)
        self._write(b"070701" + b"".join(b"%08X" % field for field in fields))
        self._write(encoded)
        self._pad()

    def _parents(self, name):
        parent = os.path.dirname(name)
        if parent not in self._folders:
            self.folder(parent)

    def folder(self, path, mode=0o755):
        name = path.strip("/")
        if name in self._folders:
            return
        self._parents(name)
        self._folders.add(name)
        self._header(name, stat.S_IFDIR | mode, 0)

    def symlink(self, path, target):
        name = path.strip("/")
        self._parents(name)
        # Entries below a link to a folder go through it; it must not be made a folder again.
        self._folders.add(name)
        self.data(path, target.encode(), stat.S_IFLNK | 0o777)

    def device(self, path, mode, major, minor):
        name = path.strip("/")
        self._parents(name)
        self._header(name, mode, 0, os.makedev(major, minor))

    def data(self, path, content, mode=stat.S_IFREG | 0o644):
        name = path.strip("/")
        self._parents(name)
        self._header(name, mode, len(content))
        self._write(content)
        self._pad()

    def file(self, path, source, mode=None):
        with open(source, "rb") as handle:
            content = handle.read()
            if mode is None:
                mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode) & 0o755
        self.data(path, content, stat.S_IFREG | mode)

    def close(self):
        self._header("TRAILER!!!", 0, 0)
        # The kernel accepts archives one after the other when each starts on 4 bytes; 512 is
        # what cpio(1) itself pads to.
        self._write(b"\0" * (-self._size % 512))
