#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What daxbench measures with, from outside: results, comparisons, pictures, bad input. Prints TAP.

On whatever file system TMPDIR is, without root; no test depends on how long anything takes.
$DAXBENCH names the program; the default is the one in the current folder.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree
from pathlib import Path

DAXBENCH = os.path.abspath(os.environ.get("DAXBENCH", "./daxbench"))
# Enough rounds for an interval, few operations.
QUICK = ["--rounds", "5", "--ops", "64"]
# Of what is written already, a page cache may map many pages by one fault.
FAULT = ["fault", "--only", "write-first/hole/4k,write-first/unwritten/4k"]
# A factor that no busy machine makes of the same.
MUCH = 50


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="daxbench-test-")
        self.addCleanup(scratch.cleanup)
        self.dir = Path(scratch.name)

    def run_it(self, *args, expect=0):
        done = subprocess.run([DAXBENCH, "--dir", str(self.dir), *map(str, args)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=300)
        if expect is not None:
            self.assertEqual(done.returncode, expect, "%s\n%s" % (done.stdout, done.stderr))
        return done

    def measure(self, name, *args):
        path = self.dir / name
        self.run_it(*args, *QUICK, "--json", path)
        return path

    def slower(self, path, name, factor, **changes):
        """A copy in which the first series takes `factor` times as long."""
        result = json.loads(path.read_text())
        for round_ in result["series"][0]["rounds"]:
            round_["bins"] = {str(int(int(low) * factor)): count
                              for low, count in round_["bins"].items()}
            lows = [int(low) for low in round_["bins"]]
            round_["min"], round_["max"] = min(lows), max(lows)
        result["facts"].update(changes.get("facts", {}))
        result.update(changes.get("top", {}))
        copy = self.dir / name
        copy.write_text(json.dumps(result))
        return copy


class Results(Case):
    def test_fault(self):
        result = json.loads(self.measure("a.json", *FAULT).read_text())
        self.assertEqual(result["verb"], "fault")
        self.assertEqual(len(result["series"]), 2)
        for key in ("kernel", "accelerator", "cpu", "cpus_allowed", "numa_node", "governor", "thp",
                    "file_system", "mount_options", "timer"):
            self.assertIn(key, result["facts"])
        for series in result["series"]:
            self.assertEqual(len(series["rounds"]), 5)
            lat = series["lat_ns"]
            self.assertEqual(lat["N"], 5 * 64)
            self.assertEqual(sum(lat["bins"].values()), lat["N"])
            self.assertLessEqual(lat["min"], lat["percentile"]["50.000000"])
            self.assertLessEqual(lat["percentile"]["90.000000"], lat["max"])
            # Fewer than five values are beyond it.
            self.assertNotIn("99.900000", lat["percentile"])
            low, high = series["interval95_ns"]["50.000000"]
            self.assertLessEqual(low, high)
            self.assertGreaterEqual(series["verified"]["faults"],
                                    series["verified"]["faults_expected"])

    def test_raw_values_are_those_of_the_bins(self):
        result = json.loads(self.measure("a.json", *FAULT, "--raw").read_text())
        series = result["series"][0]
        values = [value for values in series["raw_ns"] for value in values]
        self.assertEqual(len(values), 5 * 64)
        self.assertEqual((min(values), max(values)),
                         (series["lat_ns"]["min"], series["lat_ns"]["max"]))
        self.assertAlmostEqual(sum(values) / len(values), series["lat_ns"]["mean"], places=3)

    def test_other_verbs(self):
        for verb, only in (("truncate", "truncate/4k/*,unlink/4k/*"), ("pin", "vmsplice-*/1-page"),
                           ("flush", "*/64")):
            path = self.dir / (verb + ".json")
            self.run_it(verb, "--only", only, "--rounds", 5, "--ops", 8, "--json", path)
            result = json.loads(path.read_text())
            measured = [s for s in result["series"] if "lat_ns" in s]
            self.assertTrue(measured, verb)
            for series in measured:
                self.assertEqual(series["lat_ns"]["N"], 40, series["name"])

    def test_agree(self):
        """Each way to measure a thing is there, does what it says, and is compared."""
        path = self.dir / "a.json"
        with tempfile.TemporaryDirectory(dir="/dev/shm") as dir_:
            done = subprocess.run([DAXBENCH, "agree", "--dir", dir_, "--only",
                                   "fault-*/4k/*,*/mmap/*,*/libpmem/*", *QUICK, "--json",
                                   str(path)], stdout=subprocess.PIPE, universal_newlines=True)
            self.assertEqual(os.listdir(dir_), [])
        self.assertEqual(done.returncode, 0, done.stdout)
        measured = {s["name"]: s for s in json.loads(path.read_text())["series"]
                    if not s["name"].endswith("/fio") or shutil.which("fio")}
        self.assertLessEqual({"fault-write/4k/loop", "read/mmap/daxbench",
                              "write/libpmem/unwritten"}, set(measured))
        for name, series in measured.items():
            self.assertNotIn("refused", series, name)
            self.assertEqual(series["lat_ns"]["N"] * series.get("batch", 1), 5 * 64, name)
            self.assertEqual(series["verified"]["operations"], 5 * 64, name)
            self.assertGreaterEqual(series["verified"]["faults"], 5 * 64, name)
        words = "(agree|differ|too uncertain to tell)"
        for thing, other in (("fault-write/4k", "loop"), ("write/mmap", "string-copy"),
                             ("read/mmap", "back-to-back")):
            self.assertRegex(done.stdout, r"%s +%s .* %s" % (thing, other, words))

    def test_agree_without_fio(self):
        """It is said, and the rest is measured."""
        for tool in ("ls", "sed"):      # of libtool's script around the program
            (self.dir / tool).symlink_to(shutil.which(tool))
        with tempfile.TemporaryDirectory(dir="/dev/shm") as dir_:
            done = subprocess.run([DAXBENCH, "agree", "--dir", dir_, "--only", "write/mmap/[df]*",
                                   "--rounds", "1", "--ops", "16"], stdout=subprocess.PIPE,
                                  universal_newlines=True,
                                  env=dict(os.environ, PATH=str(self.dir)))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("there is no fio", done.stdout)
        self.assertRegex(done.stdout, "write/mmap +fio .* no figures")

    def test_what_takes_no_fault_is_not_measured(self):
        """tmpfs maps for stores what is read: the control of the count of faults."""
        path = self.dir / "a.json"
        self.run_it("fault", "--dir", "/dev/shm", "--rounds", 1, "--ops", 1, "--only",
                    "write-protect/written/4k", "--json", path, expect=1)
        series = json.loads(path.read_text())["series"][0]
        self.assertIn("0 faults for 1 stores", series["refused"])

    def test_unlink_leaves_nothing(self):
        self.run_it("truncate", "--only", "unlink/*k/*", "--rounds", 1, "--ops", 2)
        self.assertEqual(os.listdir(self.dir), [])

    def test_umount_is_refused(self):
        """Before anything is measured or unmounted."""
        def fails(words, folder, *args):
            done = self.run_it("truncate", "--umount", "--dir", folder, *args, expect=74)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stdout, "")

        fails("is no mount point; the file system is mounted on /", self.dir)
        fails("No such file", self.dir / "none")
        # Not to be unmounted anywhere, by nobody; and what is in memory would be gone.
        fails("is no block device", "/proc")

    def test_umount_is_only_on_demand(self):
        done = self.run_it("truncate", "--only", "umount/*", expect=74)
        self.assertIn("leaves nothing of 'truncate' to measure", done.stderr)

    def test_huge_is_never_small_in_disguise(self):
        """Where there are no huge pages, no figure is shown, and the doctor says why."""
        path = self.dir / "a.json"
        done = subprocess.run([DAXBENCH, "fault", "--dir", str(self.dir), "--only",
                               "write-first/*/2m", "--rounds", "1", "--ops", "2", "--json",
                               str(path)], stdout=subprocess.PIPE, universal_newlines=True)
        for series in json.loads(path.read_text())["series"]:
            if "refused" in series:
                self.assertIn("doctor: ", series["refused"])
                self.assertNotIn("lat_ns", series)
                self.assertIn("no figures", done.stdout)
            else:
                self.assertLessEqual(series["lat_ns"]["N"], series["verified"]["huge_ranges"])

    def test_interrupted(self):
        """What was measured until then is kept."""
        path = self.dir / "a.json"
        for number in (signal.SIGINT, signal.SIGTERM):
            child = subprocess.Popen([DAXBENCH, *FAULT, "--dir", str(self.dir), "--rounds", "1000",
                                      "--ops", "512", "--json", str(path)],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(2)
            child.send_signal(number)
            out, _ = child.communicate(timeout=120)
            self.assertEqual(child.returncode, 130)
            self.assertIn(b"Interrupted", out)
            result = json.loads(path.read_text())
            self.assertTrue(result["interrupted"])
            self.assertGreater(result["series"][0]["lat_ns"]["N"], 0)

    def test_one_that_gives_up(self):
        """does not take the others with it."""
        gone = self.dir / "gone"
        gone.mkdir()
        child = subprocess.Popen([DAXBENCH, *FAULT, "--dir", str(gone), "--rounds", "1000",
                                  "--json", str(self.dir / "a.json")],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 universal_newlines=True)
        time.sleep(1)
        gone.rmdir()
        out, err = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 1)
        self.assertIn("gone", err)
        self.assertIn("gave up", out)
        self.assertEqual(len(json.loads((self.dir / "a.json").read_text())["series"]), 2)


class Pins(Case):
    """Holders that are not to be had here, without root say, are refused with the reason."""

    def pin(self, only, **more):
        path = self.dir / "pin.json"
        done = subprocess.run([DAXBENCH, "pin", "--dir", str(self.dir), "--only", only, *QUICK,
                               "--json", str(path)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True, timeout=300, **more)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return {s["name"]: s for s in json.loads(path.read_text())["series"]}, done.stdout

    def test_pages_were_held(self):
        found, table = self.pin("*/*-4k/*")
        self.assertEqual({series["params"]["holder"] for series in found.values()},
                         {"vmsplice", "zerocopy", "io_uring", "xdp", "rdma", "direct-write",
                          "direct-read", "process-vm-read", "process-vm-write"})
        for name, series in found.items():
            if "refused" in series:
                self.assertNotIn("were held", series["refused"], name)
                self.assertIn("/" + series["params"]["memory"], name)
                continue
            self.assertGreater(series["verified"]["held_at_least"], 0, name)
            self.assertGreaterEqual(series["verified"]["held"],
                                    series["verified"]["held_at_least"], name)
            self.assertEqual(series.get("batch", 1), series["params"]["pages"], name)
        self.assertNotIn("refused", found["vmsplice-pin/file-4k/256-pages"])
        self.assertNotIn("refused", found["process-vm-read-both/file-4k/16-pages"])
        self.assertIn("figures are per page", table)

    def test_calls_that_hold_nothing(self):
        """The control: a preload makes them succeed, and nothing else."""
        preload = os.path.join(os.path.dirname(DAXBENCH), "no-pins.so")
        self.assertTrue(os.path.exists(preload), "make no-pins.so")
        found, _ = self.pin("vmsplice-*/*-4k/*,io_uring-*/*-4k/*,xdp-*/*-4k/*,"
                            "process-vm-read-*/*-4k/*",
                            env=dict(os.environ, LD_PRELOAD=preload,
                                     ASAN_OPTIONS="verify_asan_link_order=0"))
        self.assertEqual(len(found), 6 * 6)
        for name, series in found.items():
            self.assertIn("refused", series, name)
            if not series["refused"].startswith(("no AF_XDP", "no io_uring")):
                self.assertIn("this is not the time of holding them", series["refused"], name)


class Comparisons(Case):
    def test_the_same_is_no_regression(self):
        path = self.measure("a.json", *FAULT)
        done = self.run_it("compare", path, path)
        self.assertIn("0 slower, 0 faster", done.stdout)

    def test_slower_is_found(self):
        path = self.measure("a.json", *FAULT)
        slow = self.slower(path, "b.json", MUCH)
        self.assertIn("SLOWER", self.run_it("compare", path, slow, expect=1).stdout)
        self.assertIn("faster", self.run_it("compare", slow, path).stdout)
        # The same is below a threshold that is high enough.
        self.run_it("compare", path, slow, "--threshold", 100 * MUCH)

    def test_too_few_rounds_for_so_many_series(self):
        path = self.measure("a.json", *FAULT)
        result = json.loads(path.read_text())
        series = result["series"][0]
        result["series"] = [dict(series, name="series %d" % i) for i in range(9)]
        path.write_text(json.dumps(result))
        slow = self.slower(path, "b.json", MUCH)
        word = "nothing can be significant"
        self.assertIn(word, self.run_it("compare", path, slow).stdout)
        done = self.run_it("compare", path, slow, "--only", "series [01]", expect=1)
        self.assertNotIn(word, done.stdout)

    def test_what_has_other_parameters(self):
        path = self.measure("a.json", *FAULT)
        result = json.loads(path.read_text())
        result["series"][0]["params"]["size"] = 8192
        (self.dir / "b.json").write_text(json.dumps(result))
        out = self.run_it("compare", path, self.dir / "b.json").stdout
        self.assertIn("%s: not in %s: other parameters" % (
            result["series"][0]["name"], self.dir / "b.json"), out)
        self.assertIn("0 slower, 0 faster", out)

    def test_what_can_not_be_measured_any_more(self):
        """is no success; if the measurement was interrupted, it is no failure either."""
        path = self.measure("a.json", *FAULT)
        result = json.loads(path.read_text())
        result["series"][0] = {"name": result["series"][0]["name"], "params": {},
                               "refused": "no huge pages"}
        (self.dir / "b.json").write_text(json.dumps(result))
        out = self.run_it("compare", path, self.dir / "b.json", expect=1).stdout
        self.assertIn("no huge pages", out)
        self.assertIn("1 series of", out)
        self.run_it("compare", self.dir / "b.json", path)
        (self.dir / "b.json").write_text(json.dumps(dict(result, interrupted=True)))
        self.assertIn("was interrupted", self.run_it("compare", path, self.dir / "b.json").stdout)

    def test_rounds_of_another_size(self):
        """A high percentile of few values is their maximum: it is not compared."""
        path, few = self.measure("a.json", *FAULT), self.dir / "b.json"
        self.run_it(*FAULT, "--rounds", 10, "--ops", 16, "--json", few)
        out = self.run_it("compare", path, few, "--threshold", 10000).stdout
        self.assertIn("Rounds have 64 values, then 16", out)
        rows = [line.split()[1] for line in out.splitlines() if line.startswith("write-first/hole")]
        self.assertEqual(rows[:1], ["50"])
        self.assertNotIn("90", rows)
        self.assertNotIn("Rounds have", self.run_it("compare", path, path).stdout)

    def test_markdown(self):
        path = self.measure("a.json", *FAULT)
        slow = self.slower(path, "b.json", MUCH)
        done = self.run_it("compare", path, slow, "--markdown", expect=1)
        self.assertIn("| SLOWER |", done.stdout)
        self.assertIn("|---|", done.stdout)

    def test_what_is_not_to_be_compared(self):
        path = self.measure("a.json", *FAULT)
        emulated = self.slower(path, "b.json", 1, facts={"accelerator": "TCG"})
        other = self.slower(path, "c.json", 1, top={"verb": "truncate"})
        self.assertIn("accelerator", self.run_it("compare", path, emulated, expect=2).stderr)
        self.assertIn("different", self.run_it("compare", path, other, expect=2).stderr)

    def test_other_facts_are_told(self):
        path = self.measure("a.json", *FAULT)
        newer = self.slower(path, "b.json", 1, facts={"kernel": "99.9"})
        self.assertIn("99.9", self.run_it("compare", path, newer).stdout)

    def test_by_turns(self):
        for name in ("a", "b"):
            (self.dir / name).mkdir()
        done = subprocess.run([DAXBENCH, *FAULT, *QUICK, "--dir", str(self.dir / "a"), "--beside",
                               str(self.dir / "b"), "--json", str(self.dir / "a.json"),
                               "--beside-json", str(self.dir / "b.json")],
                              stdout=subprocess.PIPE, universal_newlines=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("compared:", done.stdout)
        results = [json.loads((self.dir / name).read_text()) for name in ("a.json", "b.json")]
        for result in results:
            self.assertEqual([s["lat_ns"]["N"] for s in result["series"]], [5 * 64] * 2)
        self.assertNotEqual(results[0]["series"][0]["rounds"], results[1]["series"][0]["rounds"])

    def test_each_folder_has_its_own_doctor(self):
        """Why there are no huge pages, where there are none, is not what is true of the other."""
        def reasons(*args):
            self.run_it("fault", *args, "--only", "write-first/hole/2m", "--rounds", 1, "--ops", 1,
                        "--json", self.dir / "a.json", expect=None)
            return json.loads((self.dir / "a.json").read_text())["series"][0].get("refused")
        alone = [reasons("--dir", "/dev/shm"), reasons()]
        self.assertEqual(reasons("--dir", "/dev/shm", "--beside", self.dir, "--beside-json",
                                 self.dir / "b.json"), alone[0])
        beside = json.loads((self.dir / "b.json").read_text())["series"][0].get("refused")
        self.assertEqual(beside, alone[1])

    def test_broken_json(self):
        path = self.measure("a.json", *FAULT)
        (self.dir / "b.json").write_text(path.read_text()[:1000])
        self.assertIn("b.json", self.run_it("compare", path, self.dir / "b.json", expect=2).stderr)
        self.assertIn("none.json",
                      self.run_it("compare", path, self.dir / "none.json", expect=2).stderr)


class Pictures(Case):
    def draw(self, *args):
        svg = self.run_it("plot", *args).stdout
        return xml.etree.ElementTree.fromstring(svg), svg

    def test_distributions(self):
        path = self.measure("a.json", *FAULT)
        root, svg = self.draw(path)
        self.assertTrue(root.tag.endswith("svg"))
        for name in ("write-first/hole/4k", "90 %"):
            self.assertIn(">%s<" % name, svg)

    def test_against_a_parameter(self):
        path = self.dir / "a.json"
        self.run_it("truncate", "--only", "truncate/[42]*k/dirty,punch/[42]*k/dirty",
                    "--rounds", 5, "--ops", 4, "--json", path)
        _, svg = self.draw(path, "--against", "size")
        for name in ("truncate", "punch", "256 KiB"):
            self.assertIn(">%s<" % name, svg)

    def test_pins_against_pages(self):
        path = self.dir / "a.json"
        self.run_it("pin", "--only", "vmsplice-*/*-4k/*", *QUICK, "--json", path)
        _, svg = self.draw(path, "--against", "pages")
        for name in ("daxbench pin, per page: vmsplice, 4k", "pin file", "unpin anonymous", "256"):
            self.assertIn(">%s<" % name, svg)

    def test_several_results_are_told_apart(self):
        """By kernel and file system; where these are the same, by their files."""
        path = self.measure("a.json", *FAULT)
        again = self.slower(path, "again.json", 2)
        newer = self.slower(path, "newer.json", 2, facts={"kernel": "99.9-x"})
        only = ("--only", "write-first/hole/4k")
        _, svg = self.draw(path, again, newer, *only)
        facts = json.loads(path.read_text())["facts"]
        for label in ("a", "again", "99.9 %s" % facts["file_system"]):
            self.assertIn(">%s: write-first/hole/4k<" % label, svg)

    def test_a_tail_of_a_few_values_is_not_drawn(self):
        path = self.measure("a.json", *FAULT)
        result = json.loads(path.read_text())
        for round_ in result["series"][0]["rounds"][:4]:
            round_["bins"].pop(str(max(map(int, round_["bins"]))))
            round_["bins"][str(1 << 30)] = 1
            round_["max"] = 1 << 30
        result["series"][0]["lat_ns"]["N"] = sum(
            sum(round_["bins"].values()) for round_ in result["series"][0]["rounds"])
        path.write_text(json.dumps(result))
        self.assertNotIn(">1 s<", self.draw(path, "--only", "write-first/hole/4k")[1])

    def test_nothing_to_draw(self):
        path = self.measure("a.json", *FAULT)
        self.assertIn("--only", self.run_it("plot", path, "--only", "none", expect=74).stderr)
        self.assertIn("'pins'", self.run_it("plot", path, "--against", "pins", expect=74).stderr)

    def test_kinds_are_not_mixed(self):
        path = self.measure("a.json", *FAULT)
        emulated = self.slower(path, "b.json", 1, facts={"accelerator": "TCG"})
        self.assertIn("TCG", self.run_it("plot", path, emulated, expect=74).stderr)


class BadInput(Case):
    def test_nothing_left(self):
        self.assertIn("--only", self.run_it("fault", "--only", "none", expect=74).stderr)

    def test_no_such_folder(self):
        done = subprocess.run([DAXBENCH, "fault", "--dir", str(self.dir / "none")],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)
        self.assertEqual(done.returncode, 74)
        self.assertIn("none", done.stderr)

    def test_dax_is_demanded(self):
        done = subprocess.run([DAXBENCH, "fault", "--dir", "/proc/self", "--require-dax"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)
        self.assertEqual(done.returncode, 74)
        self.assertIn("daxheap doctor", done.stderr)

    def test_more_threads_than_cpus(self):
        done = subprocess.run(["taskset", "-c", str(min(os.sched_getaffinity(0))), DAXBENCH,
                               *FAULT[:1], "--only", "write-first/hole/4k,*2-threads-shared",
                               "--dir", str(self.dir), *QUICK, "--rounds", "1"],
                              stdout=subprocess.PIPE, universal_newlines=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn("there are 1 CPUs only", done.stdout)

    def test_no_place_for_the_result(self):
        """That is said before anything is measured."""
        (self.dir / "folder").mkdir()
        for option, name in (("--json", "none/a.json"), ("--json", "folder"),
                             ("--beside-json", "none/a.json")):
            done = self.run_it(*FAULT, "--rounds", 1000, option, self.dir / name, "--beside",
                               self.dir, expect=74)
            self.assertIn("can't be written", done.stderr)
            self.assertEqual(done.stdout, "")
        done = self.run_it("plot", "none.json", "--output", self.dir / "none" / "a.svg", expect=74)
        self.assertIn("can't be written", done.stderr)

    def test_full_output(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([DAXBENCH, *FAULT, "--list"], stdout=full,
                                  stderr=subprocess.PIPE, universal_newlines=True)
        self.assertEqual(done.returncode, 74)
        self.assertIn("standard output", done.stderr)

    def test_list(self):
        out = self.run_it(*FAULT, "--list").stdout
        self.assertEqual(out.splitlines(), ["write-first/hole/4k", "write-first/unwritten/4k"])
        self.assertIn("--list", self.run_it("fault", "--only", "nothing", expect=74).stderr)

    def test_usage(self):
        for args in (["frobnicate"], ["fault", "--ops", "0"], ["compare", "a"],
                     ["compare", "a", "b", "--threshold", "x"], ["plot"], ["fault", "too"],
                     ["fault", "--beside-json", "a"], ["fault", "--rounds", "1001"],
                     ["alloc", "--ops", "3"], ["loop", "publish"], ["compare"]):
            done = self.run_it(*args, expect=64)
            self.assertIn("--help", done.stderr)


class Tap(unittest.TestResult):
    """unittest's results as TAP."""

    def _line(self, test, good, remark="", details=""):
        print("%s %d - %s%s" % ("ok" if good else "not ok", self.testsRun,
                                ".".join(test.id().split(".")[1:]), remark))
        for line in details.splitlines():
            print("# " + line)
        sys.stdout.flush()

    def addSuccess(self, test):
        self._line(test, True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line(test, False, details=self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._line(test, False, details=self.errors[-1][1])


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = Tap()
    suite.run(result)
    print("1..%d" % result.testsRun)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
