# SPDX-License-Identifier: BSD-3-Clause
"""The command line."""
import argparse
import os
import signal
import sys

from . import bench, holders, listing, matrix, pmem, powercut, progress, qemu, run
from .cache import default_root
from .errors import EXIT_INTERRUPTED, EXIT_LAB, Interrupted, LabError

ABOUT = """\
Boots real kernels with emulated persistent memory. Nothing needs root; nothing is installed.

A KERNEL is a series of the distribution's (6.1, 6.12, 6.16, ...), `newest`, a kernel build tree
(a folder), or IMAGE:MODULES, MODULES being what make modules_install got as INSTALL_MOD_PATH."""

NOTES = """\
examples:
  daxlab run --kernel 6.12 --fs ext4,xfs -- sh -c 'df $PMEM_DIR'
  daxlab run --kernel newest --share . -- ./my-test /mnt/pmem
  daxlab matrix --kernels 6.1,newest --fs xfs --markdown verify.md
  daxlab bench --kernels 6.12,newest --fs ext4 --verbs fault --only 'write-first/*'
  daxlab powercut --kernel 6.12 --fs ext4 --with build/kv \\
      --work 'kv /mnt/pmem/pool load 1000000' --check 'kv /mnt/pmem/pool check'

exit status: that of the command; and
  124  a guest reached its time limit: it hangs, or needs more --timeout
  125  the lab could not do it; a message says what to do
  126  the guest's kernel panicked or oopsed
  127  QEMU was killed or died, or the guest went down before its command had ended
  130  interrupted

Kernels, lists of packages and scratch files live in
  %s
(DAXLAB_CACHE moves it; remove it when you like)."""

GUEST_ENVIRONMENT = """\
The command runs as root, with PMEM_DIR=/mnt/pmem (the file system, mounted dax=always),
PMEM_DEV=/dev/pmem0, SHARE=/share (a folder of the host), FS, PMEM and KERNEL. A COMMAND that is a
file here is brought along with its libraries; other words are found in the guest (busybox,
ndctl, mkfs and fsck of ext4 and xfs, xfs_io, xfs_db) or else on this machine's PATH."""


class Parser(argparse.ArgumentParser):
    """argparse, with the lab's own exit code for bad usage."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter,
                         allow_abbrev=False, **kwargs)

    def error(self, message):
        self.print_usage(sys.stderr)
        print("daxlab: %s; see %s --help" % (message, self.prog), file=sys.stderr)
        sys.exit(EXIT_LAB)


def _number(at_least, kind=int):
    def parse(text):
        value = kind(text)
        if value < at_least:
            raise argparse.ArgumentTypeError("%s is too small, at least %s" % (text, at_least))
        return value
    parse.__name__ = "number"
    return parse


def _add_refresh(parser):
    parser.add_argument("--refresh", action="store_true",
                        help="look for newer packages of the kernels first")


def _add_jobs(parser, default):
    parser.add_argument("--jobs", type=_number(1), default=default, metavar="N",
                        help="guests at once (%(default)s)")


def _add_timeout(parser, default):
    parser.add_argument("--timeout", type=_number(1, float), default=default, metavar="S",
                        help="limit for a guest, boot included (%(default)s)")


def _add_guest(parser, fs_help, pmem_help):
    parser.add_argument("--kernel", required=True, metavar="KERNEL", help="see daxlab --help")
    parser.add_argument("--fs", default="ext4", metavar="FS", help=fs_help)
    parser.add_argument("--pmem", default=pmem.NVDIMM, metavar="KIND", help=pmem_help)
    parser.add_argument("--align", metavar="SIZE", help="of device DAX, what one entry of the page "
                        "table maps: %s (2M)" % ", ".join(pmem.ALIGNMENTS))
    parser.add_argument("--with", dest="with_files", action="append", default=[],
                        metavar="FILE[:GUESTPATH]",
                        help="bring a file along with the libraries it needs; without "
                        "GUESTPATH it goes to /usr/local/bin")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="set a variable for the command")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB",
                        help="persistent memory (%(default)s)")
    parser.add_argument("--holders", action="store_true",
                        help="have what daxverify holds memory with: huge pages, RDMA, and a "
                        "device DAX at %s" % holders.DEVDAX)
    parser.add_argument("--memory", type=_number(256), default=2048, metavar="MIB",
                        help="other memory (%(default)s)")
    _add_refresh(parser)


def _add_run(verbs):
    parser = verbs.add_parser("run", help="run a command in a guest",
                              description=GUEST_ENVIRONMENT)
    _add_guest(parser, "ext4, xfs or none, or several with commas (%(default)s)",
               "the kind of persistent memory: " + ", ".join(pmem.KINDS) +
               ", or several with commas (%(default)s)")
    parser.add_argument("--share", metavar="DIR", help="the host's folder to be /share")
    _add_timeout(parser, 300.0)
    parser.add_argument("--media", metavar="FILE",
                        help="keep the persistent memory in FILE; a file that is there is "
                        "used again, with a new file system")
    parser.add_argument("--console", metavar="FILE", help="save the guest's console")
    parser.add_argument("--dmesg", metavar="FILE", help="save the kernel log")
    parser.add_argument("--json", metavar="FILE", help="how each guest ended; - for stdout")
    _add_jobs(parser, 1)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND [ARG...]")
    parser.set_defaults(call=run.run)


def _add_shell(verbs):
    parser = verbs.add_parser("shell", help="be in a guest", description=GUEST_ENVIRONMENT)
    _add_guest(parser, "ext4, xfs or none (%(default)s)",
               "the kind of persistent memory: " + ", ".join(pmem.KINDS) + " (%(default)s)")
    parser.set_defaults(call=run.shell)


def _add_kernels(verbs):
    parser = verbs.add_parser("kernels", help="list the kernels that can be had, or get some")
    parser.add_argument("--get", nargs="+", default=[], metavar="KERNEL",
                        help="download these now")
    parser.add_argument("--json", action="store_true", help="list as JSON")
    _add_refresh(parser)
    parser.set_defaults(call=listing.kernels)


def _add_powercut(verbs):
    parser = verbs.add_parser(
        "powercut", help="kill guests at work, and look what is left",
        description=powercut.__doc__)
    _add_guest(parser, "ext4 or xfs, or both with a comma; none (%(default)s)",
               "the kind of persistent memory: " + ", ".join(
                   name for name, kind in pmem.KINDS.items() if kind.outlives_guest) +
               " (%(default)s)")
    parser.add_argument("--work", required=True, metavar="CMD",
                        help="shell command; each line on its stdout acknowledges something")
    parser.add_argument("--check", required=True, metavar="CMD",
                        help="shell command; finds the acknowledgements in $SHARE/acked and "
                        "succeeds when all that they promise is there")
    parser.add_argument("--cuts", type=_number(1), default=5, metavar="N",
                        help="for each file system, each on fresh media (%(default)s)")
    parser.add_argument("--window", type=_number(0, float), default=4.0, metavar="S",
                        help="cut within S seconds of the first acknowledgement (%(default)s)")
    parser.add_argument("--seed", type=int, metavar="N",
                        help="repeat the random choices of an earlier run")
    parser.add_argument("--keep", metavar="DIR", help="keep media and acknowledgements of "
                        "cuts that lost something")
    parser.add_argument("--json", metavar="FILE", help="a report; - for stdout")
    _add_timeout(parser, 180.0)
    _add_jobs(parser, 2)
    parser.set_defaults(call=powercut.powercut)


def _add_report(parser):
    parser.add_argument("--json", metavar="FILE", help="all results; - for stdout, in place of "
                        "the table")
    parser.add_argument("--markdown", metavar="FILE", help="the table as Markdown")


def _add_matrix(verbs):
    parser = verbs.add_parser("matrix", help="the table of guarantees over kernels and file "
                              "systems (exit status 1: something failed that is no known "
                              "kernel defect)")
    parser.add_argument("--kernels", default="6.1,6.12,6.16,newest", metavar="KERNEL,...",
                        help="(%(default)s)")
    parser.add_argument("--fs", default="ext4,xfs", metavar="FS,...", help="(%(default)s)")
    parser.add_argument("--daxverify", metavar="FILE", help="the program to run")
    parser.add_argument("--quick", action="store_true", help="the scenarios of the quick group "
                        "only")
    parser.add_argument("--only", metavar="GLOB,...", help="these scenarios only")
    parser.add_argument("--skip", metavar="GLOB,...", help="all but these scenarios")
    _add_report(parser)
    _add_timeout(parser, 600.0)
    _add_jobs(parser, 2)
    _add_refresh(parser)
    parser.set_defaults(call=matrix.matrix)


def _add_table(verbs):
    parser = verbs.add_parser("table", help="the same table from stored reports")
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    _add_report(parser)
    parser.set_defaults(call=matrix.show_stored)


def _add_bench(verbs):
    parser = verbs.add_parser("bench", help="latencies of page faults, truncate and the like on "
                              "several kernels, side by side", description=bench.__doc__)
    parser.add_argument("--kernels", default="6.1,6.12,6.16,newest", metavar="KERNEL,...",
                        help="(%(default)s)")
    parser.add_argument("--fs", default="ext4,xfs", metavar="FS,...", help="(%(default)s)")
    parser.add_argument("--verbs", default=",".join(bench.VERBS), metavar="VERB,...",
                        help="of daxbench (%(default)s); or agree, with this machine's fio")
    parser.add_argument("--daxbench", metavar="FILE", help="the program to run")
    parser.add_argument("--only", metavar="GLOB,...", help="these series only")
    parser.add_argument("--rounds", type=_number(1), default=9, metavar="N",
                        help="of daxbench (%(default)s)")
    parser.add_argument("--ops", type=_number(1), metavar="N", help="operations of a round")
    parser.add_argument("--results", metavar="DIR", help="keep daxbench's results there, for its "
                        "compare and plot")
    _add_report(parser)
    _add_timeout(parser, 900.0)
    # Two guests at once would measure each other.
    _add_jobs(parser, 1)
    _add_refresh(parser)
    parser.set_defaults(call=bench.bench)


def _parser():
    parser = Parser(prog="daxlab", description=ABOUT, epilog=NOTES % default_root())
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for add in (_add_kernels, _add_run, _add_shell, _add_powercut, _add_matrix, _add_table,
                _add_bench):
        add(verbs)
    return parser


def _parse(arguments):
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.verb:
        parser.error("which verb?")
    if options.verb == "run":
        if options.command[:1] == ["--"]:
            options.command = options.command[1:]
        if not options.command:
            parser.error("no command was given; it goes behind --")
    return options


def _on_signal(number, frame):
    # Threads that watch guests see them gone and come back with Interrupted.
    qemu.Process.stop_all()
    raise KeyboardInterrupt


def main(arguments=None):
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    try:
        return options.call(options)
    except LabError as error:
        progress.clear()
        progress.note(str(error))
        return EXIT_LAB
    except (Interrupted, KeyboardInterrupt):
        progress.clear()
        progress.note("interrupted; no guest is left")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output is gone; the exit must not complain about it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_LAB
