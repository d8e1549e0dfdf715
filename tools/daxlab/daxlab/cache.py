# SPDX-License-Identifier: BSD-3-Clause
"""The cache folder: finished entries, locks, scratch folders.

An entry comes into being by one rename, so whoever sees it sees all of it. Two runs that want
the same entry meet at a lock, and the second one finds the work done. Scratch folders are held
by a lock too: when their owner is gone, even by SIGKILL, the next run takes them away.
"""
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from .errors import LabError


def default_root(environ=os.environ):
    if environ.get("DAXLAB_CACHE"):
        return Path(environ["DAXLAB_CACHE"])
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "daxheap"
    return Path(environ.get("HOME") or "/tmp") / ".cache" / "daxheap"


def free_mib(path):
    vfs = os.statvfs(path)
    return vfs.f_bavail * vfs.f_frsize >> 20


def tree_mib(path):
    blocks = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                blocks += os.lstat(os.path.join(folder, name)).st_blocks
    return blocks * 512 / (1 << 20)


class Cache:
    def __init__(self, root=None):
        self.root = Path(root or default_root()).absolute()
        try:
            for name in ("tmp", "lock"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError("cannot make the cache folder %s: %s; set DAXLAB_CACHE to a "
                           "folder that you may write to" % (self.root, error.strerror))

    def need_space(self, mib, what):
        """Fails now, with advice, and not half-way through a download."""
        free = free_mib(self.root)
        if free < mib:
            raise LabError("no space for %s: it takes %d MiB and the cache %s has %d MiB "
                           "left; free some, or set DAXLAB_CACHE to a folder with more"
                           % (what, mib, self.root, free))

    @contextlib.contextmanager
    def lock(self, name):
        path = self.root / "lock" / name.replace("/", "_")
        with open(path, "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def scratch(self, prefix="run"):
        """A folder that is gone afterwards, whatever happens."""
        self._sweep()
        path = Path(tempfile.mkdtemp(prefix=prefix + ".", dir=self.root / "tmp"))
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)

    def _sweep(self):
        with self.lock("sweep"):
            for path in (self.root / "tmp").iterdir():
                if _abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)

    def entry(self, name, build):
        """The entry's path; build(path) makes it when it is not there yet."""
        path = self.root / name
        if path.exists():
            return path
        with self.lock(name):
            if path.exists():
                return path
            with self.scratch("build") as scratch:
                build(scratch / "new")
                path.parent.mkdir(parents=True, exist_ok=True)
                os.rename(scratch / "new", path)
        return path


def _abandoned(path):
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Just made and not locked yet by its owner: too young to be abandoned.
        return os.stat(path).st_mtime < time.time() - 60
    except OSError:
        return False
    finally:
        os.close(handle)
