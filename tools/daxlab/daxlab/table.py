# SPDX-License-Identifier: BSD-3-Clause
"""The table scenario x (kernel, file system), for a terminal and as Markdown."""
import itertools
import re
import textwrap

from . import pins

WIDTH = 98
GAP = 2     # between the columns of two kernels
# What a verdict is called in a cell. A known defect's cell is its letter in the legend.
WORDS = {"ok": "ok", "skip": "skip", "not ok": "FAILED", "broken": "broken",
         "hang": "HANG", "oops": "OOPS", "killed": "KILLED"}
MEANINGS = {"skip": "not tried here", "not ok": "a claim is broken, by no defect known",
            "broken": "the set-up failed: nothing is known about the claim",
            "hang": "the guest hung in it", "oops": "the kernel died in it",
            "killed": "QEMU died in it"}
COLOURS = {"skip": "2", "defect": "33", "not ok": "1;31", "broken": "1;31", "hang": "1;31",
           "oops": "1;31", "killed": "1;31"}
DEATHS = ("hang", "oops", "killed")
LOG_LINES = 20      # of a death, in the Markdown
# More scenarios than this with the same reason are counted, not named.
SEVERAL = 4
_ORDER = ("ok", "defect", "skip", "not ok", "broken", "hang", "oops", "killed")
_COUNTED = dict(WORDS, defect="kernel defect")


def kind(scenario):
    """The verdict, with `defect` for a broken claim that a known kernel defect explains."""
    verdict = scenario.get("verdict")
    if verdict in ("not ok", "hang", "oops") and scenario.get("defect"):
        return "defect"
    return verdict if verdict in WORDS else "broken"


def counts(report):
    """{word: number} over a report's scenarios, in a fixed order."""
    kinds = [kind(scenario) for scenario in report["scenarios"]]
    return {_COUNTED[name]: kinds.count(name) for name in _ORDER if name in kinds}


class _Column:
    def __init__(self, report):
        facts, origin = report["facts"], report.get("lab", {})
        self.release = facts.get("kernel") or "?"
        series = re.match(r"\d+\.\d+", self.release)
        self.kernel = series.group(0) if series else self.release[:12]
        self.fs = facts.get("fs") or "?"
        self.facts, self.origin = facts, origin
        self.label = "%s/%s" % (self.kernel, self.fs)
        self.cells = {scenario["name"]: scenario for scenario in report["scenarios"]}
        self.counts = counts(report)


class Table:
    def __init__(self, document):
        self.run = document.get("run", {})
        self.reports = document["reports"]
        self.columns = [_Column(report) for report in self.reports]
        self.rows = list(dict.fromkeys(
            scenario["name"] for report in self.reports for scenario in report["scenarios"]
            if not (pins.is_cell(scenario) and pins.holds(scenario))))
        self.pins = pins.Matrix(self.columns)
        self.defects = self._name_defects()

    def _name_defects(self):
        """{defect: letter}, in the order in which the table comes upon them."""
        letters = {}
        for row in self.rows:
            for column in self.columns:
                scenario = column.cells.get(row)
                if scenario and kind(scenario) == "defect":
                    letters.setdefault(scenario["defect"], _letter(len(letters)))
        return letters

    def _known(self, name):
        for report in self.reports:
            for defect in report.get("defects") or []:
                if defect.get("name") == name:
                    return defect
        return {}

    def _columns_with(self, test):
        return [column for column in self.columns
                if any(test(scenario) for scenario in column.cells.values())]

    def _where(self, columns):
        """6.1, 6.12/xfs: a kernel alone stands for all of its file systems."""
        said = []
        for kernel in dict.fromkeys(column.kernel for column in columns):
            of_kernel = [c for c in self.columns if c.kernel == kernel]
            hit = [c for c in columns if c.kernel == kernel]
            said += [kernel] if len(hit) == len(of_kernel) else [c.label for c in hit]
        return ", ".join(said)

    def defects_seen(self):
        seen = []
        for name in self.defects:
            columns = self._columns_with(lambda s: s.get("defect") == name)
            seen.append({"name": name, "summary": self._known(name).get("summary"),
                         "fixed_by": self._known(name).get("fixed_by"),
                         "seen_on": [column.label for column in columns]})
        return seen

    def as_claimed(self):
        """Whether everything holds, was skipped, or is a known kernel defect."""
        return bool(self.columns) and all(
            kind(scenario) in ("ok", "skip", "defect")
            for column in self.columns for scenario in column.cells.values())

    def _text(self, scenario):
        if scenario is None:
            return ""
        if kind(scenario) == "defect":
            letter = self.defects[scenario["defect"]]
            return "[%s]" % letter if scenario["verdict"] == "not ok" else \
                "%s %s" % (scenario["verdict"], letter)
        return WORDS[kind(scenario)]

    # The terminal

    def terminal(self, colour=False):
        name_width = max([len(row) for row in self.rows] + [len("scenario")])
        room = WIDTH - name_width - GAP * len(self._groups())
        cell = max(7, min(8, room // max(1, len(self.columns))))
        lines = self._facts_lines() + [""] + self._heads(name_width, cell)
        for row in self.rows:
            lines.append(self._line(row.ljust(name_width), cell, lambda column: self._paint(
                column.cells.get(row), cell, colour)))
        lines.append("-" * len(lines[-1]))
        lines += self._totals(name_width, cell) + [""] + self.pins.terminal(self._where)
        lines += self._legend()
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _groups(self):
        """The columns, kernel by kernel."""
        return [list(group) for _, group in
                itertools.groupby(self.columns, key=lambda column: column.kernel)]

    def _line(self, head, cell, text):
        """A line of the table; a gap keeps the kernels apart."""
        return head + "".join(" " * GAP + "".join(text(column) for column in group)
                              for group in self._groups())

    def _paint(self, scenario, width, colour):
        text = self._text(scenario)
        code = scenario and COLOURS.get(kind(scenario))
        padded = text.rjust(width)
        if not (colour and code):
            return padded
        return padded[:-len(text)] + "\033[%sm%s\033[0m" % (code, text)

    def _heads(self, name_width, cell):
        kernels = " " * name_width + "".join(
            " " * GAP + group[0].kernel.rjust(cell * len(group)) for group in self._groups())
        systems = self._line("scenario".ljust(name_width), cell,
                             lambda column: column.fs.rjust(cell))
        return [kernels, systems, "-" * len(systems)]

    def _totals(self, name_width, cell):
        words = dict.fromkeys(word for column in self.columns for word in column.counts)
        return [self._line(word.rjust(name_width), cell, lambda column: str(
            column.counts.get(word, "-")).rjust(cell)) for word in words]

    def _facts_lines(self):
        releases = dict.fromkeys(column.release for column in self.columns)
        lines = ["kernels      " + ", ".join(releases)]
        lines += ["mounted      " + text for text in self._mounts()]
        lines += [line for line in (self._machine(), self._versions()) if line]
        return [piece for line in lines for piece in textwrap.wrap(
            line, WIDTH, subsequent_indent=" " * 13, break_on_hyphens=False)]

    def _mounts(self):
        """One line per file system and set of options; where, when they differ."""
        found = {}
        for column in self.columns:
            options = column.facts.get("mount_options")
            if options:
                found.setdefault((column.fs, options), []).append(column)
        systems = [fs for fs, _ in found]
        return ["%s%s: %s" % (fs, " on " + self._kernels(columns)
                              if systems.count(fs) > 1 else "", options)
                for (fs, options), columns in found.items()]

    @staticmethod
    def _kernels(columns):
        return ", ".join(dict.fromkeys(column.kernel for column in columns))

    def _machine(self):
        if not self.run.get("accelerator"):
            return ""
        note = ", so times say nothing about real machines" \
            if self.run["accelerator"] == "tcg" else ""
        return "machine      QEMU %s with %s%s" % (
            self.run.get("qemu"), self.run["accelerator"].upper(), note)

    def _versions(self):
        versions = {report.get("version") for report in self.reports} - {None}
        dates = [self.run.get("date")] if self.run.get("date") else \
            [column.facts.get("date") for column in self.columns if column.facts.get("date")]
        parts = ["daxverify %s" % ", ".join(sorted(versions))] if versions else []
        return "made by      " + ", ".join(parts + dates[:1]) if parts or dates else ""

    def _legend(self):
        lines = []
        for name, letter in self.defects.items():
            lines += self._wrap("[%s] " % letter, self._defect_text(name, "%s"))
        if self.defects:
            lines.append("    daxverify explain NAME says more, daxverify reproducer NAME prints "
                         "a program")
        for name, meaning in MEANINGS.items():
            columns = self._columns_with(lambda s: kind(s) == name)
            if columns:
                lines += self._wrap("%s " % WORDS[name],
                                    "%s: %s" % (meaning, self._where(columns)))
        for text in self._reasons():
            lines += self._wrap("  ", text)
        for title, log in self._last_words():
            lines += ["", title + ":"] + ["  | " + line for line in log]
        return lines

    def _defect_text(self, name, form):
        defect = self._known(name)
        columns = self._columns_with(lambda s: s.get("defect") == name)
        text = "kernel defect %s" % (form % name)
        if defect.get("summary"):
            text += ": " + defect["summary"].rstrip(".")
        text += "; seen on %s" % self._where(columns)
        return text + "; " + _fix(defect)

    def _wrap(self, head, text):
        return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * 4,
                             break_on_hyphens=False)

    def _reasons(self):
        """Why scenarios were skipped, or what went wrong: one line per reason."""
        found = {}
        rows = dict.fromkeys(name for column in self.columns for name in column.cells)
        for row in rows:
            for column in self.columns:
                scenario = column.cells.get(row)
                if scenario and kind(scenario) not in ("ok", "defect"):
                    reason = scenario.get("reason") or "no reason given"
                    with_it = found.setdefault((WORDS[kind(scenario)], reason), {})
                    with_it.setdefault(row, []).append(column)
        lines = []
        for (word, reason), rows in found.items():
            if len(rows) > SEVERAL:
                lines.append("%s %d scenarios: %s" % (word, len(rows), reason))
            else:
                lines += ["%s %s on %s: %s" % (word, row, self._where(columns), reason)
                          for row, columns in rows.items()]
        return lines

    # Markdown

    def markdown(self):
        lines = ["# What the kernels keep of their DAX promises", ""]
        lines += ["- " + re.sub(r" {2,}", " ", line) for line in self._joined_facts()] + [""]
        lines.append("| scenario | " + " | ".join(c.label for c in self.columns) + " |")
        lines.append("|---" * (len(self.columns) + 1) + "|")
        for row in self.rows:
            cells = (self._markdown_cell(column.cells.get(row)) for column in self.columns)
            lines.append("| `%s` | %s |" % (row, " | ".join(cells)))
        lines += [""] + self._markdown_legend() + [""] + self.pins.markdown(self._where)
        return "\n".join(lines) + "\n"

    def _joined_facts(self):
        joined = []
        for line in self._facts_lines():
            if line.startswith(" "):
                joined[-1] += " " + line.strip()
            else:
                joined.append(line)
        return joined

    def _markdown_cell(self, scenario):
        text = self._text(scenario)
        if scenario is None or kind(scenario) in ("ok", "skip"):
            return text
        if kind(scenario) == "defect":
            died = "" if scenario["verdict"] == "not ok" else "**%s**, " % scenario["verdict"]
            return died + "*kernel defect %s*" % self.defects[scenario["defect"]]
        return "**%s**" % text

    def _markdown_legend(self):
        lines = ["- **%s**: %s" % (letter, self._defect_text(name, "`%s`"))
                 for name, letter in self.defects.items()]
        lines += ["- **%s**: %s: %s" % (WORDS[name], meaning, self._where(columns))
                  for name, meaning in MEANINGS.items()
                  for columns in [self._columns_with(lambda s: kind(s) == name)] if columns]
        lines += ["- " + text for text in self._reasons()]
        for title, log in self._last_words():
            lines += ["", title + ":", "", "```"] + log + ["```"]
        return lines

    def _last_words(self):
        """[(what died where, the end of its kernel log)], once for each scenario and verdict."""
        found = {}
        for row in self.rows:
            for column in self.columns:
                scenario = column.cells.get(row) or {}
                if scenario.get("verdict") in DEATHS and scenario.get("kernel_log"):
                    found.setdefault((row, scenario["verdict"]),
                                     (column.label, scenario["kernel_log"][:LOG_LINES]))
        return [("%s in `%s`, on %s" % (verdict, row, label), log)
                for (row, verdict), (label, log) in found.items()]


def _letter(index):
    return chr(ord("A") + index) if index < 26 else "Z%d" % (index - 25)


def _fix(defect):
    return "fixed by " + defect["fixed_by"] if defect.get("fixed_by") else "no fix known"
