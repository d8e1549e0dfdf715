# SPDX-License-Identifier: BSD-3-Clause
"""One guest, from its media to its verdict."""
import re
import shlex
import signal
import time

from . import holders, image, pmem, progress, qemu
from .errors import (EXIT_KILLED, EXIT_LAB, EXIT_LIMIT, EXIT_PANIC, Interrupted, LabError)

POLL_S = 0.03
# The guest tells what hangs in it this long before the host's patience ends.
LAST_WORDS_S = 6
# A guest may use this much longer once its command has ended (unmount, log).
AFTERMATH_S = 30
TAIL_LINES = 25

EXITED, LIMIT, PANIC, KILLED, BROKEN = "exited", "limit", "panic", "killed", "broken"
POWER_CUT = "power cut"
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
_PANIC = re.compile(rb"Kernel panic - not syncing[^\r\n]*")
_BLOCKED = re.compile(r"sysrq: Show Blocked State")
# Emulated processors lose their way in code that the kernel rewrites while it boots.
_EMULATED = re.compile(rb"RIP: 0010:(?:do_sync_core|text_poke\w*|poke_int3_handler)\+")
_EARLY = ("boot", "namespace", "mkfs", "mount")
# Of an oops: what a reader of its call trace can do without.
_REGISTERS = re.compile(r"\b(R[A-D]X|RSP|RBP|R1[03]|FS|CS|CR2|DR[03]|PKRU|Code|PGD): ?|\bPGD ")
_DEATH = re.compile(r"BUG: |Oops|general protection fault|kernel BUG|Kernel panic")


class Job:
    """What to run, and in what."""

    def __init__(self, kernel, fs="ext4", command=(), with_files=(), share=None, env=(),
                 timeout_s=300, size_mib=1024, memory_mib=2048, media=None,
                 keep_media=False, on_stdout=None, on_stderr=None, console=None, dmesg=None,
                 shell=False, fsck=False, kind=pmem.DEFAULT, holders=False):
        self.kernel, self.fs, self.command = kernel, fs, list(command)
        self.with_files, self.share, self.env = list(with_files), share, list(env)
        self.timeout_s, self.size_mib, self.memory_mib = timeout_s, size_mib, memory_mib
        self.media, self.keep_media = media, keep_media
        self.on_stdout, self.on_stderr = on_stdout, on_stderr
        self.console, self.dmesg = console, dmesg
        self.shell, self.fsck, self.kind = shell, fsck, kind
        self.holders = holders  # what holders.py lists

    @property
    def label(self):
        return self.kind.label(self.kernel.name, self.fs)


class Result:
    def __init__(self, job):
        self.label, self.release, self.fs = job.label, job.kernel.release, job.fs
        self.kernel, self.pmem = job.kernel.name, job.kind.name
        self.outcome, self.code, self.reason = None, None, None
        self.stage = "boot"
        self.seconds = self.boot_seconds = None
        self.console = b""
        self.dmesg = b""
        self.fsck_code, self.fsck = 0, ""
        self.emulator_crashed = False   # QEMU itself, before the command began

    def exit_code(self):
        return {EXITED: self.code, LIMIT: EXIT_LIMIT, PANIC: EXIT_PANIC,
                KILLED: EXIT_KILLED, BROKEN: EXIT_LAB}[self.outcome]

    def facts(self):
        return {"label": self.label, "kernel": self.release, "fs": self.fs,
                "pmem": self.pmem,
                "outcome": self.outcome, "exit_code": self.exit_code(),
                "reason": self.reason, "stage": self.stage,
                "seconds": round(self.seconds, 2),
                "boot_seconds": self.boot_seconds and round(self.boot_seconds, 2)}

    def log_tail(self, blocked=False):
        """The end of what is known of the kernel's log; of a death, from where it begins.

        blocked: the command says that a task hangs, and has had the blocked ones logged.
        """
        text = self.console if self.outcome in (PANIC, KILLED) or not self.dmesg \
            else self.dmesg
        lines = text.decode(errors="replace").replace("\r", "").splitlines()
        where = _BLOCKED if blocked else {PANIC: _DEATH, LIMIT: _BLOCKED}.get(self.outcome)
        if self.outcome == PANIC:
            lines = [line for line in lines if not _REGISTERS.search(line)]
        begins = [at for at, line in enumerate(lines) if where and where.search(line)]
        if begins:
            return lines[begins[0]:begins[0] + TAIL_LINES]
        return lines[-(4 if self.outcome == BROKEN else TAIL_LINES):]


class Tail:
    """Follows a file that the guest writes."""

    def __init__(self, path, sink):
        self._path, self._sink, self._file = path, sink, None

    def pump(self):
        if self._sink is None:
            return
        if self._file is None:
            if not self._path.exists():
                return
            self._file = open(self._path, "rb")
        while True:
            data = self._file.read(1 << 16)
            if not data:
                return
            self._sink(data)

    def close(self):
        if self._file:
            self._file.close()


class Guest:
    def __init__(self, cache, accel, job):
        self.cache, self.accel, self.job = cache, accel, job
        self.result = Result(job)

    def run(self, watcher=None):
        """Boots, runs the command and returns the Result.

        watcher(guest) is called again and again while the guest runs; when it says True the
        guest's QEMU is killed there and then (a power cut).
        """
        with self.cache.scratch("guest") as folder:
            self.folder, self.ctl = folder, folder / "ctl"
            self._prepare()
            self._tails = [Tail(self.ctl / "stdout", self.job.on_stdout),
                           Tail(self.ctl / "stderr", self.job.on_stderr)]
            started = time.monotonic()
            with open(folder / "qemu.err", "w") as stderr:
                process = qemu.Process(self._words(), stderr, self.job.shell)
            self.process = process
            try:
                self._watch(process, started, watcher)
            finally:
                process.kill()
                self.result.seconds = time.monotonic() - started
                self._pump()
                for tail in self._tails:
                    tail.close()
            if qemu.Process.stopped():
                raise Interrupted()
            self._collect()
            return self.result

    def _prepare(self):
        job = self.job
        self.ctl.mkdir()
        share = job.share
        if share is None:
            share = self.folder / "share"
            share.mkdir()
        self.share = share
        base = image.base(self.cache, job.kernel, holders.MODULES if job.holders else ())
        files, command = image.extra_files(job.command, job.with_files)
        self.initramfs = self.folder / "initramfs"
        image.build(base, files, self.initramfs)
        self._prepare_media()
        if job.shell:
            (self.ctl / "shell").touch()
        words = " ".join(shlex.quote(word) for word in command)
        (self.ctl / "command").write_text("exec %s\n" % words)
        (self.ctl / "env").write_text(self._env(files))

    def _prepare_media(self):
        job = self.job
        if not job.kind.outlives_guest:
            self.media, self.new_media = None, True
            return
        self.media = job.media or self.folder / "media"
        if self.media.exists():
            _check_media(self.media)
        self.new_media = not self.media.exists()
        if self.new_media:
            # Sparse, but a guest may fill it, and a full disk would kill it as a bus error.
            self.cache.need_space(job.size_mib + 64, "the guest's media")
            qemu.create_media(self.media, job.size_mib)

    def _env(self, files):
        job = self.job
        pairs = [pair.split("=", 1) for pair in job.env]
        pairs += [("FS", job.fs), ("KERNEL", job.kernel.release),
                  ("NEW_MEDIA", "1" if self.new_media else "0"),
                  ("NEW_FS", "0" if job.keep_media else "1"), ("PMEM", job.kind.name),
                  ("PMEM_DEV", job.kind.path), ("NAMESPACE_MODE", job.kind.namespace),
                  ("NAMESPACE_ALIGN", job.kind.align)]
        if not job.shell:
            pairs.append(("LAST_WORDS", str(int(job.timeout_s - LAST_WORDS_S))))
        if job.fsck:
            pairs.append(("FSCK", "1"))
        if job.holders:
            pairs += holders.environment()
        if any(path.startswith("/usr/local/lib/daxlab/") for path in files):
            pairs.append(("LD_LIBRARY_PATH", "/usr/local/lib/daxlab"))
        return "".join("%s=%s\n" % (name, shlex.quote(value)) for name, value in pairs)

    def _words(self):
        job = self.job
        console = None if job.shell else self.folder / "console"
        return qemu.command_line(
            self.accel, job.kernel.image, self.initramfs, self.media,
            [("daxlab", self.ctl), ("share", self.share)],
            memory_mib=job.kind.memory_mib(job.memory_mib, job.size_mib), console=console,
            extra_args=job.kind.kernel_args(job.memory_mib, job.size_mib), kind=job.kind
        ) + (holders.devices(qemu.LABEL_MIB, self.folder) if job.holders else [])

    def _pump(self):
        for tail in self._tails:
            tail.pump()

    def _watch(self, process, started, watcher):
        deadline = started + self.job.timeout_s if not self.job.shell else float("inf")
        while True:
            ended = process.poll()
            if qemu.Process.stopped():
                return
            self._pump()
            self._note_stage(started)
            if (self.ctl / "done").exists():
                self.result.outcome = EXITED
                return
            if ended is not None:
                self._went_down(ended)
                return
            if watcher and watcher(self):
                self.result.outcome = KILLED
                self.result.reason = POWER_CUT
                return
            if time.monotonic() > deadline:
                self._ran_out()
                return
            time.sleep(POLL_S)

    def _note_stage(self, started):
        try:
            stage = (self.ctl / "stage").read_text().strip()
        except FileNotFoundError:
            stage = ""
        if stage and stage != self.result.stage:
            self.result.stage = stage
            if not self.job.shell:      # there the terminal is the guest's
                progress.status("%s: %s" % (self.job.label, stage))
        if self.result.boot_seconds is None and stage in ("command", "unmount", "end"):
            self.result.boot_seconds = time.monotonic() - started

    def _went_down(self, status):
        console = self._console_bytes()
        panic = _PANIC.search(console)
        if panic:
            self.result.outcome = PANIC
            self.result.reason = panic.group(0).decode(errors="replace")
            self.result.emulator_crashed = self.accel == "tcg" and \
                self.result.stage in _EARLY and bool(_EMULATED.search(console))
        elif status < 0:
            self.result.outcome = KILLED
            self.result.reason = "QEMU was ended by signal %d" % -status
            self.result.emulator_crashed = -status in _CRASHES and \
                self.result.stage in _EARLY
        elif status > 0:
            self.result.outcome = KILLED
            self.result.reason = "QEMU failed: " + self._qemu_complaint()
        else:
            self.result.outcome = KILLED
            self.result.reason = "the guest went down before its command had ended"

    def _qemu_complaint(self):
        text = (self.folder / "qemu.err").read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else "it did not say why"

    def _ran_out(self):
        self.result.outcome = LIMIT
        what = {"boot": "booting", "namespace": "making the namespace",
                "mkfs": "making the file system", "mount": "mounting",
                "command": "running the command"}.get(self.result.stage, self.result.stage)
        self.result.reason = "the time limit of %g s was reached while %s" \
            % (self.job.timeout_s, what)

    def _console_bytes(self):
        try:
            return (self.folder / "console").read_bytes()
        except FileNotFoundError:
            return b""

    def _collect(self):
        result, job = self.result, self.job
        result.console = self._console_bytes()
        dmesg = self.ctl / "dmesg"
        result.dmesg = dmesg.read_bytes() if dmesg.exists() else b""
        if job.console:
            with open(job.console, "wb") as out:
                out.write(result.console)
        if job.dmesg:
            with open(job.dmesg, "wb") as out:
                out.write(result.dmesg)
        broken = self.ctl / "broken"
        if broken.exists():
            result.outcome, result.reason = BROKEN, broken.read_text().strip()
        elif result.outcome == EXITED:
            result.code = int((self.ctl / "exit").read_text())
            if job.fsck and job.fs != "none":
                result.fsck_code = int((self.ctl / "fsck.exit").read_text())
                result.fsck = (self.ctl / "fsck").read_text(errors="replace")



def _check_media(path):
    mib = path.stat().st_size >> 20
    if mib < qemu.GRANULE_MIB or (mib - qemu.LABEL_MIB) % qemu.GRANULE_MIB:
        raise LabError("--media %s is not made by the lab (its size does not fit); name "
                       "another, or a file that is not there yet" % path)
