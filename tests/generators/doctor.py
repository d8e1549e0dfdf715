#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""daxheap doctor where there is no DAX: errors, JSON keys, exit status, what an unprivileged
user sees, and that nothing is changed.  Run in the build folder; prints TAP."""
import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import cli  # noqa: E402

NOBODY = 65534
QUESTIONS = {"durable_by_flushes": "durable by cache-line flushes",
             "huge_pages": "huge pages", "long_term_pins": "long-term pins"}
KEYS = set(QUESTIONS) | {"path", "kind", "hindered", "media", "file_system", "block_device",
                         "namespace", "map_sync", "register_buffer", "io_uring", "ranges",
                         "scratch_ranges", "not_seen"}
PR_SET_THP_DISABLE = 41


def skip(name, reason):
    cli.tests += 1
    print(f"ok {cli.tests} - {name} # SKIP {reason}", flush=True)


def parse(done):
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def doctor(path):
    return parse(cli.daxheap("doctor", "--json", path))


def told(done):
    return f"{done.returncode}: {done.stdout}{done.stderr}"


def test_errors(folder):
    for name, path, says in (("nothing there", f"{folder}/nothing", "no such file or folder"),
                             ("no such device", "/dev/pmem77", "ndctl list"),
                             ("a character device", "/dev/null", "not of device DAX"),
                             ("a name without a path", "", "no such file or folder"),
                             ("below a file", f"{folder}/file/x", "Not a directory")):
        done = cli.daxheap("doctor", path)
        cli.result(done.returncode == 2 and says in done.stderr and not done.stdout, name,
                   told(done))
    os.mkfifo(f"{folder}/fifo")
    done = cli.daxheap("doctor", "--json", f"{folder}/fifo")
    cli.result(done.returncode == 2 and "neither a file" in parse(done).get("error", ""),
               "an error as JSON", told(done))
    cli.exits(64, "doctor wants a path", "doctor")
    cli.exits(64, "doctor wants one path", "doctor", folder, folder)
    cli.exits(0, "doctor --help", "doctor", "--help")


def test_folder(folder):
    done = cli.daxheap("doctor", "--json", folder)
    answer = parse(done)
    cli.result(KEYS <= set(answer) and answer["kind"] == "folder", "the keys of the JSON",
               told(done))
    cli.result(done.returncode == (1 if answer["hindered"] else 0) and
               answer["hindered"] == any(answer[key]["hinders"] for key in QUESTIONS),
               "the exit status says whether anything hinders", told(done))
    accepted = bool(answer["map_sync"] and answer["map_sync"]["accepted"])
    cli.result((answer["durable_by_flushes"]["answer"] == "yes") == accepted,
               "durable is what MAP_SYNC is accepted on", told(done))
    pool = f"{folder}/doctor.pool"
    info = parse(cli.daxheap("create", "--json", "--require-map-sync", pool, "8M"))
    cli.result(bool(info) == accepted, "and what a heap gets there", f"{info} {told(done)}")
    text = cli.daxheap("doctor", folder)
    verdicts = re.findall(r"^(\S.*): (yes|no|unknown)$", text.stdout, re.MULTILINE)[:3]
    cli.result(verdicts == [(QUESTIONS[key], answer[key]["answer"]) for key in QUESTIONS] and
               text.stdout.startswith("durable by cache-line flushes: ") and
               text.returncode == done.returncode, "the text begins with the verdicts",
               told(text))
    wide = [line for line in text.stdout.splitlines()
            if len(line) > 88 and not line.startswith("        ") and " " in line[17:]
            and not line.startswith("mount options")]
    cli.result(not wide, "the text fits a screen", "\n".join(wide))


def test_unchanged(folder):
    """Of a file, and of the folder that the scratch file is in."""
    path = f"{folder}/keep"
    with open(path, "wb") as file:
        file.write(os.urandom(4 << 20))
    names = os.listdir(folder)
    os.utime(path, ns=(10 ** 18, 10 ** 18))
    os.utime(folder, ns=(10 ** 18, 10 ** 18))

    def state():
        seen = [os.stat(name) for name in (path, folder)]
        return [(st.st_ino, st.st_size, st.st_blocks, st.st_nlink, st.st_atime_ns,
                 st.st_mtime_ns, st.st_ctime_ns) for st in seen]

    before = state()
    answers = [doctor(path), doctor(folder)]
    after = state()
    cli.result(after == before and os.listdir(folder) == names and
               answers[0]["kind"] == "file" and answers[0]["ranges"]["looked_at"] == 2,
               "looking changes nothing", f"{before}\n{after}\n{answers}")


def test_other_places():
    answer = doctor("/proc")
    cli.result(answer.get("huge_pages", {}).get("answer") == "unknown" and
               any("scratch file" in note for note in answer["not_seen"]),
               "what can't be tried is unknown, and why is said", answer)
    for path in ("/proc", "/proc/sys", "/proc/self", "/sys"):
        answer = doctor(path)
        told = " ".join([answer["durable_by_flushes"]["reason"]] + answer["not_seen"])
        cli.result("no place for a pool" in told and "nobody can make a file" in told and
                   "msync" not in told and "try it as" not in told,
                   f"no heap can be in {path}", answer)
    tmpfs = os.path.isdir("/dev/shm") and doctor("/dev/shm")
    if not tmpfs or (tmpfs["file_system"] or {}).get("type") != "tmpfs":
        skip("tmpfs", "none at /dev/shm")
        return
    durable = tmpfs["durable_by_flushes"]
    cli.result(durable["answer"] == "no" and "tmpfs has no DAX" in durable["reason"] and
               durable["remedies"][0]["command"] and tmpfs["block_device"] is None and
               tmpfs["map_sync"] == {"accepted": False, "error": "EOPNOTSUPP",
                                     "scratch_file": True}, "tmpfs", tmpfs)


def without_huge_pages():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def test_huge_tmpfs(folder):
    """A negative control of what the page table is asked."""
    path = f"{folder}/huge"
    os.mkdir(path)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=always", "none", path],
                           capture_output=True, text=True, check=False)
    if mount.returncode:
        reason = mount.stderr.splitlines()[0]
        skip("huge pages switched off", f"no tmpfs with huge=always: {reason}")
        return
    try:
        answer = doctor(path)
        done = subprocess.run(["./daxheap", "doctor", "--json", path], capture_output=True,
                              text=True, check=False, preexec_fn=without_huge_pages)
    finally:
        subprocess.run(["umount", path], check=True)
    off = parse(done)
    huge = sum(state["count"] for state in answer["scratch_ranges"]["states"]
               if state["state"] == "huge")
    cli.result((answer["huge_pages"]["answer"] == "yes") ==
               (huge == answer["scratch_ranges"]["looked_at"]), "tmpfs with huge=always", answer)
    cli.result(off["huge_pages"]["answer"] == "no" and
               "PR_SET_THP_DISABLE" in off["huge_pages"]["reason"] and
               [state["state"] for state in off["scratch_ranges"]["states"]] == ["small pages"],
               "huge pages switched off", told(done))


class Nobody:
    """The program where a user without privileges can run it, and that user."""
    def __init__(self, folder):
        self.folder = folder
        self.env = dict(os.environ)
        self.program = os.path.abspath("./daxheap")
        if os.geteuid():
            return
        os.mkdir(f"{folder}/bin", 0o755)
        libs = ".libs" if os.path.exists(".libs/daxheap") else "."
        for name in os.listdir(libs):
            if name == "daxheap" or name.startswith("libdaxheap.so"):
                shutil.copy(f"{libs}/{name}", f"{folder}/bin/{name}")
        self.program = f"{folder}/bin/daxheap"
        self.env["LD_LIBRARY_PATH"] = f"{folder}/bin"

    def doctor(self, path, locked_bytes=None):
        def limit():
            if locked_bytes is not None:
                resource.setrlimit(resource.RLIMIT_MEMLOCK, (locked_bytes, locked_bytes))

        user = {} if os.geteuid() else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        return subprocess.run([self.program, "doctor", "--json", path], env=self.env,
                              cwd=self.folder, capture_output=True, text=True, timeout=60,
                              check=False, preexec_fn=limit, **user)


def test_nobody(folder):
    os.chmod(folder, 0o755)
    nobody = Nobody(folder)
    for name, mode in (("shut", 0o500), ("open", 0o777), ("hidden", 0o000)):
        os.mkdir(f"{folder}/{name}")
        with open(f"{folder}/{name}/file", "wb") as file:
            file.write(bytes(3 << 20))
        os.chmod(f"{folder}/{name}", 0o755 if name == "shut" and not os.geteuid() else mode)
    os.chmod(f"{folder}/open/file", 0o200 if os.geteuid() else 0o600)

    mine, theirs = doctor(f"{folder}/open"), parse(nobody.doctor(f"{folder}/open"))
    if any("no io_uring" in note for note in theirs.get("not_seen", [])):
        mine["long_term_pins"] = theirs["long_term_pins"]  # kept from users by a sysctl
    cli.result(theirs and all(theirs[key]["answer"] == mine[key]["answer"]
                              for key in QUESTIONS) and
               theirs["file_system"] == mine["file_system"] and
               theirs["block_device"] == mine["block_device"],
               "who may write is told the same as root", f"{mine}\n{theirs}")
    done = nobody.doctor(f"{folder}/shut")
    theirs = parse(done)
    cli.result(done.returncode == 1 and theirs["huge_pages"]["answer"] == "unknown" and
               any("Permission denied" in note and "may write" in note
                   for note in theirs["not_seen"]), "a folder without write permission",
               told(done))
    done = nobody.doctor(f"{folder}/shut/file")
    theirs = parse(done)
    cli.result(done.returncode == 1 and theirs["ranges"]["looked_at"] == 1 and
               theirs["map_sync"]["scratch_file"] is False and
               theirs["long_term_pins"]["answer"] == "unknown",
               "a file that may be read there", told(done))
    done = nobody.doctor(f"{folder}/open/file")
    theirs = parse(done)
    cli.result(any("can't be read" in note for note in theirs["not_seen"]) and
               theirs["scratch_ranges"]["looked_at"] == 4, "a file that may not be read",
               told(done))
    done = nobody.doctor(f"{folder}/hidden/file")
    cli.result(done.returncode == 2 and "Permission denied" in done.stderr,
               "a folder that may not be entered", told(done))
    done = nobody.doctor(f"{folder}/open", locked_bytes=0)
    theirs = parse(done)
    cli.result(theirs["long_term_pins"]["answer"] == "unknown" and
               any("ulimit -l" in note or "io_uring" in note for note in theirs["not_seen"]),
               "no memory may be locked", told(done))
    for name in ("shut", "hidden"):
        os.chmod(f"{folder}/{name}", 0o700)


def main():
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/file", "w", encoding="ascii") as file:
            file.write("a file\n")
        test_errors(folder)
        test_folder(folder)
        test_unchanged(folder)
        test_other_places()
        test_huge_tmpfs(folder)
        test_nobody(folder)
    print(f"1..{cli.tests}")
    return cli.failed > 0


if __name__ == "__main__":
    raise SystemExit(main())
