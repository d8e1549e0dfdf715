# SPDX-License-Identifier: BSD-3-Clause
"""`daxlab run` and `daxlab shell`: a command, or a person, in a guest."""
import sys
import termios
from pathlib import Path

from . import accel, guest, lab, pmem, progress, qemu
from .errors import LabError


def _sink(stream, label=None):
    """Writes what a guest says to `stream`; with a label, line by line."""
    pending = bytearray()

    def plain(data):
        progress.clear()
        stream.buffer.write(data)
        stream.buffer.flush()

    def labelled(data):
        pending.extend(data)
        *lines, rest = bytes(pending).split(b"\n")
        pending[:] = rest
        for line in lines:
            plain(b"%s: %s\n" % (label.encode(), line))

    return labelled if label else plain


def _labelled_path(path, label, several):
    return "%s.%s" % (path, label.replace("/", "-")) if path and several else path


def _job(options, kernel, fs, kind, several):
    label = kind.label(kernel.name, fs)
    return guest.Job(
        kernel, fs, options.command, options.with_files, options.share, options.env,
        timeout_s=options.timeout, size_mib=options.size, memory_mib=options.memory,
        media=options.media and Path(options.media).absolute(),
        on_stdout=_sink(sys.stdout, several and label),
        on_stderr=_sink(sys.stderr, several and label),
        console=_labelled_path(options.console, label, several),
        dmesg=_labelled_path(options.dmesg, label, several), kind=kind,
        holders=options.holders)


def check_guest_options(options):
    qemu.check_size(options.size)
    if options.align == "1G" and options.size < pmem.LEAST_MIB_OF_1G:
        raise LabError("--align 1G: the first GiB is the namespace's own; take --size %d or more"
                       % pmem.LEAST_MIB_OF_1G)
    for pair in options.env:
        name, equals, _ = pair.partition("=")
        if not equals or not name.isidentifier():
            raise LabError("--env %s: give NAME=VALUE" % pair)


def _check(options, several):
    check_guest_options(options)
    if several and options.media:
        raise LabError("--media is for one guest; name one --kernel, --fs and --pmem")
    if options.share:
        options.share = Path(options.share).absolute()
        if not options.share.is_dir():
            raise LabError("--share %s: there is no such folder; make it" % options.share)
    for path in (options.console, options.dmesg, options.json):
        lab.check_writable(path)


def run(options):
    systems = lab.file_systems(options.fs)
    kinds = [pmem.find(name, systems, options.align) for name in lab.split(options.pmem)]
    several = len(lab.split(options.kernel)) * len(systems) * len(kinds) > 1
    _check(options, several)
    if options.media and not kinds[0].outlives_guest:
        raise LabError("--media: with --pmem %s the bytes are in the guest's own memory, and "
                       "nothing of them can be kept" % kinds[0].name)
    the_lab = lab.Lab()
    kernels = the_lab.kernels(options.kernel, options.refresh)
    jobs = [_job(options, kernel, fs, kind, several)
            for kernel in kernels for kind in kinds for fs in systems]
    how = the_lab.accel(kernels[0])

    def task(job):
        result = the_lab.run(job, how)
        lab.say_death(result)
        return result

    results = lab.in_parallel([lambda job=job: task(job) for job in jobs], options.jobs)
    if options.json:
        lab.write_json(options.json, {
            "tool": "daxlab", "accelerator": accel.describe(how), "qemu": qemu.version(),
            "guests": [result.facts() for result in results]})
    return next((result.exit_code() for result in results if result.exit_code()), 0)


def shell(options):
    if not sys.stdin.isatty():
        raise LabError("shell talks to a terminal, and stdin is none; use run -- COMMAND")
    check_guest_options(options)
    fs, = lab.file_systems(options.fs)[:1]
    the_lab = lab.Lab()
    kernel = the_lab.kernels(options.kernel, options.refresh)[0]
    job = guest.Job(kernel, fs, [], options.with_files, None, options.env,
                    size_mib=options.size, memory_mib=options.memory, shell=True,
                    kind=pmem.find(lab.split(options.pmem)[0], [fs], options.align),
                    holders=options.holders)
    how = the_lab.accel(kernel)
    # QEMU puts the terminal into raw mode, and being killed never takes it back.
    terminal = termios.tcgetattr(sys.stdin)
    try:
        result = the_lab.run(job, how)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
    lab.say_death(result)
    return result.exit_code()
