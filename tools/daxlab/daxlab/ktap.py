# SPDX-License-Identifier: BSD-3-Clause
"""Reads daxverify's KTAP: how far it came, when the guest died before the report was written."""
import re

_RESULT = re.compile(r"^(ok|not ok) \d+ (?:- )?(\S+)(?:\s+#\s*(.*))?$")


def _verdict(status, remark):
    """(verdict, defect, reason) of a result line."""
    if status == "ok":
        skip = re.match(r"SKIP\b\s*(.*)", remark)
        return ("skip", None, skip.group(1)) if skip else ("ok", None, None)
    for pattern, verdict in ((r"(?:hang, )?known defect: (\S+)", "not ok"),
                             (r"broken: (.*)", "broken")):
        match = re.match(pattern, remark)
        if match and verdict == "not ok":
            return "hang" if remark.startswith("hang") else verdict, match.group(1), None
        if match:
            return verdict, None, match.group(1)
    return ("hang" if remark == "hang" else "not ok"), None, remark or None


def scenario(name, verdict, defect=None, reason=None):
    """A result in the form in which daxverify's report has it."""
    return {"name": name, "claim": None, "verdict": verdict, "defect": defect,
            "reason": reason, "oracles": [], "duration_ms": None, "kernel_log": []}


def parse(text):
    """(results, name of the scenario that was running at the end or None)."""
    results, running = [], None
    for line in text.splitlines():
        if line.startswith("# start "):
            running = line[len("# start "):].strip()
        match = _RESULT.match(line)
        if match:
            verdict = _verdict(match.group(1), match.group(3) or "")
            results.append(scenario(match.group(2), *verdict))
            if running == match.group(2):
                running = None
    return results, running
