#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the lab with guests, on one kernel. Prints TAP.

DAXLAB names the program (this tree's by default), LAB_KERNEL the kernel (6.12 by default).
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
DAXLAB = [os.environ["DAXLAB"]] if os.environ.get("DAXLAB") else \
    [sys.executable, str(TOP / "tools/daxlab")]
KERNEL = os.environ.get("LAB_KERNEL", "6.12")
LIMIT_S = 120


def start(*arguments, **kwargs):
    return subprocess.Popen(DAXLAB + list(arguments), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True, **kwargs)


def finish(process):
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += "\nthe lab did not end within %d s" % LIMIT_S
    process.out, process.err = out, err
    return process


def run(*arguments, fs="ext4", options=(), **kwargs):
    return finish(start("run", "--kernel", KERNEL, "--fs", fs, "--timeout", "90", *options,
                        "--", *arguments, **kwargs))


def expect(process, code, **texts):
    """The exit code, and a text in what was printed (out=, err=)."""
    said = "exit code %s\nout: %s\nerr: %s" % (process.returncode, process.out[-1500:],
                                               process.err[-2500:])
    assert process.returncode == code, "expected exit code %d, got %s" % (code, said)
    for stream, text in texts.items():
        assert text in getattr(process, stream), "expected %r in %s of %s" % (text, stream,
                                                                              said)


def descendants(pid):
    """The QEMUs that a daxlab started, found by parentage and not by name alone."""
    found = []
    for path in glob.glob("/proc/%d/task/*/children" % pid):
        with open(path) as handle:
            found += [int(word) for word in handle.read().split()]
    return [child for child in found if "qemu" in name_of(child)]


def name_of(pid):
    try:
        return Path("/proc/%d/comm" % pid).read_text()
    except OSError:
        return ""


def wait_for(condition, what, limit_s=60):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("no %s within %d s" % (what, limit_s))


def guest_at_work(folder, *options, command="echo > $SHARE/ready; sleep 1000"):
    """A daxlab whose guest has come to run its command, and its QEMU."""
    process = start("run", "--kernel", KERNEL, "--fs", "none", "--timeout", "90", "--share",
                    str(folder), *options, "--", "sh", "-c", command)
    try:
        wait_for(lambda: (folder / "ready").exists() or process.poll() is not None,
                 "guest at work")
        qemu, = descendants(process.pid)
    except BaseException:
        process.terminate()
        finish(process)
        print("# " + process.err.replace("\n", "\n# "))
        raise
    return process, qemu


def gone(pid):
    # A process of another user's with the same number would be another process.
    return "qemu" not in name_of(pid)




def test_exit_code_output_and_files(folder):
    """exit code, output, files, kernel log"""
    (folder / "given").write_text("from the host")
    process = run("sh", "-c", "cat $SHARE/given; echo back > $SHARE/back; uname -r; "
                  "grep -o 'dax=always' /proc/mounts; echo complaint >&2; exit 42",
                  options=("--share", str(folder), "--dmesg", str(folder / "dmesg"), "--json",
                           str(folder / "json"), "--env", "X=1"))
    expect(process, 42, out="from the host", err="complaint")
    expect(process, 42, out="dax=always")
    assert (folder / "back").read_text() == "back\n"
    assert "Linux version " + KERNEL in (folder / "dmesg").read_text()
    facts = json.loads((folder / "json").read_text())["guests"][0]
    assert facts["outcome"] == "exited" and facts["exit_code"] == 42, facts
    assert KERNEL + "." in process.out


def test_big_output_is_complete(folder):
    """8 MiB of output arrive whole"""
    process = run("sh", "-c", "yes 0123456789abcde | head -c 8388608; echo; echo end",
                  fs="none")
    expect(process, 0)
    wanted = "0123456789abcde\n" * (8388608 // 16) + "\nend\n"
    assert process.out == wanted, "%d bytes came" % len(process.out)


def test_command_and_files_are_brought_along(folder):
    """a host's script and its interpreter, and a file given along, are there"""
    script = folder / "script"
    script.write_text("#!/bin/bash\n[[ ab == a* ]] && cat /etc/extra && echo $1\n")
    script.chmod(0o755)
    (folder / "extra").write_text("extra-text\n")
    process = run(str(script), "argument with 'quotes'", fs="xfs",
                  options=("--with", "%s:/etc/extra" % (folder / "extra")))
    expect(process, 0, out="extra-text\nargument with 'quotes'")


def test_several_guests_are_labelled(folder):
    """several guests: each line says whose it is, the worst exit code counts"""
    process = finish(start("run", "--kernel", KERNEL, "--fs", "ext4,xfs", "--jobs", "2",
                           "--timeout", "90", "--", "sh", "-c",
                           "echo I am $FS; [ $FS = ext4 ] || exit 3"))
    expect(process, 3, out="%s/ext4: I am ext4\n" % KERNEL)
    expect(process, 3, out="%s/xfs: I am xfs\n" % KERNEL)


def test_panic(folder):
    """a panic is reported as that, with the console's end"""
    console = folder / "console"
    process = run("sh", "-c", "echo before; echo c > /proc/sysrq-trigger", fs="none",
                  options=("--console", str(console)))
    expect(process, 126, out="before\n",
           err="panic: Kernel panic - not syncing: sysrq triggered crash")
    expect(process, 126, err="sysrq_handle_crash")
    assert "Kernel panic" in console.read_text(errors="replace")


def test_hang(folder):
    """a hang hits the limit and is reported as that, with the task that hangs"""
    process = finish(start("run", "--kernel", KERNEL, "--fs", "ext4", "--timeout", "25", "--",
                           "sh", "-c", "fsfreeze --freeze /mnt/pmem; echo frozen; "
                           "touch /mnt/pmem/x"))
    expect(process, 124, out="frozen\n", err="hang: the time limit of 25 s was reached "
           "while running the command")
    expect(process, 124, err="task:touch")


def test_killed(folder):
    """a QEMU that is killed is reported as that"""
    process, qemu = guest_at_work(folder)
    os.kill(qemu, signal.SIGKILL)
    finish(process)
    expect(process, 127, err="killed: QEMU was ended by signal 9")


def test_power_off(folder):
    """a guest that goes down by itself has no exit code to give"""
    expect(run("poweroff", "-f", fs="none"), 127, err="went down before its command had ended")


def stopped_by(folder, number, code):
    process, qemu = guest_at_work(folder)
    scratch = scratch_of(qemu)
    process.send_signal(number)
    finish(process)
    expect(process, code)
    wait_for(lambda: gone(qemu), "end of QEMU", 10)
    return scratch


def scratch_of(qemu):
    words = Path("/proc/%d/cmdline" % qemu).read_text().split("\0")
    initramfs = Path(words[words.index("-initrd") + 1])
    assert initramfs.exists()
    return initramfs.parent


def test_interrupt(folder):
    """Ctrl-C leaves no QEMU and no scratch files"""
    scratch = stopped_by(folder, signal.SIGINT, 130)
    assert not scratch.exists(), "%s is left" % scratch


def test_terminate(folder):
    """SIGTERM leaves no QEMU and no scratch files"""
    scratch = stopped_by(folder, signal.SIGTERM, 130)
    assert not scratch.exists(), "%s is left" % scratch


def test_sigkill_of_the_lab(folder):
    """SIGKILL of the lab leaves no QEMU"""
    stopped_by(folder, signal.SIGKILL, -signal.SIGKILL)


def test_media_stay(folder):
    """--media keeps the bytes of the persistent memory in the file"""
    media = folder / "media"
    options = ("--media", str(media), "--size", "256")
    expect(run("sh", "-c", "echo daxlab-was-here > /mnt/pmem/x; sync", options=options), 0)
    done = subprocess.run(["grep", "-qa", "daxlab-was-here", str(media)])
    assert done.returncode == 0, "the file does not have what the guest wrote"
    expect(run("sh", "-c", "ls /mnt/pmem", options=options), 0)


# Each line acknowledges a file. On DAX the data is on media with write(2); what can be lost is
# the file's name and size, and fsync is what keeps them.
WORK = ("i=0; while :; do echo data$i > /mnt/pmem/f$i; %s; echo $i; i=$((i + 1)); "
        "done")
CHECK = ("while read -r i; do [ \"$(cat /mnt/pmem/f$i)\" = data$i ] || { echo f$i; exit 1; }; "
         "done < $SHARE/acked")


def powercut(fs, sync, folder, *options):
    return finish(start("powercut", "--kernel", KERNEL, "--fs", fs, "--work", WORK % sync,
                        "--check", CHECK, *options))


def test_power_cut_keeps_what_was_synced(folder):
    """power cut: what was fsynced is there (ext4, xfs)"""
    process = powercut("ext4,xfs", "sync /mnt/pmem/f$i", folder, "--cuts", "1", "--json",
                       str(folder / "json"))
    expect(process, 0, out="2 of 2 power cuts kept all that was acknowledged")
    cuts = json.loads((folder / "json").read_text())["cuts"]
    assert all(cut["lines"] > 0 for cut in cuts), cuts


def test_power_cut_sees_a_loss(folder):
    """power cut, negative control: what was not fsynced is lost, and that is seen"""
    process = powercut("ext4", ":", folder, "--cuts", "1", "--window", "1", "--keep",
                       str(folder / "kept"))
    expect(process, 1, out="LOST")
    kept, = (folder / "kept").iterdir()
    assert (kept / "media").exists() and (kept / "share/acked").stat().st_size > 0


def test_power_cut_needs_work(folder):
    """power cut: work that ends too soon is an error, not a pass"""
    process = finish(start("powercut", "--kernel", KERNEL, "--fs", "none", "--cuts", "1",
                           "--work", "true", "--check", "true"))
    expect(process, 125, err="without a line")


FAKE_DAXVERIFY = """\
#!/bin/sh
names="calm deadly after"
[ "$1" = --list ] && {
	echo '{"scenarios": [{"name": "calm", "claim": "c"}, {"name": "deadly", "claim": "d"},'
	echo '{"name": "after", "claim": "a"}]}'
	exit 0
}
while [ $# -gt 0 ]; do
	case $1 in
	--only) names=$(echo $2 | tr , ' ') ;;
	--json) json=$2 ;;
	esac
	shift
done
number=0 list=
for name in $names; do
	number=$((number + 1))
	echo "# start $name"
	[ $name != deadly ] || { sync; echo c > /proc/sysrq-trigger; }
	echo "ok $number $name"
	list="$list${list:+,}{\\"name\\":\\"$name\\",\\"verdict\\":\\"ok\\",\\"defect\\":null}"
done
echo "{\\"facts\\":{\\"kernel\\":\\"$KERNEL\\",\\"fs\\":\\"$FS\\"},\\"scenarios\\":[$list]}" > $json
"""


def test_matrix_goes_on_after_a_panic(folder):
    """matrix: a scenario that kills the kernel is named, and the others are run"""
    program = folder / "daxverify"
    program.write_text(FAKE_DAXVERIFY)
    program.chmod(0o755)
    process = finish(start("matrix", "--kernels", KERNEL, "--fs", "ext4", "--daxverify",
                           str(program), "--json", str(folder / "json"), "--timeout", "90"))
    expect(process, 1, out="OOPS deadly on")
    document = json.loads((folder / "json").read_text())
    verdicts = {s["name"]: s["verdict"] for s in document["reports"][0]["scenarios"]}
    assert verdicts == {"calm": "ok", "deadly": "oops", "after": "ok"}, verdicts


def tests():
    found = [value for name, value in globals().items() if name.startswith("test_")]
    return sorted(found, key=lambda test: test.__code__.co_firstlineno)


def attempt(test):
    folder = Path(tempfile.mkdtemp(prefix="daxlab-test."))
    started = time.monotonic()
    try:
        test(folder)
        return None, time.monotonic() - started
    except Exception as error:
        return error, time.monotonic() - started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    chosen = [test for test in tests()
              if not sys.argv[1:] or any(word in test.__name__ for word in sys.argv[1:])]
    # Before anything is timed: the kernel is in the cache and the accelerator is known.
    ready = run("true", fs="none")
    if ready.returncode != 0:
        print("not ok 1 - a guest can be booted\n# " + ready.err.replace("\n", "\n# "))
        print("1..1")
        return 1
    failed = 0
    # Two at once: it saves time, and the tests must not disturb each other.
    with ThreadPoolExecutor(2) as pool:
        for number, (test, outcome) in enumerate(zip(chosen, pool.map(attempt, chosen)), 1):
            error, seconds = outcome
            failed += error is not None
            print("%s %d - %s (%.0f s)" % ("not ok" if error else "ok", number, test.__doc__,
                                          seconds))
            if error:
                print("# " + repr(error)[:6000].replace("\\n", "\n# "))
            sys.stdout.flush()
    print("1..%d" % len(chosen))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
