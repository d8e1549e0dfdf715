# SPDX-License-Identifier: BSD-3-Clause
"""What a program needs beside itself to run in a guest that has nothing."""
import os
import re
import shutil
import subprocess

from .errors import LabError

# Libraries from anywhere else are put into one folder that the guest searches first.
SYSTEM_FOLDERS = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")
GUEST_LIBRARIES = "/usr/local/lib/daxlab"


def merged(path):
    """The guest has /bin, /sbin, /lib, /lib64 as links into /usr, as Debian has."""
    if re.match(r"/(bin|sbin|lib|lib64)/", path):
        return "/usr" + path
    return path


def _libtool_program(path, head):
    """In a build tree a program may be libtool's script around the real one."""
    if b"libtool wrapper" not in head[:400] and b"temporary wrapper" not in head[:400]:
        return None, None
    with open(path) as handle:
        text = handle.read()
    folder, name = os.path.split(path)
    for candidate in (name, "lt-" + name):
        real = os.path.join(folder, ".libs", candidate)
        if os.path.exists(real):
            found = re.search(r'LD_LIBRARY_PATH="([^"$]*)', text)
            return real, found.group(1) if found else None
    return None, None


def _libraries(path, library_path):
    environ = dict(os.environ, LC_ALL="C")
    if library_path:
        environ["LD_LIBRARY_PATH"] = library_path
    done = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, env=environ)
    if done.returncode != 0:
        return []   # static
    return parse_ldd(done.stdout, path)


def parse_ldd(text, program):
    """[(soname, path)] from the output of ldd; the loader is among them."""
    found = []
    for line in text.splitlines():
        line = line.strip()
        missing = re.match(r"(\S+) => not found", line)
        if missing:
            raise LabError("%s needs the library %s, which is not on this machine; install "
                           "or build it" % (program, missing.group(1)))
        match = re.match(r"(\S+) => (/\S+) \(0x", line) or re.match(r"((/\S+)) \(0x", line)
        if match:
            found.append((match.group(1), match.group(2)))
    return found


def _interpreter(head):
    """The words of a script's first line."""
    return head[2:].split(b"\n", 1)[0].decode(errors="replace").split()


def files(path, guest_path):
    """{guest path: host path} of the program and all that it loads."""
    with open(path, "rb") as handle:
        head = handle.read(4096)
    library_path = None
    real, library_path = _libtool_program(path, head)
    if real:
        path = real
    elif head.startswith(b"#!"):
        return dict(_script(head), **{merged(guest_path): path})
    found = {merged(guest_path): path}
    if not (real or head.startswith(b"\x7fELF")):
        return found
    for soname, library in _libraries(path, library_path):
        found[_guest_library(soname, library)] = library
    return found


def _guest_library(soname, library):
    if soname.startswith("/"):
        return merged(soname)       # the loader: its path is written into the program
    if library.startswith(SYSTEM_FOLDERS):
        return merged(library)
    return os.path.join(GUEST_LIBRARIES, soname)


def _script(head):
    words = _interpreter(head)
    if not words or words[0] in ("/bin/sh", "/usr/bin/sh"):
        return {}
    wanted = [words[0]]
    if os.path.basename(words[0]) == "env" and len(words) > 1:
        wanted.append(shutil.which(words[1]) or words[1])
    found = {}
    for interpreter in wanted:
        if os.path.exists(interpreter):
            found.update(files(interpreter, interpreter))
    return found
