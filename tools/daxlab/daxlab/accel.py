# SPDX-License-Identifier: BSD-3-Clause
"""Which accelerator works here: found by booting, since /dev/kvm may open and then hang."""
import hashlib
import json
import os
import platform
import time

from . import progress, qemu

KVM = "kvm"
# Before 8.1 one vCPU may translate code while another one patches it, and keep the half-patched
# translation for good: a guest in sixty died at boot of an int3 that was no longer there. With
# the vCPUs in turn in one thread that cannot be; boots take the same time.
TCG_MULTI_SINCE = (8, 1)
LIMIT_S = 8


def tcg():
    version = tuple(int(part) for part in qemu.version().split(".")[:2])
    return "tcg,thread=%s" % ("multi" if version >= TCG_MULTI_SINCE else "single")


def describe(accel):
    return accel.split(",")[0]


def _key():
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    facts = [platform.release(), platform.version(), qemu.version(), str(kvm)]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]


def find(cache, kernel):
    """The accelerator to use; the answer is remembered for this host kernel and QEMU."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return tcg()
    name = "accel/" + _key()

    def build(path):
        accel = _probe(cache, kernel)
        path.write_text(json.dumps({"accel": accel}))
        if accel != KVM:
            progress.note("/dev/kvm opens, but no guest gets going under it within %d s: "
                          "emulating (TCG)" % LIMIT_S)

    return json.loads(cache.entry(name, build).read_text())["accel"]


def _probe(cache, kernel):
    """Boots a kernel with nothing to run: it works when anything reaches the console."""
    progress.status("looking for a working accelerator")
    with cache.scratch("accel") as folder:
        console = folder / "console"
        words = qemu.command_line(KVM, kernel.image, None, None, [], memory_mib=256,
                                  console=console,
                                  extra_args=("earlyprintk=serial", "ignore_loglevel"))
        with open(folder / "stderr", "w") as stderr:
            process = qemu.Process(words, stderr)
        try:
            return KVM if _prints(process, console) else tcg()
        finally:
            process.kill()
            progress.clear()


def _prints(process, console):
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and not qemu.Process.stopped():
        # A panic is an answer too (there is no root file system), so look before poll().
        ended = process.poll() is not None
        if console.exists() and b"Linux version" in console.read_bytes():
            return True
        if ended:
            return False
        time.sleep(0.05)
    return False
