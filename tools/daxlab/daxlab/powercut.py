# SPDX-License-Identifier: BSD-3-Clause
"""`daxlab powercut`: what a guest acknowledged must be there after its power was cut.

One cut: boot on fresh media, run the work, kill QEMU with SIGKILL at a random moment, boot
again on the same media, mount, run the check, then let the file system's own checker look.

An acknowledgement is a line on the work's stdout. That stdout is a file of the host, written
through 9p without a cache: when the guest's write(2) has returned, the line is in the host's
page cache, out of reach of whatever happens to QEMU. So every line found was acknowledged, and
what it acknowledges must be found too.

What this proves: that the file system has what it takes to find stored data again (MAP_SYNC,
fsync, its journal) before it says so. What it cannot prove: that the program flushed its cache
lines. The media is a shared mapping of a host file, so a store is kept from the moment it is
done, flushed or not.
"""
import random
import shutil
import sys
import time
from pathlib import Path

from . import guest, lab, pmem, progress, run
from .errors import LabError

RETRIES = 3
KEPT, LOST = "kept", "LOST"


class Cut:
    """The verdict on one cut."""

    def __init__(self, fs, number):
        self.fs, self.number = fs, number
        self.verdict, self.reason = None, ""
        self.complaint, self.output = "", ""    # what work and check had to say
        self.lines = 0
        self.delay_s = None
        self.seconds = 0

    def facts(self):
        return dict(vars(self))


class Moment:
    """Watches a guest and says when its power goes.

    Not before the work has acknowledged something, then after a random time, then at a random
    one of the next few lines: the last step brings the cut close to a write in progress.
    """

    def __init__(self, chance, window_s, acked):
        self.acked = acked
        self.delay_s = chance.uniform(0, window_s)
        self.extra_lines = chance.randrange(8)
        self.begun = None
        self.lines_at_delay = None
        self.ended_early = False

    def __call__(self, running):
        if (running.ctl / "exit").exists():
            self.ended_early = True
            return True
        lines = _count(self.acked)
        now = time.monotonic()
        if not lines:
            return False
        if self.begun is None:
            self.begun = now
        late = now - self.begun - self.delay_s
        if late < 0:
            return False
        if self.lines_at_delay is None:
            self.lines_at_delay = lines
        # A second without a further line will do as well.
        return lines - self.lines_at_delay >= self.extra_lines or late > 1


def _count(data):
    return data.count(b"\n")


class Powercut:
    def __init__(self, the_lab, options, kernel, kind, how):
        self.lab, self.options, self.kind = the_lab, options, kind
        self.kernel, self.how = kernel, how

    def cut(self, fs, number):
        cut = Cut(fs, number)
        started = time.monotonic()
        window_s = self.options.window
        for attempt in range(RETRIES):
            chance = random.Random("%d %s %d %d" % (self.options.seed, fs, number, attempt))
            with self.lab.cache.scratch("powercut") as folder:
                if self._work(cut, folder, chance, window_s):
                    if cut.verdict is None:
                        self._check(cut, folder)
                    self._keep(cut, folder)
                    break
            window_s /= 3
        else:
            raise LabError("the work ended before its power could be cut; give it more to "
                           "do, or a smaller --window than %g s" % self.options.window)
        cut.seconds = round(time.monotonic() - started, 1)
        self._say(cut)
        return cut

    def _job(self, cut, folder, command, **more):
        return guest.Job(self.kernel, cut.fs, ["sh", "-c", command],
                         self.options.with_files, folder / "share", self.options.env,
                         timeout_s=self.options.timeout, size_mib=self.options.size,
                         memory_mib=self.options.memory, media=folder / "media",
                         kind=self.kind, **more)

    def _work(self, cut, folder, chance, window_s):
        """Boots and cuts. False: the work was done too soon; try a shorter window."""
        (folder / "share").mkdir()
        acked, complaint = bytearray(), bytearray()
        moment = Moment(chance, window_s, acked)
        job = self._job(cut, folder, self.options.work, on_stdout=acked.extend,
                        on_stderr=complaint.extend)
        result = self.lab.run(job, self.how, moment)
        if moment.ended_early:
            if _count(acked) == 0:
                raise LabError("the work ended without a line on its stdout; each line "
                               "is an acknowledgement\n" + complaint.decode(errors="replace"))
            return False
        # What was torn by the cut is no acknowledgement.
        text = bytes(acked[:acked.rfind(b"\n") + 1])
        (folder / "share" / "acked").write_bytes(text)
        cut.lines, cut.delay_s = _count(text), round(moment.delay_s, 3)
        cut.complaint = complaint.decode(errors="replace")
        if result.outcome != guest.KILLED or result.reason != guest.POWER_CUT:
            cut.verdict = lab.TITLE[result.outcome]
            cut.reason = "while at work: %s" % result.reason
            lab.say_death(result)
        return True

    def _check(self, cut, folder):
        output = bytearray()
        job = self._job(cut, folder, self.options.check, keep_media=True, fsck=True,
                        on_stdout=output.extend, on_stderr=output.extend)
        result = self.lab.run(job, self.how)
        cut.output = output.decode(errors="replace")
        if result.outcome == guest.BROKEN:
            cut.verdict, cut.reason = "no mount", result.reason
        elif result.outcome != guest.EXITED:
            cut.verdict, cut.reason = lab.TITLE[result.outcome], result.reason
            lab.say_death(result)
        elif result.code != 0:
            cut.verdict, cut.reason = LOST, "the check ended with %d" % result.code
        elif result.fsck_code != 0:
            cut.verdict, cut.reason = "damaged", "the file system is damaged"
            cut.output += result.fsck
        else:
            cut.verdict = KEPT

    def _keep(self, cut, folder):
        if cut.verdict == KEPT or not self.options.keep:
            return
        target = Path(self.options.keep) / ("%s-cut%d" % (cut.fs, cut.number))
        self.lab.cache.need_space(self.options.size, "the media of a failed cut")
        shutil.copytree(folder, target, dirs_exist_ok=True)
        progress.note("media and acknowledgements of this cut are in %s" % target)

    def _say(self, cut):
        progress.clear()
        print("%s cut %d: %s: %d acknowledged, power cut %.2f s after the first, %.0f s%s"
              % (self.kind.label(self.kernel.name, cut.fs), cut.number, cut.verdict, cut.lines,
                 cut.delay_s, cut.seconds, "; " + cut.reason if cut.reason else ""))
        if cut.verdict != KEPT:
            for line in (cut.complaint.splitlines()[-5:] + cut.output.splitlines()[-20:]):
                print("  | " + line)
        sys.stdout.flush()


def powercut(options):
    run.check_guest_options(options)
    lab.check_writable(options.json)
    systems = lab.file_systems(options.fs)
    kind = pmem.find(options.pmem, systems, options.align)
    if not kind.outlives_guest:
        raise LabError("--pmem %s: the bytes are in the guest's own memory, and a power cut "
                       "takes all of them along" % kind.name)
    if options.cuts < 1 or options.window < 0:
        raise LabError("--cuts takes a number from 1, --window seconds from 0")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    the_lab = lab.Lab()
    kernel, = the_lab.kernels(options.kernel, options.refresh)[:1]
    cutter = Powercut(the_lab, options, kernel, kind, the_lab.accel(kernel))
    print("kernel %s, seed %d" % (kernel.release, options.seed), flush=True)
    tasks = [lambda fs=fs, number=number: cutter.cut(fs, number)
             for fs in systems for number in range(1, options.cuts + 1)]
    cuts = lab.in_parallel(tasks, options.jobs)
    kept = sum(cut.verdict == KEPT for cut in cuts)
    print("%d of %d power cuts kept all that was acknowledged" % (kept, len(cuts)))
    if options.json:
        lab.write_json(options.json, {"tool": "daxlab", "kernel": kernel.release,
                                      "pmem": kind.name, "seed": options.seed,
                                      "cuts": [cut.facts() for cut in cuts]})
    return 0 if kept == len(cuts) else 1
