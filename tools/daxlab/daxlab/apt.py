# SPDX-License-Identifier: BSD-3-Clause
"""Kernels of newer suites, without touching the machine's apt and without root.

apt runs on a folder of ours: the machine's own Debian entries (server, key ring, proxy), with
the newer suites added, and our own lists and cache. Nothing is ever installed.
"""
import os
import re
import subprocess
import time
from pathlib import Path

from . import progress
from .errors import LabError

# Where kernels appear that the machine's own suites do not have.
NEWER_SUITES = ("trixie-backports", "sid")
LISTS_AGE_S = 24 * 3600

_DEBIAN_SUITE = re.compile(
    r"^(buster|bullseye|bookworm|trixie|forky|duke|sid|stable|testing|unstable|oldstable)"
    r"(-security|-updates|-backports|-backports-sloppy)?(/updates)?$")


class Entry:
    """One source of packages: where, which suites, signed by what."""

    def __init__(self, uris, suites, components, options):
        self.uris, self.suites = uris, suites
        self.components, self.options = components, options

    def is_debian(self):
        return bool(self.suites) and all(_DEBIAN_SUITE.match(s) for s in self.suites) \
            and "main" in self.components

    def is_security(self):
        return any("security" in suite for suite in self.suites)

    def with_suites(self, suites):
        return Entry(self.uris, list(suites), self.components, self.options)

    def deb822(self):
        lines = ["Types: deb", "URIs: " + " ".join(self.uris),
                 "Suites: " + " ".join(self.suites), "Components: main"]
        lines += ["%s: %s" % pair for pair in self.options.items()]
        return "\n".join(lines) + "\n"


def parse_deb822(text):
    """The `deb` entries of a *.sources file."""
    entries = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").strip().lower() in ("no", "false", "0"):
            continue
        options = {name.title(): fields[name] for name in ("signed-by", "trusted")
                   if name in fields}
        entries.append(Entry(fields.get("uris", "").split(), fields.get("suites", "").split(),
                             fields.get("components", "").split(), options))
    return entries


def _fields(stanza):
    fields, name = {}, None
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line     # a key given in place, line by line
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def parse_list(text):
    """The `deb` entries of a sources.list file."""
    entries = []
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$", line)
        if not match:
            continue
        given = dict(pair.split("=", 1) for pair in (match.group(1) or "").split()
                     if "=" in pair)
        options = {name.title(): given[name] for name in ("signed-by", "trusted")
                   if name in given}
        entries.append(Entry([match.group(2)], [match.group(3)], match.group(4).split(),
                             options))
    return entries


def machine_entries(etc="/etc/apt"):
    """The machine's Debian entries, from both formats."""
    etc = Path(etc)
    entries = []
    for path in [etc / "sources.list"] + sorted((etc / "sources.list.d").glob("*")):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            entries += parse_deb822(text)
        elif path.suffix == ".list":
            entries += parse_list(text)
    return [entry for entry in entries if entry.is_debian()]


def lab_sources(entries):
    """The text of our own sources file."""
    if not entries:
        raise LabError("this machine's apt has no Debian entry to get kernels from; name a "
                       "kernel of your own: --kernel BUILD-TREE or --kernel IMAGE:MODULES")
    text = "\n".join(entry.deb822() for entry in entries)
    archive = [entry for entry in entries if not entry.is_security()]
    if archive:
        have = {suite for entry in entries for suite in entry.suites}
        more = [suite for suite in NEWER_SUITES if suite not in have]
        if more:
            text += "\n" + archive[0].with_suites(more).deb822()
    return text


_CONFIG = """\
Dir::Etc::sourcelist "{root}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{root}/state";
Dir::State::lists "{root}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{root}/cache";
Acquire::Languages "none";
Acquire::Retries "2";
APT::Sandbox::User "{user}";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class Package:
    def __init__(self, fields):
        self.name = fields["package"]
        self.size = int(fields["size"])
        self.depends = fields.get("depends", "")


def _write_if_changed(path, text):
    """Another daxlab's apt may be reading the file, and with half of it, or none, would answer
    from the machine's own lists."""
    if path.exists() and path.read_text() == text:
        return
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


class Apt:
    """apt over a folder of ours."""

    def __init__(self, cache, etc="/etc/apt"):
        self.cache, self.etc = cache, etc
        self.root = cache.root / "apt"
        self._fresh = False

    def _run(self, *args, **kwargs):
        return subprocess.run(args[:1] + ("-q", "-c", str(self.root / "apt.conf")) + args[1:],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, **kwargs)

    def _write_config(self):
        sources = lab_sources(machine_entries(self.etc))
        for folder in ("lists/partial", "cache/archives/partial", "state"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        _write_if_changed(self.root / "debian.sources", sources)
        # Dropping from root to a user of apt's own would need a folder that user can enter.
        user = "root" if os.geteuid() == 0 else ""
        _write_if_changed(self.root / "apt.conf", _CONFIG.format(root=self.root, user=user))

    def update(self, force=False):
        """Lists not older than a day. Offline, old lists are better than none."""
        if self._fresh and not force:
            return
        stamp = self.root / "stamp"
        with self.cache.lock("apt"):
            self._write_config()
            age = time.time() - stamp.stat().st_mtime if stamp.exists() else None
            if force or age is None or age > LISTS_AGE_S:
                self._fetch_lists(stamp)
        self._fresh = True

    def _fetch_lists(self, stamp):
        self.cache.need_space(150, "the lists of packages")
        progress.note("getting the lists of packages")
        # Without any=..., apt-get says 0 when a server could not be reached.
        done = self._run("apt-get", "-o", "APT::Update::Error-Mode=any", "update")
        if done.returncode == 0:
            stamp.touch()
        elif stamp.exists():
            progress.note("the lists of packages could not be refreshed; going on with "
                          "those of %s" % time.ctime(stamp.stat().st_mtime))
        else:
            raise LabError("the lists of packages could not be had; is the network up?\n"
                           + done.stderr.strip())

    def packages(self, pattern):
        """{name: Package} of the packages whose name matches the expression."""
        self.update()
        names = self._run("apt-cache", "search", "--names-only", pattern).stdout
        names = [line.split()[0] for line in names.splitlines()]
        names = [name for name in names if re.match(pattern, name)]
        if not names:
            return {}
        shown = self._run("apt-cache", "show", "--no-all-versions", *names).stdout
        stanzas = (_fields(stanza) for stanza in re.split(r"\n\n+", shown))
        found = [Package(fields) for fields in stanzas if "package" in fields]
        return {package.name: package for package in found}

    def download(self, names, folder):
        """Puts the packages' .deb files into folder."""
        done = self._run("apt-get", "download", *names, cwd=folder)
        if done.returncode != 0:
            raise LabError("%s could not be downloaded; try again with --refresh\n%s"
                           % (" ".join(names), done.stderr.strip()))
        return sorted(Path(folder).glob("*.deb"))
