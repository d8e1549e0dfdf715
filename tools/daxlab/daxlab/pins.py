# SPDX-License-Identifier: BSD-3-Clause
"""The pin matrix of daxverify's reports: who takes which memory as a buffer, on which kernel."""

NOT_TRIED = "-"
ACCEPTED = {"accepted": "yes"}
TITLE = "who may pin what"
MEANING = "yes: accepted; an errno: refused with it; -: not tried; *: kernels differ, see below"


def is_cell(scenario):
    return bool(scenario.get("pins"))


def holds(scenario):
    """As claimed, or not tried here: nothing that a row of its own would have to say."""
    return scenario.get("verdict") in ("ok", "skip")


class Matrix:
    def __init__(self, columns):
        """`columns`: of the table, with their scenarios as `cells` and what they are called."""
        self.columns = columns
        self.answers = {}    # {(holder, memory): {answer: [column]}}
        for column in columns:
            for scenario in column.cells.values():
                if is_cell(scenario):
                    self._take(column, scenario)
        self.holders = list(dict.fromkeys(holder for holder, _ in self.answers))
        self.memories = list(dict.fromkeys(memory for _, memory in self.answers))

    def _take(self, column, scenario):
        answer = scenario.get("answer") or NOT_TRIED
        if not holds(scenario):
            answer = "failed"
        found = self.answers.setdefault((scenario["pins"], scenario["memory"]), {})
        found.setdefault(ACCEPTED.get(answer, answer), []).append(column)

    def text(self, holder, memory):
        tried = [answer for answer in self.answers.get((holder, memory), {})
                 if answer != NOT_TRIED]
        if not tried:
            return NOT_TRIED
        # What a kernel cannot try is no other answer.
        return tried[0] if len(tried) == 1 else "*"

    def notes(self, where):
        """A line for each cell in which kernels differ; `where` names columns."""
        lines = []
        for (holder, memory), found in self.answers.items():
            if self.text(holder, memory) == "*":
                lines.append("%s of %s: %s" % (holder, memory, "; ".join(
                    "%s on %s" % (answer, where(columns)) for answer, columns in found.items()
                    if answer != NOT_TRIED)))
        return lines

    def terminal(self, where):
        if not self.answers:
            return []
        width = max(len(TITLE), *(len(holder) for holder in self.holders))
        lines = [TITLE.ljust(width) + "".join(" %11s" % memory for memory in self.memories)]
        lines.append("-" * len(lines[0]))
        for holder in self.holders:
            lines.append(holder.ljust(width) + "".join(
                " %11s" % self.text(holder, memory) for memory in self.memories))
        return lines + ["", MEANING] + ["  " + line for line in self.notes(where)] + [""]

    def markdown(self, where):
        if not self.answers:
            return []
        lines = ["## Who may pin what", "", MEANING.replace("*", "\\*") + ".", "",
                 "| holder | %s |" % " | ".join(self.memories),
                 "|---" * (len(self.memories) + 1) + "|"]
        for holder in self.holders:
            cells = (self.text(holder, memory) for memory in self.memories)
            lines.append("| `%s` | %s |" % (holder, " | ".join(cells).replace("*", "\\*")))
        return lines + [""] + ["- " + line for line in self.notes(where)] + [""]
