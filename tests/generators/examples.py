#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The example programs: what they refuse, and that output that can't be written is an error.  Run
in the build folder; prints TAP."""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import cli  # noqa: E402


def refuses(folder, *command):
    """A number that is none: nothing is made or changed."""
    before = os.listdir(folder)
    done = cli.run(*command)
    cli.result(done.returncode == 2 and "is no number" in done.stderr and
               os.listdir(folder) == before, " ".join([command[0], *command[2:]]), done)


def full(*command):
    with open("/dev/full", "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60,
                              check=False)
    cli.result(done.returncode == 1 and "print" in done.stderr,
               f"{command[0]} {command[2]} where no output can be written", done)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for number in ("x", "1x", "-1", "", "99999999999999999999"):
            refuses(folder, "./kv", f"{folder}/kv", "load", number)
            refuses(folder, "./ringlog", f"{folder}/log", "read", number)
            refuses(folder, "./ringlog", f"{folder}/log", "run", number)
            refuses(folder, "./backup", f"{folder}/backup", f"{folder}/copy", number)
        refuses(folder, "./kv", f"{folder}/kv", "load", "1", "x")
        done = cli.run("./kv", f"{folder}/kv", "load", "3", "5")
        cli.result(done.stdout.split()[::2] == ["5", "6", "7"], "kv load 3 5", done)
        done = subprocess.run(["./ringlog", f"{folder}/log", "append"], input="a\nb\nc\n", text=True,
                              timeout=60, check=False)
        done = cli.run("./ringlog", f"{folder}/log", "read", "2")
        cli.result(done.stdout == "a\nb\n", "ringlog read 2", done)
        for verb in ("list", "check", "load"):
            full("./kv", f"{folder}/kv", verb, *["3"] * (verb == "load"))
        full("./ringlog", f"{folder}/log", "stat")
        full("./ringlog", f"{folder}/log", "read")
        done = cli.run("./ringlog", f"{folder}/log", "read")
        cli.result(done.stdout == "c\n", "what could not be printed stays in the log", done)
        full("./ringlog", f"{folder}/log", "run", "1")
    print(f"1..{cli.tests}")
    return cli.failed > 0


if __name__ == "__main__":
    raise SystemExit(main())
