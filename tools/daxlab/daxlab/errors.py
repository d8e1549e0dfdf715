# SPDX-License-Identifier: BSD-3-Clause
"""What the lab says when it cannot go on, and with which exit code."""

# A guest's own exit code is passed through, so the lab's codes are those that shells and
# timeout(1) have taught programs to stay away from.
EXIT_LIMIT = 124        # the guest reached its time limit
EXIT_LAB = 125          # the lab could not do what was asked
EXIT_PANIC = 126        # the guest's kernel died
EXIT_KILLED = 127       # QEMU was killed or died
EXIT_INTERRUPTED = 130  # Ctrl-C or SIGTERM


class LabError(Exception):
    """The lab cannot go on. The message says what to do about it."""


class Interrupted(Exception):
    """Ctrl-C, SIGTERM or SIGHUP: guests are being taken down."""
