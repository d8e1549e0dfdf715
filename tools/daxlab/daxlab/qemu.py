# SPDX-License-Identifier: BSD-3-Clause
"""QEMU: its command line, and a process that never outlives the lab."""
import ctypes
import os
import shutil
import signal
import subprocess
import threading

from . import pmem
from .errors import LabError

NAME = "qemu-system-x86_64"
PR_SET_PDEATHSIG = 1
# The label area takes 2 MiB once the region is aligned; what remains must be a multiple of
# 16 MiB or the guest's memory hotplug cannot map it.
LABEL_MIB = 2
GRANULE_MIB = 16
_libc = ctypes.CDLL(None, use_errno=True)

KERNEL_ARGS = (
    # Nothing is lost by them: a panic and an oops print all the same, and all of the log
    # comes back through the shared folder.
    "console=ttyS0", "quiet", "loglevel=4",
    # A guest that oopsed holds locks it will never let go: dead is better than half dead.
    "panic=-1", "oops=panic",
    # Emulation is slow and the host may be busy; neither is news about this kernel.
    "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1", "tsc=reliable",
    # None of these concerns what is tested here, and each costs boot time.
    "mitigations=off", "random.trust_cpu=on", "audit=0", "apparmor=0",
    "no_timer_check", "cryptomgr.notests",
    "i8042.noaux", "i8042.nokbd", "i8042.nopnp", "net.ifnames=0",
    "log_buf_len=4M",
)


def program():
    path = shutil.which(NAME)
    if not path:
        raise LabError("%s is missing; install qemu-system-x86" % NAME)
    return path


def version():
    done = subprocess.run([program(), "--version"], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True)
    return done.stdout.split("version ", 1)[1].split()[0]


def command_line(accel, kernel_image, initramfs, media, folders, memory_mib=2048,
                 console=None, extra_args=(), kind=pmem.DEFAULT):
    """The words that start a guest. `console` is a file, or None for this terminal."""
    cpu = "host" if accel.startswith("kvm") else "max"
    chardev = "file,id=con,path=%s" % console if console else "stdio,id=con,signal=off"
    words = [
        program(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35,nvdimm=on,nvdimm-persistence=%s,smm=off,usb=off,vmport=off"
        % kind.persistence,
        "-accel", accel, "-cpu", cpu,
        "-smp", "2", "-m", "%dM,slots=4,maxmem=64G" % memory_mib,
        "-chardev", chardev, "-serial", "chardev:con",
        "-kernel", str(kernel_image), "-append", " ".join(KERNEL_ARGS + tuple(extra_args)),
    ]
    if initramfs:
        words += ["-initrd", str(initramfs)]
    if media:
        words += _device(kind, media)
    for tag, folder in folders:
        words += ["-virtfs", "local,path=%s,mount_tag=%s,security_model=none,multidevs=remap"
                  % (_escape(folder), tag)]
    return words


def _escape(path):
    return str(path).replace(",", ",,")


def _device(kind, media):
    # share=on over a plain file: what the guest stored is in the host's page cache the moment
    # it is stored, and a killed QEMU takes none of it along.
    size = os.path.getsize(media)
    device = {"nvdimm": "nvdimm,id=nv1,memdev=mem1,label-size=128K",
              "virtio-pmem": "virtio-pmem-pci,id=nv1,memdev=mem1"}[kind.device]
    return ["-object", "memory-backend-file,id=mem1,share=on,mem-path=%s,size=%d,align=2M"
            % (_escape(media), size), "-device", device]


def check_size(size_mib):
    if size_mib < GRANULE_MIB * 4 or size_mib % GRANULE_MIB:
        raise LabError("--size %d: take a multiple of %d MiB, at least %d"
                       % (size_mib, GRANULE_MIB, GRANULE_MIB * 4))


def create_media(path, size_mib):
    with open(path, "xb") as handle:
        handle.truncate((size_mib + LABEL_MIB) << 20)


class Process:
    """A running QEMU. All of them are known, so that Ctrl-C can end all of them."""
    _all = set()
    _lock = threading.Lock()
    _stopped = False

    def __init__(self, words, stderr, interactive=False):
        parent = os.getpid()

        def die_with_parent():
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:      # it died before the line above
                os._exit(1)

        with Process._lock:
            if Process._stopped:
                raise KeyboardInterrupt
            self._child = subprocess.Popen(
                words, stdin=None if interactive else subprocess.DEVNULL,
                stdout=None if interactive else subprocess.DEVNULL, stderr=stderr,
                # Ctrl-C is for the lab; QEMU must not see it first.
                start_new_session=not interactive, preexec_fn=die_with_parent)
            Process._all.add(self)
        self.pid = self._child.pid

    def poll(self):
        return self._child.poll()

    def kill(self):
        """SIGKILL and gone; nothing of QEMU gets to tidy up."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGKILL)
        self._child.wait()
        with Process._lock:
            Process._all.discard(self)

    @classmethod
    def stop_all(cls):
        """From the signal handler: no new guest, and an end to those that run."""
        cls._stopped = True
        for process in list(cls._all):
            try:
                process._child.send_signal(signal.SIGKILL)
            except ProcessLookupError:
                pass

    @classmethod
    def stopped(cls):
        return cls._stopped

