#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Compares daxverify's reports with what is known of the kernels that they come from.

Reads reports as daxverify --json writes them, one or several in a file: a single report, a list
of reports, or any object in which reports stand at any depth (the laboratory's verify.json).
Prints TAP: one line for each scenario of each report. It tests daxverify, on kernels whose
defects are known; what a kernel is expected to show stands in guest-expect.json.

With --reproducers N it reads what tests/guest/reproducers has collected instead, N exit statuses:
a defect's program must show it exactly where a scenario is expected to.
"""

import argparse
import fnmatch
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent


def find_reports(node):
    """All reports in a JSON value, in order."""
    if isinstance(node, dict):
        if isinstance(node.get("facts"), dict) and isinstance(node.get("scenarios"), list):
            yield node
        else:
            for value in node.values():
                yield from find_reports(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_reports(value)


def version(release):
    """(6, 12) of "6.12.117+deb12-amd64"."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        raise ValueError(f"no kernel version: {release!r}")
    return int(found[1]), int(found[2])


def series_of(expect, release):
    """The newest series of the table that is not newer than the kernel."""
    known = sorted(expect["series"], key=version)
    fitting = [s for s in known if version(s) <= version(release)]
    return fitting[-1] if fitting else None


def expected(rules, name, fs):
    """(verdict, defect) for a scenario: the last rule that names it wins."""
    answer = ("ok", None)
    for rule in rules:
        if rule.get("fs") and fs not in rule["fs"]:
            continue
        if "verdict" in rule and names(rule, name):
            answer = (rule["verdict"], rule.get("defect"))
    return answer


def names(rule, name):
    return any(fnmatch.fnmatchcase(name, glob) for glob in rule["scenarios"])


def expected_answer(rules, name):
    """Of a cell of the pin matrix: the last rule that names it wins."""
    answers = [rule["answer"] for rule in rules if "answer" in rule and names(rule, name)]
    return (["accepted"] + answers)[-1]


def check_answer(tap, label, scenario, want):
    """Which of the answers that the claim allows it is."""
    got = scenario.get("answer")
    tap.line(got == want, f"{label}: {scenario['name']}: {want}", got != want and f"seen: {got}")


class Tap:
    """Counts as it prints, and prints the plan at the end."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def line(self, good, text, *details):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {text}")
        for detail in details:
            if detail:
                print(f"# {detail}")

    def skip(self, text, reason):
        self.count += 1
        print(f"ok {self.count} - {text} # SKIP {reason}")


def check_scenario(tap, label, scenario, want):
    got = (scenario["verdict"], scenario.get("defect"))
    details = []
    if got != want:
        details = [f"expected {want[0]} {want[1] or ''}", f"seen     {got[0]} {got[1] or ''}",
                   scenario.get("reason")]
        details += [f"{o['name']}: {o['seen']}" for o in scenario["oracles"] if not o["ok"]]
    tap.line(got == want, f"{label}: {scenario['name']}", *details)


def check_report(tap, expect, report, wanted):
    facts = report["facts"]
    label = f"{facts['kernel']}/{facts['fs']}"
    series = series_of(expect, facts["kernel"])
    tap.line(series is not None, f"{label}: its series is known",
             series is None and "add the series to guest-expect.json")
    if series is None:
        return
    names = {s["name"] for s in report["scenarios"]}
    missing = sorted(set(wanted) - names)
    tap.line(not missing, f"{label}: all scenarios were run", missing and ", ".join(missing))
    rules = expect["always"] + expect["series"][series]
    for scenario in report["scenarios"]:
        check_scenario(tap, label, scenario, expected(rules, scenario["name"], facts["fs"]))
        if "pins" in scenario and scenario["verdict"] == "ok":
            check_answer(tap, label, scenario, expected_answer(rules, scenario["name"]))


def check_reproducer(tap, expect, status, release, fs, name):
    rules = expect["always"] + expect["series"][series_of(expect, release)]
    has_it = any(expected(rules, scenario, fs)[1] == name for scenario in expect["scenarios"])
    label = f"{release}/{fs}: reproducer {name}"
    if status == 2 and not has_it:
        # An ioctl of another file system, say.
        tap.skip(label, "could not be tried")
    else:
        tap.line(status == has_it, label,
                 status != has_it and f"exit status {status}, expected {int(has_it)}")


def check_reproducers(tap, expect, path, runs):
    for line in pathlib.Path(path).read_text("utf-8").splitlines():
        found = re.match(r"(?:\S+: )?exit (\d+) (\S+) (\S+) (\S+)$", line)
        if found:
            check_reproducer(tap, expect, int(found[1]), *found.groups()[1:])
        else:
            print(f"# {line}")
    tap.line(tap.count == runs, "all were run", tap.count != runs and f"{tap.count} of {runs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", nargs="+", help="JSON files with reports")
    parser.add_argument("--reproducers", type=int, metavar="N", help="their number of runs")
    parser.add_argument("--list", metavar="FILE",
                        help="what had to be run, as daxverify --list --json prints it (default: "
                        "all)")
    parser.add_argument("--expect", default=HERE / "guest-expect.json")
    args = parser.parse_args()
    expect = json.loads(pathlib.Path(args.expect).read_text(encoding="utf-8"))
    wanted = expect["scenarios"]
    if args.list:
        listed = json.loads(pathlib.Path(args.list).read_text(encoding="utf-8"))
        wanted = [scenario["name"] for scenario in listed["scenarios"]]
    tap = Tap()
    for name in args.report:
        if args.reproducers is not None:
            check_reproducers(tap, expect, name, args.reproducers)
            continue
        try:
            reports = list(find_reports(json.loads(pathlib.Path(name).read_text("utf-8"))))
        except (OSError, ValueError) as error:
            tap.line(False, f"{name} can be read", str(error))
            continue
        tap.line(bool(reports), f"{name} has reports")
        for report in reports:
            check_report(tap, expect, report, wanted)
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
