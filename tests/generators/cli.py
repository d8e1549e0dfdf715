#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""daxheap(1): verbs, JSON keys, exit status.  Run in the build folder; prints TAP."""
import fcntl
import json
import os
import subprocess
import tempfile

tests = 0
failed = 0
folder = None


def result(ok, name, told=""):
    global tests, failed
    tests += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {tests} - {name}", flush=True)
    if not ok:
        print("\n".join(f"# {line}" for line in str(told).splitlines()), flush=True)


def run(*command):
    return subprocess.run(command, cwd=os.getcwd(), capture_output=True, text=True,
                          timeout=60, check=False)


def daxheap(*args):
    return run("./daxheap", *args)


def exits(status, name, *args):
    done = daxheap(*args)
    result(done.returncode == status, name, f"{done.returncode}: {done.stdout}{done.stderr}")
    return done


def from_json(name, keys, *args, status=0):
    """The result as JSON, with these keys."""
    done = daxheap(*args)
    try:
        answer = json.loads(done.stdout)
        first = answer[0] if isinstance(answer, list) else answer
        ok = done.returncode == status and keys <= set(first)
    except (ValueError, IndexError):
        answer, ok = None, False
    result(ok, name, f"{done.returncode}: {done.stdout}{done.stderr}")
    return answer


def path(name):
    return os.path.join(folder, name)


def flip(name, offset):
    with open(path(name), "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_odd_name():
    # Complete, no character at all, cut, overlong, a surrogate, beyond Unicode.
    odd = os.fsencode(path("")) + (b"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \xff\xc3 \xe2\x82 "
                                   b"\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80")
    wanted = "/\u00e4 \u20ac \U0001f600 " + " ".join("\ufffd" * count for count in (2, 2, 2, 3, 4))
    for verb in (["create", "--json", odd, "8M"], ["info", "--json", odd]):
        done = subprocess.run(["./daxheap", *verb], capture_output=True, timeout=60, check=False)
        try:
            named = json.loads(done.stdout.decode("utf-8"))["pool"]
        except ValueError:
            named = ""
        result(named.endswith(wanted), f"{verb[0]} --json of a name that is not UTF-8", done)


def main():
    pool = path("pool")
    made = from_json("create --json", {"pool", "size_bytes", "durability"},
                     "create", "--json", pool, "16M")
    result(made and made["size_bytes"] == 16 << 20, "create makes what it was asked for", made)
    exits(73, "create never touches a file", "create", pool, "16M")
    exits(64, "create wants a size", "create", pool)
    exits(64, "create wants a size that is one", "create", pool, "16X")
    exits(66, "no such file", "info", path("nothing"))
    empty = json.loads(daxheap("ls", "--json", pool).stdout)
    result(empty == [], "ls of an empty pool", empty)

    test_odd_name()
    store = path("store")
    for key in ("a", "b", "c"):
        run("./kv", store, "put", key, "x" * 100)
    from_json("info --json", {"pool", "uuid", "created", "format_version", "size_bytes",
                              "to_replay", "place"}, "info", "--json", store)
    blocks = from_json("ls --json", {"ref", "size", "tag"}, "ls", "--json", store)
    result(blocks and len(blocks) == 4, "ls has the table and three entries", blocks)
    lines = daxheap("ls", store).stdout.splitlines()
    result(len(lines) == 5 and lines[0].split() == ["REF", "SIZE", "TAG"], "ls as a table", lines)
    small = min(block["size"] for block in blocks)
    chosen = json.loads(daxheap("ls", "--json", "--size", str(small), store).stdout)
    result(len(chosen) == 3 and all(block["size"] == small for block in chosen), "ls --size",
           chosen)
    result(json.loads(daxheap("ls", "--json", "--tag", "3", store).stdout) == [],
           "ls --tag of a tag that no block has")
    result(len(json.loads(daxheap("ls", "--json", "--tag", "0", store).stdout)) == 4,
           "ls --tag of the tag that all have")
    groups = from_json("ls --summary=size", {"size", "blocks", "bytes"},
                       "ls", "--json", "--summary=size", store)
    result(groups[0] == {"size": small, "blocks": 3, "bytes": 3 * small}, "ls counts by size",
           groups)
    groups = from_json("ls --summary=tag", {"tag", "blocks", "bytes"},
                       "ls", "--json", "--summary=tag", store)
    result(groups[0]["blocks"] == 4, "ls counts by tag", groups)
    exits(64, "ls wants a tag that is one", "ls", "--tag", "65536", store)
    exits(64, "ls knows two summaries", "ls", "--summary=color", store)
    stat = from_json("stat --json", {"pool", "live_blocks", "live_bytes", "spans", "span_bytes",
                                     "huge_blocks", "huge_bytes", "free_bytes", "largest_free",
                                     "file_bytes", "fragmentation", "span_waste", "classes"},
                     "stat", "--json", store)
    result(stat["live_blocks"] == 4 and
           sum(entry["live_blocks"] for entry in stat["classes"]) == 4, "stat counts", stat)
    exits(0, "stat as a table", "stat", store)

    keys = {"pool", "clean", "damage", "repaired", "unknown", "findings"}
    clean = from_json("check --json", keys, "check", "--json", store)
    result(clean["clean"] and clean["findings"] == [], "check of a clean pool", clean)
    exits(0, "check as text", "check", store)
    with open(store, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        exits(75, "check of a pool that is open", "check", store)
    for verb in ("ls", "info", "check", "stat"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(["./daxheap", verb, store], stdout=full, check=False,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
        result(done.returncode == 74 and "No space left" in done.stderr,
               f"{verb} that can't be printed", done)
    flip("store", 100)
    exits(65, "info of a damaged pool", "info", store)
    broken = from_json("check of a damaged superblock", keys, "check", "--json", store, status=65)
    result(not broken["clean"] and broken["damage"] == 1 and
           broken["findings"][0]["offset"] == 0 and
           broken["findings"][0]["severity"] == "damage", "check says where", broken)
    mended = from_json("check --repair", keys, "check", "--json", "--repair", store)
    result(mended["clean"] and mended["repaired"] == 1, "repair says what it did", mended)
    exits(0, "the pool is clean then", "check", store)
    result(run("./kv", store, "get", "b").stdout.strip() == "x" * 100, "and its content is there")
    flip("pool", 100)
    flip("pool", (2 << 20) - 4096 + 100)
    exits(65, "what can't be repaired stays damaged", "check", "--repair", pool)
    with open(path("text"), "w", encoding="ascii") as file:
        file.write("no pool\n" * 10000)
    exits(65, "a file that is no pool", "check", path("text"))
    exits(64, "no such verb", "frobnicate", pool)
    for verb in ("create", "info", "check", "ls", "stat"):
        exits(0, f"{verb} --help", verb, "--help")
    print(f"1..{tests}")
    return failed > 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(main())
