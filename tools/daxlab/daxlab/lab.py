# SPDX-License-Identifier: BSD-3-Clause
"""What all verbs share: the cache, the kernels, the accelerator, and running several things."""
import json
import sys
import threading
from pathlib import Path

from . import accel, guest, progress, qemu
from .apt import Apt
from .cache import Cache
from .errors import LabError
from .kernels import Store

FILE_SYSTEMS = ("ext4", "xfs", "none")
TITLE = {guest.LIMIT: "hang", guest.PANIC: "panic", guest.KILLED: "killed",
         guest.BROKEN: "cannot run"}


class Lab:
    def __init__(self):
        qemu.program()
        self.cache = Cache()
        self.store = Store(self.cache, Apt(self.cache))

    def kernels(self, text, refresh=False):
        return [self.store.get(spec, refresh) for spec in split(text)]

    def accel(self, kernel):
        return accel.find(self.cache, kernel)

    def run(self, job, how, watcher=None):
        """Runs a guest; once more, and says so, if QEMU itself crashed while it booted.

        Seen about once in fifty boots under TCG, and less often as the panic of a kernel that
        patches its own code while it boots. Nothing of the command has run then, so nothing
        that it could have found is hidden; a kernel that panics otherwise is not run again.
        """
        media_is_new = job.media and not job.media.exists()
        result = guest.Guest(self.cache, how, job).run(watcher)
        if not result.emulator_crashed:
            return result
        progress.note("%s: %s at boot; once more" % (result.label, result.reason))
        if media_is_new:
            job.media.unlink(missing_ok=True)
        return guest.Guest(self.cache, how, job).run(watcher)


def split(text):
    """The parts of a list with commas; empty ones are not parts."""
    parts = [part for part in text.split(",") if part]
    if not parts:
        raise LabError("an empty list was given where a kernel or a file system is needed")
    return parts


def file_systems(text):
    for fs in split(text):
        if fs not in FILE_SYSTEMS:
            raise LabError("--fs %s: the lab knows %s" % (fs, ", ".join(FILE_SYSTEMS)))
    return split(text)


def in_parallel(tasks, at_once):
    """Calls the tasks, `at_once` at a time; their results in order. The first error ends it."""
    results, errors = [None] * len(tasks), []
    turns = iter(range(len(tasks)))
    lock = threading.Lock()

    def worker():
        while not errors:
            with lock:
                index = next(turns, None)
            if index is None:
                break
            try:
                results[index] = tasks[index]()
            except BaseException as error:    # the main thread raises it
                errors.append(error)
        ended.release()

    ended = threading.Semaphore(0)
    workers = min(at_once, len(tasks))
    for _ in range(workers):
        threading.Thread(target=worker).start()
    _wait(ended, workers)
    if errors:
        raise errors[0]
    return results


def _wait(ended, workers):
    """Waits for the workers, and after a Ctrl-C too: they have scratch files to remove.

    Not with join(): a join that is interrupted takes its thread for ended.
    """
    waiting = workers
    try:
        while waiting:
            ended.acquire()
            waiting -= 1
    except KeyboardInterrupt:
        while waiting:
            ended.acquire()
            waiting -= 1
        raise


def say_death(result):
    """What went wrong in a guest, if anything did, with the end of the kernel's log."""
    progress.clear()
    if result.outcome == guest.EXITED:
        return
    progress.note("%s: %s: %s" % (result.label, TITLE[result.outcome], result.reason))
    for line in result.log_tail():
        progress.note("| " + line)


def write_json(path, document):
    text = json.dumps(document, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)


def check_writable(path):
    """A result that took minutes must not be lost to a typing error in its name."""
    if not path or path == "-":
        return
    try:
        with open(path, "a"):
            pass
    except OSError as error:
        raise LabError("cannot write %s: %s" % (path, error.strerror))
