# SPDX-License-Identifier: BSD-3-Clause
"""Short lines on stderr about what takes long; silence about what goes well."""
import sys
import threading

_lock = threading.Lock()
_transient = 0


def _clear():
    global _transient
    if _transient:
        sys.stderr.write("\r" + " " * _transient + "\r")
        _transient = 0


def note(text):
    """A line that stays."""
    with _lock:
        _clear()
        sys.stderr.write("daxlab: %s\n" % text)
        sys.stderr.flush()


def status(text):
    """A line that the next one replaces. On anything but a terminal it is not shown."""
    global _transient
    if not sys.stderr.isatty():
        return
    with _lock:
        _clear()
        text = ("daxlab: " + text)[:99]
        sys.stderr.write(text)
        sys.stderr.flush()
        _transient = len(text)


def clear():
    """Takes the status line away before something else is printed."""
    with _lock:
        _clear()
        sys.stderr.flush()
