# SPDX-License-Identifier: BSD-3-Clause
"""`daxlab bench`: daxbench in a guest for each kernel and file system, side by side."""
import json
import os
import shutil
import sys
from pathlib import Path

from . import accel, guest, lab, progress, qemu
from .errors import LabError

VERBS = ("fault", "truncate", "pin", "flush")   # by default
FIO_VERB = "agree"                              # brings fio along
# In the guest: each verb by itself, so that what one of them could not do costs the others nothing.
# A verb of which --only leaves nothing is none of those that failed. Nobody but the bench uses the
# file system there: it can be unmounted.
SCRIPT = """failed=0
for verb in %(verbs)s; do
	bench="daxbench $verb --dir /mnt/pmem"
	[ $verb != truncate ] || bench="$bench --umount"
	if $bench %(options)s --list >/dev/null; then
		$bench %(options)s --json /share/$verb.json >/dev/null || failed=1
	else
		touch /share/$verb.none
	fi
done
exit $failed
"""


def find_daxbench(given):
    """The program: as named, beside this tree's build, or on the PATH."""
    if given:
        if not os.path.isfile(given):
            raise LabError("--daxbench %s: there is no such file; build it (make daxbench)" % given)
        return os.path.abspath(given)
    built = Path(__file__).parents[3] / "build" / "daxbench"
    path = str(built) if built.is_file() else shutil.which("daxbench")
    if not path:
        raise LabError("daxbench is not on the PATH; name it: --daxbench FILE")
    return path


def _verbs(text):
    for verb in lab.split(text):
        if verb not in VERBS + (FIO_VERB,):
            raise LabError("--verbs %s: daxlab bench knows %s" %
                           (verb, ", ".join(VERBS + (FIO_VERB,))))
    return lab.split(text)


def _programs(options, verbs):
    """What to bring along; without fio, daxbench says so and measures the rest."""
    found = ["%s:/bin/daxbench" % options.daxbench]
    fio = shutil.which("fio") if FIO_VERB in verbs else None
    return found + (["%s:/bin/fio" % fio] if fio else [])


def _quoted(text):
    return "'%s'" % text.replace("'", "'\\''")


def _script(options, verbs):
    arguments = ["--rounds %d" % options.rounds]
    if options.ops:
        arguments.append("--ops %d" % options.ops)
    if options.only:
        arguments.append("--only " + _quoted(options.only))
    return SCRIPT % {"verbs": " ".join(verbs), "options": " ".join(arguments)}


class Column:
    """What one guest measured: {verb: daxbench's result}."""

    def __init__(self, kernel, fs):
        self.kernel, self.fs = kernel, fs
        self.results, self.wrong = {}, None

    @property
    def label(self):
        return "%s/%s" % (self.kernel, self.fs)

    @property
    def release(self):
        """Of the kernel, as it calls itself."""
        for result in self.results.values():
            return result.get("facts", {}).get("kernel")
        return None

    def take(self, share, verbs, outcome):
        """`outcome`: None, or how the guest died."""
        missing = []
        for verb in verbs:
            try:
                self.results[verb] = json.loads((share / (verb + ".json")).read_text())
            except (OSError, ValueError):
                if not (share / (verb + ".none")).exists():
                    missing.append(verb)
        if missing or not self.results:
            self.wrong = "no figures of %s" % ", ".join(missing or verbs)
        if outcome:
            self.wrong = "%s; %s" % (outcome, self.wrong) if self.wrong else outcome

    def save(self, folder):
        for verb, result in self.results.items():
            name = "%s-%s-%s.json" % (verb, self.kernel, self.fs)
            (folder / name).write_text(json.dumps(result))


def _measure(the_lab, options, verbs, kernel, fs, how):
    column = Column(kernel.name, fs)
    with the_lab.cache.scratch("bench") as share:
        job = guest.Job(kernel, fs, ["sh", "-c", _script(options, verbs)],
                        _programs(options, verbs), share,
                        timeout_s=options.timeout, on_stdout=lambda data: None,
                        on_stderr=_say(column.label), holders=True)
        result = the_lab.run(job, how)
        lab.say_death(result)
        column.take(share, verbs, None if result.outcome == guest.EXITED else result.reason)
    progress.note("%-12s %s" % (column.label, column.wrong or "measured"))
    return column


def _say(label):
    def say(data):
        for line in data.decode(errors="replace").splitlines():
            progress.note("%s: %s" % (label, line))
    return say


def _figure(us):
    """Three digits, as daxbench's own table has them."""
    return "%.*f" % (4 if us < 0.1 else 3 if us < 1 else 2 if us < 10 else 1 if us < 100 else 0, us)


def _interval(series):
    """Of the median, or None."""
    return ((series or {}).get("interval95_ns") or {}).get("50.000000")


def _cell(series, first):
    """"82.2 ±12%": the median in microseconds, and half its interval; with a star where this lies
    outside of the first column's."""
    if series is None:
        return ""
    if "lat_ns" not in series:
        return "-"
    median = series["lat_ns"]["percentile"].get("50.000000")
    if median is None:
        return "few"
    text = _figure(median / series.get("batch", 1) / 1e3)
    interval, other = _interval(series), _interval(first)
    if not interval:
        return text
    apart = other and (interval[0] > other[1] or interval[1] < other[0])
    half = (interval[1] - interval[0]) / 2 / max(median, 1) * 100
    return "%s ±%.0f%%%s" % (text, half, "*" if apart else "")


class Table:
    """Rows are series, columns are guests; one block for each verb."""

    def __init__(self, columns, verbs, emulated):
        self.columns, self.verbs, self.emulated = columns, verbs, emulated

    def _blocks(self):
        for verb in self.verbs:
            found = [{s["name"]: s for s in column.results.get(verb, {}).get("series", [])}
                     for column in self.columns]
            names = list(dict.fromkeys(name for series in found for name in series))
            if not names:
                continue
            yield verb, [(name, [_cell(series.get(name), found[0].get(name)) for series in found])
                         for name in names]

    def _notes(self):
        notes = ["Medians in microseconds (of pin: per page), with half of the 95 % interval; -: "
                 "not to be had there (daxbench's own result says why); few: of too few values."]
        if len(self.columns) > 1:
            notes.append("*: the interval lies outside of the first column's; whether that is more "
                         "than chance, with so many rows, 'daxbench compare' tells of --results.")
        if self.emulated:
            notes.append("The CPU is emulated (TCG): these times are not to be compared with "
                         "others.")
        notes += ["%s: Linux %s" % (column.label, column.release)
                  for column in self.columns if column.release]
        return notes + ["%s: %s" % (column.label, column.wrong)
                        for column in self.columns if column.wrong]

    def terminal(self):
        lines = []
        for verb, rows in self._blocks():
            width = max([len(name) for name, _ in rows] + [len(verb)])
            lines.append("%-*s" % (width, verb) +
                         "".join("%16s" % column.label for column in self.columns))
            lines += ["%-*s" % (width, name) + "".join("%16s" % cell for cell in cells)
                      for name, cells in rows]
            lines.append("")
        return "\n".join(lines + self._notes()) + "\n"

    def markdown(self):
        lines = []
        for verb, rows in self._blocks():
            lines.append("| %s | %s |" % (verb, " | ".join(c.label for c in self.columns)))
            lines.append("|---|" + "---:|" * len(self.columns))
            lines += ["| %s | %s |" % (name, " | ".join(cells)) for name, cells in rows]
            lines.append("")
        return "\n".join(lines) + "\n" + "\n\n".join(self._notes()) + "\n"


def bench(options):
    for path in (options.json, options.markdown):
        lab.check_writable(path)
    systems, verbs = lab.file_systems(options.fs), _verbs(options.verbs)
    options.daxbench = find_daxbench(options.daxbench)
    if options.results:
        options.results = Path(options.results)
        options.results.mkdir(parents=True, exist_ok=True)
    the_lab = lab.Lab()
    kernels = the_lab.kernels(options.kernels, options.refresh)
    how = the_lab.accel(kernels[0])
    columns = lab.in_parallel(
        [lambda k=kernel, f=fs: _measure(the_lab, options, verbs, k, f, how)
         for kernel in kernels for fs in systems], options.jobs)
    emulated = any(result.get("facts", {}).get("accelerator") == "TCG"
                   for column in columns for result in column.results.values())
    for column in columns if options.results else []:
        column.save(options.results)
    if options.json:
        lab.write_json(options.json, {
            "tool": "daxlab", "accelerator": accel.describe(how), "qemu": qemu.version(),
            "columns": [{"kernel": c.kernel, "fs": c.fs, "wrong": c.wrong, "results": c.results}
                        for c in columns]})
    the_table = Table(columns, verbs, emulated)
    if options.markdown:
        Path(options.markdown).write_text(the_table.markdown())
    progress.clear()
    if options.json != "-":
        sys.stdout.write(the_table.terminal())
    return 1 if any(column.wrong for column in columns) else 0
