#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the lab that need no network and no guest. Prints TAP."""
import contextlib
import io
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/daxlab"))

from daxlab import (apt, bench, cache, cli, closure, cpio, guest, holders, image, kernels,  # noqa: E402
                    ktap, lab, matrix, modules, pmem, powercut, qemu, table, vmlinux)
from daxlab.errors import EXIT_LAB, LabError  # noqa: E402


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.cache = cache.Cache(self.folder / "cache")

    def says(self, text, call, *args, **kwargs):
        """The call must fail with a LabError that says `text`."""
        with self.assertRaises(LabError) as caught:
            call(*args, **kwargs)
        self.assertIn(text, str(caught.exception))


def run_main(*arguments, **environ):
    """(exit code, stderr) of the command line, with its cache out of harm's way."""
    errors = io.StringIO()
    with mock.patch.dict(os.environ, environ), contextlib.redirect_stderr(errors), \
            contextlib.redirect_stdout(io.StringIO()):
        try:
            code = cli.main(list(arguments))
        except SystemExit as leaving:
            code = leaving.code
    return code, errors.getvalue()


DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Types: deb
URIs: http://example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://example.org/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://example.org/debian
Suites: sid
Components: main

Types: deb
URIs: http://example.org/node
Suites: nodistro
Components: main
"""

ONE_LINE = """\
deb [arch=amd64 signed-by=/k.gpg] http://example.org/debian bookworm main contrib # x
# deb http://example.org/debian sid main
deb-src http://example.org/debian bookworm main
deb http://example.org/flat ./
deb http://example.org/other stable contrib
"""


class Sources(Case):
    def machine(self, sources="", one_line=""):
        etc = self.folder / "etc"
        (etc / "sources.list.d").mkdir(parents=True, exist_ok=True)
        (etc / "sources.list.d/debian.sources").write_text(sources)
        (etc / "sources.list").write_text(one_line)
        (etc / "sources.list.d/x.sources.disabled").write_text(DEB822)
        return apt.machine_entries(etc)

    def test_deb822(self):
        entries = self.machine(DEB822)
        self.assertEqual([entry.suites for entry in entries],
                         [["bookworm", "bookworm-updates"], ["bookworm-security"]])
        self.assertIn("-----BEGIN", entries[0].options["Signed-By"])

    def test_one_line(self):
        entries = self.machine("", ONE_LINE)
        self.assertEqual([entry.suites for entry in entries], [["bookworm"]])
        self.assertEqual(entries[0].options, {"Signed-By": "/k.gpg"})
        self.assertEqual(entries[0].uris, ["http://example.org/debian"])

    def test_newer_suites_are_added_to_the_archive_not_to_security(self):
        text = apt.lab_sources(self.machine(DEB822))
        last = text.split("\n\n")[-1]
        self.assertIn("Suites: trixie-backports sid", last)
        self.assertIn("URIs: http://example.org/debian\n", last)
        self.assertIn("-----BEGIN", last)

    def test_result_is_read_back_alike(self):
        entries = self.machine(DEB822)
        again = apt.parse_deb822(apt.lab_sources(entries))
        self.assertEqual(again[0].options, entries[0].options)
        self.assertEqual(again[1].uris, entries[1].uris)

    def test_suite_that_is_there_is_not_added_again(self):
        text = apt.lab_sources(self.machine(DEB822.replace("bookworm-updates", "sid")))
        self.assertEqual(text.count("sid"), 1)

    def test_no_debian_entry(self):
        self.says("--kernel BUILD-TREE", apt.lab_sources, self.machine())


class AptFolder(Case):
    def test_a_config_that_says_the_same_is_not_written_again(self):
        """Or another daxlab's apt finds none at that moment, and takes the machine's lists."""
        path = self.folder / "apt.conf"
        apt._write_if_changed(path, "a")
        with open(path) as reader:
            apt._write_if_changed(path, "a")
            self.assertEqual(os.fstat(reader.fileno()).st_ino, path.stat().st_ino)
            apt._write_if_changed(path, "b")
            self.assertEqual((reader.read(), path.read_text()), ("a", "b"))


class FakeApt:
    """An archive: {name: size in MB}."""

    def __init__(self, names=None):
        self.names = names

    def update(self, force=False):
        if self.names is None:
            raise LabError("the lists of packages could not be had; is the network up?")

    def packages(self, pattern):
        return {name: apt.Package({"package": name, "size": str(size << 20)})
                for name, size in self.names.items()}


ARCHIVE = {
    "linux-image-6.1.0-9-amd64": 70, "linux-image-6.1.0-10-amd64": 70,
    "linux-image-6.1.0-10-amd64-unsigned": 70, "linux-image-6.1.0-11-cloud-amd64": 30,
    "linux-image-6.1.0-11-rt-amd64": 70, "linux-image-6.1.0-10-amd64-dbg": 900,
    "linux-image-6.12-amd64": 30,
    "linux-image-6.12.9+deb12-amd64": 100, "linux-image-6.12.17+deb12-amd64": 100,
    "linux-image-7.1.3+deb13-amd64": 0, "linux-binary-7.1.3+deb13-amd64": 14,
    "linux-image-7.2.6+deb13-amd64": 0, "linux-binary-7.2.6+deb13-amd64": 14,
    "linux-modules-7.2.6+deb13-amd64": 100, "linux-base-7.2.6+deb13-amd64": 1,
    "linux-binary-unsigned-7.3.4+deb13-amd64": 14, "linux-modules-7.3.4+deb13-amd64": 100,
}


class Series(Case):
    def store(self, names=None):
        return kernels.Store(self.cache, FakeApt(names))

    def cached(self, series, release):
        folder = self.cache.root / kernels.FOLDER / release
        folder.mkdir(parents=True)
        (folder / "facts.json").write_text(json.dumps(
            {"series": series, "release": release, "key": release, "modules": True}))

    def test_newest_of_each_series_and_only_the_plain_flavour(self):
        offered = self.store(ARCHIVE).offered()
        self.assertEqual({s: o.release for s, o in offered.items()}, {
            "6.1": "6.1.0-10-amd64", "6.12": "6.12.17+deb12-amd64",
            "7.2": "7.2.6+deb13-amd64", "7.3": "7.3.4+deb13-amd64"})

    def test_signed_is_taken_before_unsigned(self):
        offered = self.store(ARCHIVE).offered()
        self.assertEqual(offered["6.1"].packages, ["linux-image-6.1.0-10-amd64"])

    def test_split_packages_are_put_together(self):
        offered = self.store(ARCHIVE).offered()
        self.assertEqual(offered["7.2"].packages, [
            "linux-binary-7.2.6+deb13-amd64", "linux-modules-7.2.6+deb13-amd64",
            "linux-base-7.2.6+deb13-amd64"])

    def test_versions_are_numbers(self):
        self.assertLess(kernels.version_key("6.9"), kernels.version_key("6.10"))

    def test_unknown_series_lists_what_there_is(self):
        self.says("6.1, 6.12, 7.2, 7.3", self.store(ARCHIVE).get, "6.99")

    def test_missing_path(self):
        self.says("no such file", self.store(ARCHIVE).get, "/no/such/bzImage")

    def test_cached_kernel_needs_no_network(self):
        self.cached("6.12", "6.12.9+deb12-amd64")
        self.assertEqual(self.store().get("6.12").release, "6.12.9+deb12-amd64")
        self.assertEqual(self.store().get("newest").release, "6.12.9+deb12-amd64")
        self.says("network", self.store().get, "6.1")

    def test_newest_is_the_newest_series(self):
        self.cached("7.3", "7.3.4+deb13-amd64")
        self.cached("7.2", "7.2.6+deb13-amd64")
        self.assertEqual(self.store(ARCHIVE).get("newest").series, "7.3")

    def test_no_space_for_a_download(self):
        with mock.patch.object(cache, "free_mib", return_value=7):
            self.says("has 7 MiB left", self.store(ARCHIVE).get, "6.12")
        self.assertEqual(list((self.cache.root / "tmp").iterdir()), [])

    def test_user_image_without_its_modules(self):
        path = self.folder / "bzImage"
        path.write_bytes(bzimage(zlib.compress(b"x")))
        self.says("INSTALL_MOD_PATH", self.store().get, "%s:%s" % (path, self.folder))

    def test_user_tree_that_is_not_built(self):
        self.says("make bzImage", self.store().get, str(self.folder))

    def test_user_image_that_is_none(self):
        path = self.folder / "image"
        path.write_bytes(b"\x7fELF" * 1000)
        self.says("no Linux bzImage", self.store().get, str(path))


def bzimage(packed, release=b"6.99.1-test (me)"):
    """A bzImage with one setup sector more than none and `packed` as its payload."""
    image_ = bytearray(1024)
    image_[0x1f1] = 1
    image_[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image_, 0x20e, 0x300 - 0x200)
    image_[0x300:0x300 + len(release)] = release
    struct.pack_into("<II", image_, 0x248, 16, len(packed))
    return bytes(image_) + bytes(16) + packed + b"tail"


def elf(note_name=b"Xen\0", kind=18):
    note = struct.pack("<III", len(note_name), 8, kind) + note_name + bytes(8)
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    struct.pack_into("<Q", head, 0x20, 64)
    struct.pack_into("<HH", head, 0x36, 56, 1)
    program = struct.pack("<IIQQQQQQ", vmlinux.PT_NOTE, 0, 120, 0, 0, len(note), 0, 4)
    return bytes(head) + program + note


class Image(Case):
    def extracted(self, packed):
        source, target = self.folder / "bzImage", self.folder / "vmlinux"
        source.write_bytes(bzimage(packed))
        vmlinux.extract(source, target)
        return target.read_bytes(), source.read_bytes()

    def test_gzip_and_xz(self):
        gzip = zlib.compressobj(wbits=31)
        for packed in (gzip.compress(elf()) + gzip.flush(), lzma.compress(elf()) + b"size"):
            self.assertEqual(self.extracted(packed)[0], elf())

    @unittest.skipUnless(shutil.which("zstd"), "zstd is not installed")
    def test_zstd(self):
        packed = subprocess.run(["zstd", "-c"], input=elf(), stdout=subprocess.PIPE).stdout
        self.assertEqual(self.extracted(packed + b"size")[0], elf())

    def test_without_a_pvh_note_the_bzimage_stays(self):
        for other in (elf(kind=17), elf(note_name=b"GNU\0"), b"\x7fELF\x01" + bytes(90)):
            target, source = self.extracted(lzma.compress(other))
            self.assertEqual(target, source)

    def test_unknown_compression(self):
        self.says("does not know", vmlinux.unpack, b"what is this")

    def test_release(self):
        path = self.folder / "bzImage"
        path.write_bytes(bzimage(b""))
        self.assertEqual(kernels.image_release(path), "6.99.1-test")

    def test_archive_is_one_that_cpio_reads(self):
        out = io.BytesIO()
        archive = cpio.Writer(out)
        archive.symlink("/lib", "usr/lib")
        archive.data("/usr/lib/deep/file", b"12345", 0o100755)
        archive.folder("/usr/lib/deep")
        archive.close()
        done = subprocess.run(["cpio", "-itv"], input=out.getvalue(), check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        listing = done.stdout.decode().splitlines()
        self.assertEqual([line.split()[8] for line in listing],
                         ["lib", "usr", "usr/lib", "usr/lib/deep", "usr/lib/deep/file"])
        self.assertTrue(listing[4].startswith("-rwxr-xr-x"))
        done = subprocess.run(["cpio", "-i", "--to-stdout", "usr/lib/deep/file"],
                              input=out.getvalue(), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        self.assertEqual(done.stdout, b"12345")
        self.assertEqual(len(out.getvalue()) % 512, 0)

    def test_modules_are_unpacked(self):
        path = self.folder / "a.ko.xz"
        path.write_bytes(lzma.compress(b"module"))
        self.assertEqual(modules.content(str(path)), b"module")
        self.assertEqual(modules.guest_name("/x/nd_pmem.ko.xz"), "nd_pmem.ko")


LDD = """\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibkv.so.0 => /home/me/build/.libs/libkv.so.0 (0x00007f0)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f2)
"""


class Closure(Case):
    def test_ldd(self):
        self.assertEqual(closure.parse_ldd(LDD, "kv"), [
            ("libkv.so.0", "/home/me/build/.libs/libkv.so.0"),
            ("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
            ("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2")])

    def test_missing_library(self):
        self.says("needs the library libx.so.1", closure.parse_ldd,
                  "\tlibx.so.1 => not found\n", "kv")

    def test_program_comes_with_libc_and_loader(self):
        found = closure.files("/bin/ls", "/bin/ls")
        names = {os.path.basename(path) for path in found}
        self.assertIn("/usr/bin/ls", found)
        self.assertIn("libc.so.6", names)
        self.assertTrue(any(name.startswith("ld-linux") for name in names))

    def test_script_comes_with_its_interpreter(self):
        path = self.folder / "script"
        path.write_text("#!/bin/bash\ntrue\n")
        found = closure.files(str(path), "/usr/local/bin/script")
        self.assertIn("/usr/bin/bash", found)
        path.write_text("#!/bin/sh\ntrue\n")
        self.assertEqual(list(closure.files(str(path), "/x")), ["/x"])

    def test_libtool_wrapper_stands_for_the_real_program(self):
        (self.folder / ".libs").mkdir()
        shutil.copy("/bin/ls", self.folder / ".libs/kv")
        path = self.folder / "kv"
        path.write_text("#! /bin/sh\n# kv - temporary wrapper script for .libs/kv\n")
        self.assertEqual(closure.files(str(path), "/bin/kv")["/usr/bin/kv"],
                         str(self.folder / ".libs/kv"))

    def test_libraries_of_a_build_tree_go_where_the_guest_looks(self):
        self.assertEqual(closure._guest_library("libkv.so.0", "/home/me/libkv.so.0"),
                         "/usr/local/lib/daxlab/libkv.so.0")

    def test_command_of_the_guest_of_the_host_and_of_nowhere(self):
        self.assertEqual(image.extra_files(["sh", "-c", "x"], []), ({}, ["sh", "-c", "x"]))
        files, command = image.extra_files(["/bin/ls", "-l"], [])
        self.assertEqual(command, ["/usr/local/bin/ls", "-l"])
        self.assertEqual(files["/usr/local/bin/ls"], "/bin/ls")
        self.says("no command", image.extra_files, ["no-such-command"], [])
        self.says("no such file", image.extra_files, ["sh"], ["/no/such/file:/x"])


class CacheFolder(Case):
    def test_entry_is_built_once_by_two_at_a_time(self):
        built = []

        def build(path):
            built.append(path)
            time.sleep(0.1)
            path.write_text("x")

        threads = [threading.Thread(target=self.cache.entry, args=("a/b", build))
                   for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(built), 1)
        self.assertEqual((self.cache.root / "a/b").read_text(), "x")

    def test_failed_build_leaves_nothing(self):
        def build(path):
            path.write_text("half")
            raise LabError("no")

        self.says("no", self.cache.entry, "a", build)
        self.assertFalse((self.cache.root / "a").exists())
        self.assertEqual(list((self.cache.root / "tmp").iterdir()), [])

    def test_lock_keeps_another_process_out(self):
        script = ("import fcntl, sys\n"
                  "fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)")
        command = [sys.executable, "-c", script, str(self.cache.root / "lock/x")]
        with self.cache.lock("x"):
            self.assertNotEqual(subprocess.run(command, stderr=subprocess.DEVNULL).returncode,
                                0)
        self.assertEqual(subprocess.run(command).returncode, 0)

    def test_scratch_of_the_dead_is_swept_and_of_the_living_not(self):
        dead = self.cache.root / "tmp/guest.dead"
        dead.mkdir()
        with self.cache.scratch() as living:
            for path in (dead, living):
                os.utime(path, (1, 1))
            with self.cache.scratch():
                self.assertFalse(dead.exists())
                self.assertTrue(living.exists())
        self.assertFalse(living.exists())

    def test_no_space(self):
        with mock.patch.object(os, "statvfs") as statvfs:
            statvfs.return_value.f_bavail, statvfs.return_value.f_frsize = 10, 1 << 20
            self.says("DAXLAB_CACHE", self.cache.need_space, 11, "x")
            self.cache.need_space(10, "x")

    def test_where_it_is(self):
        self.assertEqual(str(cache.default_root({"DAXLAB_CACHE": "/a", "HOME": "/h"})), "/a")
        self.assertEqual(str(cache.default_root({"XDG_CACHE_HOME": "/b"})), "/b/daxheap")
        self.assertEqual(str(cache.default_root({"HOME": "/h"})), "/h/.cache/daxheap")

    def test_folder_that_cannot_be_made(self):
        (self.folder / "file").write_text("")
        self.says("DAXLAB_CACHE", cache.Cache, self.folder / "file/cache")


class BadInput(Case):
    def fails(self, text, *arguments, **environ):
        environ.setdefault("DAXLAB_CACHE", str(self.folder / "cache"))
        code, errors = run_main(*arguments, **environ)
        self.assertEqual(code, EXIT_LAB, errors)
        self.assertIn(text, errors)

    def test_usage(self):
        self.fails("which verb")
        self.fails("--kernel", "run", "--", "true")
        self.fails("no command", "run", "--kernel", "6.12")
        self.fails("knows ext4, xfs and none".replace(" and", ","), "run", "--kernel", "6.12",
                   "--fs", "zfs", "--", "true")
        self.fails("NAME=VALUE", "run", "--kernel", "6.12", "--env", "X", "--", "true")
        self.fails("multiple of 16", "run", "--kernel", "6.12", "--size", "1000", "--",
                   "true")
        self.fails("too small", "run", "--kernel", "6.12", "--jobs", "0", "--", "true")
        self.fails("no such folder", "run", "--kernel", "6.12", "--share", "/no/such", "--",
                   "true")
        self.fails("cannot write", "run", "--kernel", "6.12", "--json", "/no/such/x", "--",
                   "true")
        self.fails("one --kernel", "run", "--kernel", "6.1,6.12", "--media", "/tmp/x", "--",
                   "true")
        self.fails("one --kernel", "run", "--kernel", "6.1", "--pmem", "nvdimm,eadr",
                   "--media", "/tmp/x", "--", "true")
        self.fails("knows nvdimm, eadr", "run", "--kernel", "6.12", "--pmem", "tape", "--",
                   "true")
        self.fails("say --fs none", "run", "--kernel", "6.12", "--pmem", "devdax", "--", "true")
        self.fails("knows 4K, 2M, 1G", "run", "--kernel", "6.12", "--pmem", "devdax", "--fs", "none",
                   "--align", "3M", "--", "true")
        self.fails("say --pmem devdax", "run", "--kernel", "6.12", "--align", "4K", "--", "true")
        self.fails("--size 2048", "run", "--kernel", "6.12", "--pmem", "devdax", "--fs", "none",
                   "--align", "1G", "--", "true")
        self.fails("nothing of them can be kept", "run", "--kernel", "6.12", "--pmem", "memmap",
                   "--media", "/tmp/x", "--", "true")
        self.fails("takes all of them along", "powercut", "--kernel", "6.12", "--pmem",
                   "memmap", "--work", "true", "--check", "true")
        self.fails("no such file", "run", "--kernel", "/no/such", "--", "true")
        self.fails("empty list", "run", "--kernel", ",", "--", "true")
        self.fails("terminal", "shell", "--kernel", "6.12")
        self.fails("no such file", "matrix", "--daxverify", "/no/such")
        self.fails("no report", "table", "/dev/null")

    def test_unknown_kernel(self):
        with mock.patch.object(lab, "Apt", lambda cache_: FakeApt(ARCHIVE)):
            self.fails("6.1, 6.12, 7.2, 7.3", "run", "--kernel", "6.99", "--", "true")

    def test_missing_qemu(self):
        self.fails("install qemu-system-x86", "run", "--kernel", "6.12", "--", "true",
                   PATH=str(self.folder))

    def test_media_that_is_none(self):
        path = self.folder / "media"
        path.write_bytes(b"x" * 1000)
        self.says("not made by the lab", guest._check_media, path)
        path.unlink()
        qemu.create_media(path, 64)
        guest._check_media(path)

    def test_help_names_the_cache(self):
        with contextlib.redirect_stdout(io.StringIO()) as out, \
                mock.patch.dict(os.environ, {"DAXLAB_CACHE": "/some/where"}):
            with self.assertRaises(SystemExit) as leaving:
                cli.main(["--help"])
        self.assertEqual(leaving.exception.code, 0)
        self.assertIn("/some/where", out.getvalue())


KTAP = """\
KTAP version 1
1..7
# start good
ok 1 good
# start skipped
ok 2 skipped # SKIP no such thing here
# start known
not ok 3 known # known defect: bad-thing
#   claim: x
# start failed
not ok 4 failed # saw 1, not 2
# start broke
not ok 5 broke # broken: no file
# start deadly
"""


class PersistentMemory(Case):
    def words(self, name, memory_mib=2048, size_mib=1024):
        kind, media = pmem.KINDS[name], None
        if kind.outlives_guest:
            media = self.folder / "media"
            media.write_bytes(b"")
        with mock.patch.object(qemu, "program", lambda: "qemu"):
            return " ".join(qemu.command_line(
                "tcg", "kernel", None, media, [], kind=kind,
                memory_mib=kind.memory_mib(memory_mib, size_mib),
                extra_args=kind.kernel_args(memory_mib, size_mib)))

    def test_devices(self):
        self.assertIn("nvdimm-persistence=mem-ctrl", self.words("nvdimm"))
        self.assertIn("-device nvdimm,", self.words("nvdimm"))
        self.assertIn("nvdimm-persistence=cpu", self.words("eadr"))
        self.assertIn("-device virtio-pmem-pci,", self.words("virtio"))
        self.assertNotIn("-device nvdimm", self.words("virtio"))
        self.assertIn("-device nvdimm,", self.words("devdax"))

    def test_memmap_is_the_end_of_the_guests_memory(self):
        for memory_mib, size_mib, total, start in ((2048, 1024, 3072, 4096),
                                                   (4096, 512, 4608, 6144),
                                                   (1024, 512, 1536, 1024)):
            words = self.words("memmap", memory_mib, size_mib)
            self.assertIn("-m %dM," % total, words)
            self.assertIn("memmap=%dM!%dM" % (size_mib, start), words)
            self.assertNotIn("memory-backend-file", words)
        self.says("--memory 2048", pmem.KINDS["memmap"].kernel_args, 1024, 2048)

    def test_label_names_the_kind_unless_it_is_the_usual_one(self):
        self.assertEqual(pmem.KINDS["nvdimm"].label("6.12", "xfs"), "6.12/xfs")
        self.assertEqual(pmem.KINDS["eadr"].label("6.12", "xfs"), "6.12/eadr/xfs")


    def test_alignment(self):
        self.assertEqual(pmem.find("devdax", ["none"]).align, "2M")
        self.assertEqual(pmem.find("devdax", ["none"], "1G").align, "1G")
        self.assertEqual(pmem.KINDS["devdax"].align, "2M")


class Ktap(Case):
    def test_verdicts_and_the_one_that_was_running(self):
        results, running = ktap.parse(KTAP)
        self.assertEqual([(r["name"], r["verdict"], r["defect"], r["reason"])
                          for r in results], [
            ("good", "ok", None, None), ("skipped", "skip", None, "no such thing here"),
            ("known", "not ok", "bad-thing", None), ("failed", "not ok", None, "saw 1, not 2"),
            ("broke", "broken", None, "no file")])
        self.assertEqual(running, "deadly")

    def test_all_done(self):
        self.assertIsNone(ktap.parse("# start a\nok 1 a\n")[1])


def report(kernel, fs, *results):
    """A report with (name, verdict[, defect or reason])."""
    scenarios = []
    for name, verdict, *more in results:
        defect = more[0] if more and verdict == "not ok" else None
        reason = more[0] if more and verdict != "not ok" else None
        scenarios.append(ktap.scenario(name, verdict, defect, reason))
    return {"facts": {"kernel": kernel, "fs": fs, "mount_options": "rw,dax=always"},
            "scenarios": scenarios, "version": "1.2",
            "defects": [{"name": "bad-thing", "summary": "it is bad", "fixed_by": "abc 6.15"}]}


def all_verdicts():
    names = ("ok", "skip", "broken", "hang", "oops", "killed")
    one = report("6.1.0-1-amd64", "ext4", *[(name + "-one", name, "why " + name)
                                            for name in names],
                 ("defect-one", "not ok", "bad-thing"), ("failed-one", "not ok"))
    two = report("6.12.3-amd64", "xfs", ("ok-one", "ok"), ("defect-one", "ok"))
    return {"run": {"accelerator": "tcg", "qemu": "7.2", "date": "2026-01-01T00:00:00Z"},
            "reports": [one, two]}


def with_pins(kernel, *cells):
    """A report with (holder, memory, verdict, answer)."""
    made = report(kernel, "ext4", *(("pins-%s-%s" % (holder, memory), verdict)
                                    for holder, memory, verdict, _ in cells))
    for scenario, (holder, memory, _, answer) in zip(made["scenarios"], cells):
        scenario.update(pins=holder, memory=memory, answer=answer)
    return made


class PinMatrix(Case):
    def table(self):
        return table.Table({"reports": [
            with_pins("6.1", ("pipe", "dax", "ok", "accepted"), ("ring", "dax", "ok", "EFAULT"),
                      ("pipe", "anon", "skip", None), ("ring", "anon", "not ok", "accepted")),
            with_pins("6.12", ("pipe", "dax", "ok", "accepted"), ("ring", "dax", "ok", "EPERM"),
                      ("pipe", "anon", "ok", "accepted"), ("ring", "anon", "ok", "accepted"))]})

    def test_cells(self):
        text = self.table().terminal().split("who may pin what")[1]
        lines = [line.split() for line in text.splitlines()]
        rows = {words[0]: words[1:] for words in lines if len(words) == 3}
        self.assertEqual(rows["pipe"], ["yes", "yes"])
        self.assertEqual(rows["ring"], ["*", "*"])
        self.assertIn("ring of dax: EFAULT on 6.1; EPERM on 6.12", text)

    def test_what_failed_has_a_row_of_the_table_as_well(self):
        text = self.table().terminal().split("who may pin what")[0]
        self.assertIn("pins-ring-anon", text)
        self.assertNotIn("pins-pipe-dax", text)
        self.assertFalse(self.table().as_claimed())

    def test_what_was_not_tried_is_counted(self):
        self.assertIn("skip pins-pipe-anon on 6.1", self.table().terminal())

    def test_markdown(self):
        self.assertIn("| `ring` | \\* | \\* |", self.table().markdown())

    def test_none(self):
        text = table.Table(all_verdicts())
        self.assertNotIn("who may pin", (text.terminal() + text.markdown()).lower())


class Holders(Case):
    def test_guest_has_them_only_when_asked(self):
        words = holders.devices(2, self.folder)
        self.assertIn("memory-backend-ram,id=mem2,size=66M", words)
        self.assertIn("nvme,serial=daxlab,drive=nvme,cmb_size_mb=64", words)
        self.assertEqual((self.folder / "nvme").stat().st_size, 16 << 20)
        self.assertEqual(dict(holders.environment())["DEVDAX"], holders.DEVDAX)


class TableOfResults(Case):
    def row(self, text, name):
        return next(line for line in text.splitlines() if line.startswith(name)).split()[1:]

    def test_each_verdict_has_its_word(self):
        text = table.Table(all_verdicts()).terminal()
        words = {"ok-one": ["ok", "ok"], "skip-one": ["skip"], "broken-one": ["broken"],
                 "hang-one": ["HANG"], "oops-one": ["OOPS"], "killed-one": ["KILLED"],
                 "defect-one": ["[A]", "ok"], "failed-one": ["FAILED"]}
        for name, cells in words.items():
            self.assertEqual(self.row(text, name), cells)

    def test_legend(self):
        text = " ".join(table.Table(all_verdicts()).terminal().split())
        self.assertIn("[A] kernel defect bad-thing: it is bad; seen on 6.1; fixed by abc 6.15",
                      text)
        self.assertIn("skip skip-one on 6.1: why skip", text)
        self.assertIn("HANG the guest hung in it: 6.1", text)
        self.assertIn("TCG, so times say nothing", text)

    def test_width(self):
        results = [("a-rather-long-name-of-a-scenario-%d" % i, "not ok", "bad-thing")
                   for i in range(3)]
        reports = [report("6.%d.0" % k, fs, *results) for k in (1, 12, 16, 17)
                   for fs in ("ext4", "xfs")]
        for line in table.Table({"reports": reports}).terminal().splitlines():
            self.assertLessEqual(len(line), 100)

    def test_colour_only_when_asked_for(self):
        self.assertNotIn("\033", table.Table(all_verdicts()).terminal())
        self.assertIn("\033[33m[A]\033[0m", table.Table(all_verdicts()).terminal(True))

    def test_markdown(self):
        text = table.Table(all_verdicts()).markdown()
        self.assertIn("| scenario | 6.1/ext4 | 6.12/xfs |", text)
        self.assertIn("| `defect-one` | *kernel defect A* | ok |", text)
        self.assertIn("| `failed-one` | **FAILED** |  |", text)
        self.assertIn("- **A**: kernel defect `bad-thing`", text)

    def test_a_hang_that_a_defect_explains(self):
        one = report("6.16", "ext4", ("stuck", "hang"), ("fine", "ok"))
        one["scenarios"][0].update(defect="bad-thing", kernel_log=["task x blocked", "trace"])
        the_table = table.Table({"reports": [one]})
        self.assertTrue(the_table.as_claimed())
        self.assertEqual(self.row(the_table.terminal(), "stuck"), ["hang", "A"])
        self.assertIn("  | task x blocked", the_table.terminal())
        self.assertIn("| `stuck` | **hang**, *kernel defect A* |", the_table.markdown())
        self.assertIn("hang in `stuck`, on 6.16/ext4:\n\n```\ntask x blocked\ntrace\n```",
                      the_table.markdown())

    def test_what_counts_as_good(self):
        good = report("6.1", "ext4", ("a", "ok"), ("b", "skip"), ("c", "not ok", "bad-thing"))
        self.assertTrue(table.Table({"reports": [good]}).as_claimed())
        for verdict in ("not ok", "broken", "hang", "oops", "killed", "never heard of"):
            bad = report("6.1", "ext4", ("a", verdict))
            self.assertFalse(table.Table({"reports": [bad]}).as_claimed(), verdict)
        self.assertFalse(table.Table({"reports": []}).as_claimed())

    def test_verb(self):
        path, out = self.folder / "report.json", self.folder / "all.json"
        path.write_text(json.dumps(report("6.1", "ext4", ("a", "ok"))))
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            self.assertEqual(cli.main(["table", str(path), "--json", str(out)]), 0)
            self.assertEqual(cli.main(["table", str(out)]), 0)     # the lab's own form too
        self.assertEqual(self.row(shown.getvalue(), "a"), ["ok"])
        path.write_text(json.dumps(report("6.1", "ext4", ("a", "not ok"))))
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(cli.main(["table", str(path)]), 1)


class FakeKernel:
    name, release = "6.1", "6.1.0-1-amd64"


class FakeLab:
    """Guests that do as the list says: (outcome, stdout, report or None)."""

    def __init__(self, cache_, guests):
        self.cache, self.guests, self.commands = cache_, list(guests), []

    def run(self, job, how):
        self.commands.append(job.command)
        outcome, stdout, result_report = self.guests.pop(0)
        job.on_stdout(stdout.encode())
        if result_report:
            (job.share / "report.json").write_text(json.dumps(result_report))
        result = guest.Result(job)
        result.outcome, result.code, result.reason = outcome, 1, "died of it"
        return result


class LogOfADeath(Case):
    OOPS = """[    1.0] mounted
[    2.0] BUG: unable to handle page fault for address: ffffea000420a548
[    2.0] PGD 7ffa0067 P4D 7ffa0067 PUD 7ff9f067 PMD 0
[    2.0] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    2.0] RIP: 0010:unpin_user_pages+0x2b/0x120
[    2.0] Code: 1f 44 00 00 48 81 fe 00
""" + "".join("[    2.0] R%sX: 0000 RBX: 0001\n" % x for x in "ABCD" * 6) + """[    2.1] Call Trace:
[    2.1]  process_vm_rw_core
"""

    def test_has_the_trace_and_no_registers(self):
        result = guest.Result(guest.Job(FakeKernel))
        result.outcome, result.console = guest.PANIC, self.OOPS.encode()
        lines = result.log_tail()
        self.assertIn("BUG: ", lines[0])
        self.assertIn("process_vm_rw_core", lines[-1])
        self.assertFalse([line for line in lines if "RAX" in line or "Code:" in line])


class Matrix(Case):
    NAMES = ("a", "b", "c", "d")

    def column(self, *guests, dangerous=(), only=None):
        options = mock.Mock(daxverify="/dv", timeout=1, only=only, skip=None, quick=False)
        self.lab = FakeLab(self.cache, guests)
        scenarios = [{"name": name, "claim": "claim of " + name, "defect": "stuck",
                      "dangerous": name in dangerous} for name in self.NAMES]
        column = matrix.Column(self.lab, options, scenarios, FakeKernel, "ext4", "tcg",
                               {"stuck": "stuck_function"})
        with contextlib.redirect_stderr(io.StringIO()):
            merged = column.run()
        return {s["name"]: s["verdict"] for s in merged["scenarios"]}, merged

    def test_all_in_one_guest(self):
        whole = report("6.1.0-1-amd64", "ext4", *[(name, "ok") for name in self.NAMES])
        verdicts, merged = self.column((guest.EXITED, "", whole))
        self.assertEqual(set(verdicts.values()), {"ok"})
        self.assertNotIn("--only", self.lab.commands[0])
        self.assertEqual(merged["scenarios"][0]["claim"], "claim of a")

    def test_no_others_than_those_chosen(self):
        whole = report("6.1.0-1-amd64", "ext4", *[(name, "ok") for name in self.NAMES])
        self.column((guest.EXITED, "", whole), only="[a-d]")
        self.assertEqual(self.lab.commands[0][-2:], ["--only", "a,b,c,d"])

    def test_quick(self):
        listed = {"scenarios": [{"name": "a", "quick": True}, {"name": "b", "quick": False}]}
        program = self.folder / "dv"
        program.write_text("#!/bin/sh\necho '%s'\n" % json.dumps(listed))
        program.chmod(0o755)
        chosen, _ = matrix.list_scenarios(str(program), None, None, quick=True)
        self.assertEqual([s["name"] for s in chosen], ["a"])

    def test_what_a_dead_guest_left_is_run_in_a_new_one(self):
        rest = report("6.1.0-1-amd64", "ext4", ("c", "ok"), ("d", "skip", "why"))
        verdicts, merged = self.column(
            (guest.LIMIT, "# start a\nok 1 a\n# start b\n", None), (guest.EXITED, "", rest))
        self.assertEqual(verdicts, {"a": "ok", "b": "hang", "c": "ok", "d": "skip"})
        self.assertEqual(self.lab.commands[1][-2:], ["--only", "c,d"])
        self.assertEqual(merged["lab"]["guests"], 2)

    def test_panic(self):
        verdicts, _ = self.column(
            (guest.PANIC, "# start a\n", None), (guest.PANIC, "# start b\n", None),
            (guest.PANIC, "# start c\n", None), (guest.KILLED, "# start d\n", None))
        self.assertEqual(list(verdicts.values()), ["oops", "oops", "oops", "killed"])

    def test_a_dangerous_scenario_has_a_guest_of_its_own(self):
        calm = report("6.1.0-1-amd64", "ext4", ("a", "ok"), ("d", "ok"))
        alone = report("6.1.0-1-amd64", "ext4", ("b", "hang"))
        verdicts, merged = self.column((guest.EXITED, "", calm), (guest.EXITED, "", alone),
                                       (guest.PANIC, "# start c\n", None),
                                       dangerous=("b", "c"))
        self.assertEqual(verdicts, {"a": "ok", "b": "hang", "c": "oops", "d": "ok"})
        self.assertEqual(self.lab.commands[0][-2:], ["--only", "a,d"])
        self.assertEqual(self.lab.commands[1][-3:], ["--only", "b", "--dangerous"])
        self.assertIsNone(merged["scenarios"][2]["defect"])

    def test_a_death_has_a_name_when_the_log_has_the_mark(self):
        self.log = ["RIP: 0010:stuck_function+0x1/0x2"]
        with mock.patch.object(guest.Result, "log_tail", lambda *_, **__: self.log):
            _, merged = self.column((guest.PANIC, "# start a\n", None),
                                    (guest.EXITED, "", report("6.1", "ext4", ("b", "ok"))))
        self.assertEqual(merged["scenarios"][0]["defect"], "stuck")
        self.assertEqual(table.kind(merged["scenarios"][0]), "defect")

    def test_ktap_of_a_hang(self):
        results, _ = ktap.parse("not ok 1 a # hang, known defect: stuck\nnot ok 2 b # hang\n")
        self.assertEqual([(r["verdict"], r["defect"]) for r in results],
                         [("hang", "stuck"), ("hang", None)])

    def test_guest_that_never_gets_to_a_scenario_is_not_tried_for_ever(self):
        verdicts, _ = self.column((guest.BROKEN, "", None))
        self.assertEqual(set(verdicts.values()), {"broken"})

    def test_daxverify_that_stops_without_a_report(self):
        verdicts, _ = self.column((guest.EXITED, "", None))
        self.assertEqual(set(verdicts.values()), {"broken"})

    def test_scenario_that_a_report_leaves_out(self):
        part = report("6.1.0-1-amd64", "ext4", ("a", "ok"))
        verdicts, _ = self.column((guest.EXITED, "", part))
        self.assertEqual(verdicts, {"a": "ok", "b": "broken", "c": "broken", "d": "broken"})


class Crash(Case):
    """QEMU's own crash at boot is tried once more; nothing else is."""

    PATCHING = b"Oops: general protection fault\nRIP: 0010:do_sync_core+0x28/0x30\n" \
        b"Kernel panic - not syncing: Fatal exception\n"

    def outcomes(self, *deaths, console=b"", accel="tcg"):
        started = []

        class Once(guest.Guest):
            folder = Path("/nonexistent")

            def _console_bytes(self):
                return console

            def run(self, _watcher):
                started.append(self.result)
                status, self.result.stage = deaths[len(started) - 1]
                self._went_down(status)
                return self.result

        with mock.patch.object(guest, "Guest", Once), \
                contextlib.redirect_stderr(io.StringIO()):
            running_lab = lab.Lab.__new__(lab.Lab)
            running_lab.cache = self.cache
            result = running_lab.run(guest.Job(FakeKernel), accel)
        self.assertIs(result, started[-1])
        return [result.outcome for result in started]

    def test_crash_at_boot_is_tried_again(self):
        self.assertEqual(len(self.outcomes((-11, "boot"), (0, "command"))), 2)

    def test_panic_of_patching_is_tried_again_when_emulated(self):
        self.assertEqual(self.outcomes((0, "boot"), (0, "boot"), console=self.PATCHING),
                         [guest.PANIC] * 2)

    def test_other_panics_are_results(self):
        other = self.PATCHING.replace(b"do_sync_core", b"dax_insert_entry")
        self.assertEqual(len(self.outcomes((0, "boot"), console=other)), 1)
        self.assertEqual(len(self.outcomes((0, "command"), console=self.PATCHING)), 1)
        self.assertEqual(len(self.outcomes((0, "boot"), console=self.PATCHING, accel="kvm")), 1)

    def test_only_once(self):
        self.assertEqual(self.outcomes((-11, "boot"), (-11, "boot")), [guest.KILLED] * 2)

    def test_crash_under_the_command_is_a_result(self):
        self.assertEqual(len(self.outcomes((-11, "command"))), 1)

    def test_kill_is_a_result(self):
        self.assertEqual(len(self.outcomes((-9, "boot"))), 1)


class PowerCut(Case):
    class Chance:
        def uniform(self, low, high):
            return high

        def randrange(self, number):
            return 2

    def watch(self, acked):
        running = mock.Mock(ctl=self.folder)
        return powercut.Moment(self.Chance(), 10, acked), running

    def test_not_before_the_first_line_and_the_delay_and_some_lines_more(self):
        acked = bytearray()
        moment, running = self.watch(acked)
        with mock.patch.object(time, "monotonic") as clock:
            for now, text, cut in ((0, b"", False), (100, b"1\n", False), (105, b"2\n", False),
                                   (110.1, b"3\n", False), (110.2, b"4\n", False),
                                   (110.3, b"5\n", True)):
                clock.return_value = now
                acked.extend(text)
                self.assertEqual(bool(moment(running)), cut, now)

    def test_work_that_is_done_before(self):
        moment, running = self.watch(bytearray(b"1\n"))
        (self.folder / "exit").write_text("0")
        self.assertTrue(moment(running))
        self.assertTrue(moment.ended_early)


class BenchTable(Case):
    def column(self, fs, median, interval=None, **more):
        column = bench.Column("6.12", fs)
        series = {"name": "write/4k", "lat_ns": {"percentile": {"50.000000": median}}, **more}
        if interval:
            series["interval95_ns"] = {"50.000000": interval}
        column.results = {"fault": {"series": [series, {"name": "write/2m", "refused": "why"}]}}
        return column

    def test_side_by_side(self):
        columns = [self.column("ext4", 82200, [80000, 84000]), self.column("xfs", 1234567)]
        text = bench.Table(columns, ["fault"], False).terminal()
        rows = [line.split() for line in text.splitlines()]
        self.assertEqual(rows[0], ["fault", "6.12/ext4", "6.12/xfs"])
        self.assertEqual(rows[1], ["write/4k", "82.2", "±2%", "1235"])
        self.assertEqual(rows[2], ["write/2m", "-", "-"])
        self.assertNotIn("TCG", text)

    def test_what_lies_apart_is_marked(self):
        columns = [self.column("ext4", 100, [90, 110]), self.column("xfs", 115, [109, 120]),
                   self.column("btrfs", 130, [111, 140])]
        text = bench.Table(columns, ["fault"], False).terminal()
        self.assertEqual(text.splitlines()[1].split()[2::2], ["±10%", "±5%", "±11%*"])

    def test_a_verb_without_series_has_no_table(self):
        text = bench.Table([self.column("ext4", 100)], ["fault", "pin"], False).terminal()
        self.assertIn("fault ", text)
        self.assertNotIn("pin ", text)

    def test_batches_are_divided(self):
        columns = [self.column("ext4", 6400, batch=64)]
        self.assertIn("| write/4k | 0.100 |", bench.Table(columns, ["fault"], False).markdown())

    def test_what_went_wrong_is_told(self):
        columns = [self.column("ext4", 100), bench.Column("6.12", "xfs")]
        columns[1].take(self.folder, ["fault"], "the guest hangs")
        text = bench.Table(columns, ["fault"], True).terminal()
        self.assertIn("6.12/xfs: the guest hangs", text)
        self.assertIn("TCG", text)

    def test_missing_results_are_wrong(self):
        column = bench.Column("6.12", "ext4")
        (self.folder / "fault.json").write_text(json.dumps({"series": []}))
        column.take(self.folder, ["fault", "truncate", "pin"], None)
        self.assertEqual(column.wrong, "no figures of truncate, pin")
        column = bench.Column("6.12", "ext4")
        column.take(self.folder, ["fault", "pin"], "the guest hangs")
        self.assertEqual(column.wrong, "the guest hangs; no figures of pin")

    def test_what_only_leaves_out_is_not_wrong(self):
        column = bench.Column("6.12", "ext4")
        (self.folder / "fault.json").write_text(json.dumps({"series": []}))
        (self.folder / "pin.none").touch()
        column.take(self.folder, ["fault", "pin"], None)
        self.assertIsNone(column.wrong)
        column = bench.Column("6.12", "ext4")
        column.take(self.folder, ["pin"], None)
        self.assertEqual(column.wrong, "no figures of pin")

    def test_verbs(self):
        self.assertEqual(bench._verbs("fault,agree"), ["fault", "agree"])
        with self.assertRaisesRegex(LabError, "--verbs alloc: .*, agree"):
            bench._verbs("fault,alloc")

    def test_fio_comes_along(self):
        options = mock.Mock(daxbench="/tmp/daxbench")
        ours = ["/tmp/daxbench:/bin/daxbench"]
        with mock.patch("shutil.which", return_value="/usr/bin/fio"):
            self.assertEqual(bench._programs(options, ["fault"]), ours)
            self.assertEqual(bench._programs(options, ["agree"]), ours + ["/usr/bin/fio:/bin/fio"])
        with mock.patch("shutil.which", return_value=None):
            self.assertEqual(bench._programs(options, ["agree"]), ours)

    def test_patterns_reach_the_guest_whole(self):
        options = mock.Mock(rounds=5, ops=None, only="write-*,it's")
        script = bench._script(options, ["fault"])
        self.assertIn("--only 'write-*,it'\\''s'", script)


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

    def addSkip(self, test, reason):
        self._line(test, True, " # SKIP " + reason)

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
