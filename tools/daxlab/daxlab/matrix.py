# SPDX-License-Identifier: BSD-3-Clause
"""`daxlab matrix`: daxverify in a guest for each kernel and file system, and their table."""
import fnmatch
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import accel, guest, holders, ktap, lab, progress, qemu, table
from .errors import LabError

VERDICT_OF_DEATH = {guest.LIMIT: "hang", guest.PANIC: "oops", guest.KILLED: "killed",
                    guest.BROKEN: "broken"}
# A kernel that dies in one scenario after the other says enough with this many.
GUESTS_MAX = 8
# A scenario that wedges its guest is expected to: it is not waited for as long as for all.
DANGEROUS_S = 120


class Column:
    """One kernel and file system: guests until every scenario has a verdict."""

    def __init__(self, the_lab, options, scenarios, kernel, fs, how, log_hints=None):
        self.lab, self.options, self.how = the_lab, options, how
        self.kernel, self.fs = kernel, fs
        self.scenarios = scenarios
        self.log_hints = log_hints or {}
        self.report, self.found = None, {}
        self.guests, self.deaths = 0, []

    @property
    def label(self):
        return "%s/%s" % (self.kernel.name, self.fs)

    def run(self):
        started = time.monotonic()
        left = [s["name"] for s in self.scenarios if not s.get("dangerous")]
        while left and self.guests < GUESTS_MAX:
            self._one_guest(left)
            left = [name for name in left if name not in self.found]
        for name in left:
            self.found[name] = ktap.scenario(name, "broken", reason="not reached: %d guests "
                                             "have died before" % self.guests)
        for scenario in self.scenarios:
            if scenario.get("dangerous"):
                self._one_guest([scenario["name"]], dangerous=True)
        report = self._merged(round(time.monotonic() - started, 1))
        self._say(report)
        return report

    def _one_guest(self, names, dangerous=False):
        stdout, stderr = bytearray(), bytearray()
        self.guests += 1
        with self.lab.cache.scratch("matrix") as share:
            command = [self.options.daxverify, "--dir", "/mnt/pmem", "--scratch",
                       "--device-dax", holders.DEVDAX, "--nvme", holders.NVME,
                       "--json", "/share/report.json"]
            options = self.options
            chosen = options.only or options.skip or options.quick
            if chosen or len(names) < len(self.scenarios):
                command += ["--only", ",".join(names)]
            if dangerous:
                command.append("--dangerous")
            timeout = min(self.options.timeout, DANGEROUS_S) if dangerous \
                else self.options.timeout
            job = guest.Job(self.kernel, self.fs, command, share=share,
                            timeout_s=timeout, on_stdout=stdout.extend,
                            on_stderr=stderr.extend, holders=True)
            result = self.lab.run(job, self.how)
            self._take(result, _read_report(share / "report.json"), names,
                       stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def _take(self, result, report, names, stdout, stderr):
        """Adds what one guest found out. Each call gives at least one scenario a verdict."""
        results, running = ktap.parse(stdout)
        if report:
            self.report = self.report or report
            results = report["scenarios"]
        for scenario in results:
            if scenario["verdict"] == "hang":
                scenario["kernel_log"] = result.log_tail(blocked=True)
            self.found.setdefault(scenario["name"], scenario)
        if result.outcome == guest.EXITED and report:
            for name in names:
                self.found.setdefault(name, ktap.scenario(
                    name, "broken", reason="daxverify said nothing about it"))
            return
        if result.outcome == guest.EXITED:
            verdict, reason = "broken", "daxverify ended with %d: %s" % (
                result.code, (stderr.strip().splitlines() or ["and no word"])[-1])
        else:
            verdict, reason = VERDICT_OF_DEATH[result.outcome], result.reason
            self.deaths.append(reason)
        self._blame(running, names, verdict, reason, result)

    def _blame(self, running, names, verdict, reason, result):
        if running and running not in self.found:
            log = result.log_tail()
            self.found[running] = ktap.scenario(
                running, verdict, self._defect_of_death(running, log), reason)
            self.found[running]["kernel_log"] = log
            return
        # Dead before the first or after the last scenario: no single one is to blame, and
        # another guest would fare the same.
        for name in names:
            self.found.setdefault(name, ktap.scenario(name, verdict, reason=reason))

    def _defect_of_death(self, name, log):
        """The defect that a scenario is there to find, when the log's end names it.

        A guest that is gone has no oracles: the function that its log speaks of is the symptom.
        """
        wanted = next((s.get("defect") for s in self.scenarios if s["name"] == name), None)
        hints = (self.log_hints.get(wanted) or "").split()
        return wanted if any(hint in line for hint in hints for line in log) else None

    def _merged(self, seconds):
        listed = {scenario["name"]: scenario for scenario in self.scenarios}
        report = self.report or {
            "tool": "daxverify", "facts": {"kernel": self.kernel.release, "fs": self.fs},
            "defects": []}
        report["scenarios"] = [self.found[name] for name in listed]
        # Of a guest that died its console is known, which says less than a report.
        for scenario in report["scenarios"]:
            for key in ("claim", "pins", "memory"):
                if listed[scenario["name"]].get(key):
                    scenario[key] = scenario.get(key) or listed[scenario["name"]][key]
        report["lab"] = {"kernel": self.kernel.name, "fs": self.fs, "seconds": seconds,
                         "guests": self.guests, "deaths": self.deaths}
        return report

    def _say(self, report):
        counts = table.counts(report)
        said = ", ".join("%d %s" % (number, what) for what, number in counts.items() if number)
        progress.note("%-12s %s (%.0f s)" % (self.label, said, report["lab"]["seconds"]))


def _read_report(path):
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report.get("scenarios"), list) else None


def find_daxverify(given):
    """The program: as named, beside this tree's build, or on the PATH."""
    if given:
        if not os.path.isfile(given):
            raise LabError("--daxverify %s: there is no such file; build it (make daxverify)"
                           % given)
        return os.path.abspath(given)
    built = Path(__file__).parents[3] / "build" / "daxverify"
    path = str(built) if built.is_file() else shutil.which("daxverify")
    if not path:
        raise LabError("daxverify is not on the PATH; name it: --daxverify FILE")
    return path


def list_scenarios(daxverify, only, skip, quick=False):
    """What daxverify would run, asked of the program itself; {defect: what its log names}."""
    done = subprocess.run([daxverify, "--list", "--json", "-"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode != 0:
        raise LabError("%s cannot list its scenarios: %s" % (daxverify, done.stderr.strip()))
    listed = json.loads(done.stdout)
    scenarios = listed["scenarios"]
    chosen = [s for s in scenarios if (not only or _matches(s["name"], only))
              and not (skip and _matches(s["name"], skip))
              and (not quick or s.get("quick"))]
    if not chosen:
        raise LabError("no scenario is left by --quick, --only and --skip; see daxverify "
                       "--list")
    return chosen, {d["name"]: d.get("log_hint") for d in listed.get("defects", [])}


def _matches(name, globs):
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs.split(","))


def run_facts(how):
    """What the table says about where and when it comes from."""
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "accelerator": accel.describe(how), "qemu": qemu.version(),
            "host_kernel": platform.release()}


def matrix(options):
    for path in (options.json, options.markdown):
        lab.check_writable(path)
    systems = lab.file_systems(options.fs)
    options.daxverify = find_daxverify(options.daxverify)
    scenarios, log_hints = list_scenarios(options.daxverify, options.only, options.skip,
                                          options.quick)
    the_lab = lab.Lab()
    kernels = the_lab.kernels(options.kernels, options.refresh)
    how = the_lab.accel(kernels[0])
    columns = [Column(the_lab, options, scenarios, kernel, fs, how, log_hints)
               for kernel in kernels for fs in systems]
    started = time.monotonic()
    reports = lab.in_parallel([column.run for column in columns], options.jobs)
    facts = run_facts(how)
    facts["seconds"] = round(time.monotonic() - started, 1)
    return finish(options, {"tool": "daxlab", "run": facts, "reports": reports})


def show_stored(options):
    """`daxlab table`: the same table from reports that were made elsewhere."""
    reports, run = [], {}
    for path in options.reports:
        try:
            document = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise LabError("%s is no report of daxverify's or the lab's: %s" % (path, error))
        run = document.get("run", run)
        reports += document.get("reports", [document])
    for report in reports:
        if not isinstance(report.get("scenarios"), list) or "facts" not in report:
            raise LabError("this is no report of daxverify's or the lab's: %s"
                           % ", ".join(options.reports))
    return finish(options, {"tool": "daxlab", "run": run, "reports": reports})


def finish(options, document):
    """Writes the table in its three forms; the exit code tells whether all is as claimed."""
    the_table = table.Table(document)
    document["defects_seen"] = the_table.defects_seen()
    if options.json:
        lab.write_json(options.json, document)
    if options.markdown:
        Path(options.markdown).write_text(the_table.markdown())
    progress.clear()
    if options.json != "-":
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        sys.stdout.write(the_table.terminal(colour))
    return 0 if the_table.as_claimed() else 1
