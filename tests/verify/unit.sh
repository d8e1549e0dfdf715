#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The command line of daxverify, on a host without DAX and without root. Prints TAP.
# $DAXVERIFY names the binary; the default is the one in the current folder.

daxverify=${DAXVERIFY:-./daxverify}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
nr=0
failed=0
tmp=$(mktemp -d "${TMPDIR:-/tmp}/daxverify-test-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/dir"

# check NAME COMMAND...: one line of TAP; what the command printed when it failed.
check()
{
	what=$1
	shift
	nr=$((nr + 1))
	if "$@" >"$tmp/log" 2>&1; then
		echo "ok $nr - $what"
	else
		failed=1
		echo "not ok $nr - $what"
		sed 's/^/# /' "$tmp/log"
	fi
}

# run EXIT ARGUMENTS...: the exit status must be that; stdout in $tmp/out, stderr in $tmp/err.
run()
{
	want=$1
	shift
	"$daxverify" "$@" >"$tmp/out" 2>"$tmp/err"
	got=$?
	[ "$got" = "$want" ] && return 0
	echo "exit status $got, not $want"
	cat "$tmp/out" "$tmp/err"
	return 1
}

says()
{
	grep -q -- "$1" "$tmp/out" "$tmp/err" && return 0
	echo "nowhere says: $1"
	cat "$tmp/out" "$tmp/err"
	return 1
}

empty_dir()
{
	[ -z "$(ls -A "$tmp/dir")" ] && return 0
	echo "left behind: $(ls -A "$tmp/dir")"
	return 1
}

# json FILE EXPRESSION: true of the JSON value `r`.
json()
{
	"$python" -c '
import json, sys
r = json.load(open(sys.argv[1]))
if not eval(sys.argv[2]):
    sys.exit("not so: " + sys.argv[2])' "$1" "$2"
}

help_has_examples() { run 0 --help && says "Examples:" && says "Exit status"; }
version() { run 0 --version && says "^daxverify [0-9]"; }
list() { run 0 --list && says "^mapped-pin-truncate-zero " && says "^unmapped-pin-umount "; }

quick()
{
	run 0 --list --quick --json "$tmp/quick" && run 0 --list --json "$tmp/all" &&
	json "$tmp/quick" 'all(s["quick"] for s in r["scenarios"])' &&
	json "$tmp/all" '[s["name"] for s in r["scenarios"] if s["quick"]] == [
		s["name"] for s in json.load(open("'"$tmp/quick"'"))["scenarios"]]' &&
	json "$tmp/all" 'sum(s["quick"] for s in r["scenarios"]) * 2 < len(r["scenarios"])'
}

# Each name that the group has, and each kind of scenario, is one.
quick_has_no_typo()
{
	run 0 --list --quick || return 1
	sed -n 's/^	"\([a-z0-9*-]*\)",$/\1/p' "$here/../../tools/daxverify/quick.c" >"$tmp/globs"
	[ -s "$tmp/globs" ] || return 1
	while read -r glob; do
		run 0 --list --quick --only "$glob" || { echo "no scenario: $glob"; return 1; }
	done <"$tmp/globs"
}

# In --list and in the man page; a scenario of a new kind needs a line in families.c and there.
kinds()
{
	run 0 --list --json "$tmp/all" && json "$tmp/all" 'all(s["family"] for s in r["scenarios"])' &&
	run 0 --list && grep "^# " "$tmp/out" | sed 's/^# //; s/: .*//' | tr ' ' '\n' >"$tmp/globs"
	[ -s "$tmp/globs" ] || return 1
	while read -r glob; do
		grep -qF "_${glob%?}\\*_" "$here/../../man/daxverify.1.scd" ||
			{ echo "not in the man page: $glob"; return 1; }
	done <"$tmp/globs"
}

list_json()
{
	run 0 --list --json - &&
	json "$tmp/out" 'len(r["scenarios"]) >= 22' &&
	json "$tmp/out" 'all(s["name"] and s["claim"] for s in r["scenarios"])' &&
	json "$tmp/out" 'len({s["name"] for s in r["scenarios"]}) == len(r["scenarios"])' &&
	json "$tmp/out" '{s["defect"] for s in r["scenarios"]} - {None} == {
		d["name"] for d in r["defects"]}'
}

list_matches_expectations()
{
	run 0 --list --json - &&
	json "$tmp/out" '[s["name"] for s in r["scenarios"]] == json.load(
		open("'"$here"'/guest-expect.json"))["scenarios"]'
}

# Each defect's page is the one in docs/, and its program compiles as a kernel developer would.
defects()
{
	run 0 explain && [ -s "$tmp/out" ] && sed -n 's/^\([a-z-]*\) (.*/\1/p' "$tmp/out" >"$tmp/names" &&
	[ -s "$tmp/names" ] || return 1
	while read -r defect; do
		run 0 explain "$defect" &&
		diff "$here/../../docs/defects/$defect.md" "$tmp/out" &&
		run 0 reproducer "$defect" && cp "$tmp/out" "$tmp/r.c" &&
		${CC:-cc} -Wall -Wextra -Werror -o "$tmp/r" "$tmp/r.c" || return 1
	done <"$tmp/names"
}

# Without DAX it says that it could not try, and leaves nothing.
reproducer_without_dax()
{
	run 0 reproducer unmapped-busy-page && cp "$tmp/out" "$tmp/r.c" &&
	${CC:-cc} -o "$tmp/r" "$tmp/r.c" || return 1
	"$tmp/r" "$tmp/dir" >"$tmp/out"
	[ $? = 2 ] && says "could not be tried: DAX there" && empty_dir
}

# Half a page on a full disk is no success.
full_disk()
{
	for words in explain "explain reflink-spin" "reproducer reflink-spin"; do
		# shellcheck disable=SC2086
		"$daxverify" $words >/dev/full 2>"$tmp/err"
		[ $? = 74 ] && grep -q "cannot write" "$tmp/err" || return 1
	done
}

unknown_defect() { run 64 explain tea && says "daxverify explain" && run 64 reproducer tea; }
reproducer_of_what() { run 64 reproducer && says "usage"; }

bad_option() { run 64 --no-such-option && says "no-such-option"; }
no_dir() { run 64 && says "dir is missing"; }
pins_table()
{
	run 0 --dir "$tmp/dir" --pins --json "$tmp/pins" && says "^vmsplice .* yes " &&
	says "^ *fsdax *devdax *page-cache" && ! grep "^ok" "$tmp/out" && empty_dir &&
	json "$tmp/pins" 'all(s["pins"] and s["memory"] for s in r["scenarios"])' &&
	json "$tmp/pins" 'all(bool(s["answer"]) == (s["verdict"] == "ok")
		for s in r["scenarios"])' &&
	json "$tmp/pins" '{"accepted"} == {s["answer"] for s in r["scenarios"]
		if s["pins"] == "vmsplice" and s["verdict"] == "ok"}'
}

pins_see_a_copy()
{
	run 1 --dir "$tmp/dir" --only pins-vmsplice-tmpfs --sabotage no-pin &&
	says "^not ok 1 pins-vmsplice-tmpfs$" && says "a copy"
}

bad_device_dax()
{
	run 66 --dir "$tmp/dir" --only pins-tee-devdax --device-dax "$tmp/none" &&
	says "cannot use $tmp/none: No such file"
}

# It would be overwritten.
other_file_as_device_dax()
{
	echo precious >"$tmp/precious" &&
	run 66 --dir "$tmp/dir" --pins --device-dax "$tmp/precious" &&
	says "$tmp/precious is no device DAX" && [ "$(cat "$tmp/precious")" = precious ] &&
	run 66 --dir "$tmp/dir" --pins --device-dax /dev/null && says "/dev/null is no device DAX"
}

no_device_dax()
{
	run 4 --dir "$tmp/dir" --only pins-tee-devdax &&
	says "# SKIP no device DAX: name one that may be overwritten with --device-dax"
}

missing_dir() { run 66 --dir "$tmp/none" && says "$tmp/none" && says "No such file"; }
file_as_dir() { : >"$tmp/file" && run 66 --dir "$tmp/file" && says "Not a directory"; }
bad_timeout() { run 64 --dir "$tmp/dir" --timeout soon && says "seconds"; }
bad_sabotage() { run 64 --dir "$tmp/dir" --sabotage tea && says "tea"; }
bad_glob() { run 64 --dir "$tmp/dir" --only 'no-such-*' && says "daxverify --list"; }
# As root nothing is unwritable; then a file system that is.
read_only_dir()
{
	mkdir "$tmp/ro" && chmod 500 "$tmp/ro"
	if [ -w "$tmp/ro" ]; then
		run 66 --dir /proc && says "daxverify: cannot use /proc: "
	else
		run 66 --dir "$tmp/ro" && says "daxverify: cannot use $tmp/ro: Permission denied"
	fi
}

too_many_words() { run 64 --dir "$tmp/dir" more && says "Too many arguments"; }

# Written when all is over: the claims' own exit status must not hide it.
full_disk()
{
	[ -c /dev/full ] || return 0
	run 73 --dir "$tmp/dir" --only map-sync-refused-on-memfd --json /dev/full &&
	says "cannot write /dev/full: No space left" &&
	"$daxverify" --dir "$tmp/dir" --only map-sync-refused-on-memfd >/dev/full 2>"$tmp/err"
	[ $? = 73 ] && grep -q "cannot write to stdout" "$tmp/err"
}

bad_json() { run 73 --dir "$tmp/dir" --json "$tmp/none/report" && says "$tmp/none/report"; }

plain_run()
{
	run 0 --dir "$tmp/dir" && says "^KTAP version 1" && says "^# start map-sync-on-dax" &&
	says "^ok [0-9]* map-sync-refused-on-memfd$" && empty_dir
}

skips_have_reasons()
{
	run 4 --dir "$tmp/dir" --only 'mapped-pin-*,unmapped-pin-*' &&
	says "^ok 1 mapped-pin-truncate-zero # SKIP no DAX here" && ! grep "^not ok" "$tmp/out"
}

dangerous_is_listed()
{
	run 0 --list --json - &&
	json "$tmp/out" '{"own-pin-exit", "poison-mapped-page"} == {s["name"] for s in
		r["scenarios"] if s["dangerous"] and not s["name"].startswith("teardown-")}' &&
	json "$tmp/out" '{"teardown-dax-" + how + use for how in ("", "namespace-")
		for use in ("idle", "mapped")} == {s["name"] for s in r["scenarios"]
		if s["name"].startswith("teardown-") and not s["dangerous"]}'
}

plan_fits()
{
	run 4 --dir "$tmp/dir" --only 'mapped-pin-*' --skip '*-punch*' &&
	[ "$(sed -n 's/^1\.\.//p' "$tmp/out")" = "$(grep -c '^ok' "$tmp/out")" ]
}

report()
{
	run 0 --dir "$tmp/dir" --json "$tmp/report" && says "^KTAP" &&
	json "$tmp/report" 'r["tool"] == "daxverify" and r["facts"]["dax"] is False' &&
	json "$tmp/report" '{s["verdict"] for s in r["scenarios"]} == {"ok", "skip"}' &&
	json "$tmp/report" 'all(s["reason"] for s in r["scenarios"] if s["verdict"] == "skip")' &&
	json "$tmp/report" 'all(s["oracles"] for s in r["scenarios"] if s["verdict"] == "ok")' &&
	json "$tmp/report" 'r["facts"]["kernel"] and r["facts"]["page_size"] >= 4096'
}

json_on_stdout()
{
	run 0 --dir "$tmp/dir" --json - --only 'map-sync-*' &&
	json "$tmp/out" 'len(r["scenarios"]) == 5'
}

relative_json()
{
	bin=$(cd "$(dirname "$daxverify")" && pwd)/${daxverify##*/}
	(cd "$tmp/dir" && "$bin" --dir . --json ../relative --only 'map-sync-*') &&
	json "$tmp/relative" 'len(r["scenarios"]) == 5'
}

time_limit()
{
	run 1 --dir "$tmp/dir" --only map-sync-refused-on-memfd --timeout 1 --sabotage hang &&
	says "^not ok 1 map-sync-refused-on-memfd # broken: did not end within 1 s" && empty_dir
}

# In the middle of a scenario that holds a page and has a child.
hang()
{
	"$daxverify" --dir "$tmp/dir" --only map-sync-refused-on-memfd --sabotage hang \
		--json "$tmp/stopped.json" >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	tries=0
	while [ -z "$(find "$tmp/dir" -name file)" ] && [ $tries -lt 100 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
}

stopped()
{
	hang
	kill "-$1" "$pid"
	wait "$pid"
	got=$?
	[ "$got" = "$2" ] || { echo "exit status $got, not $2"; return 1; }
	says "^Bail out!" && empty_dir && ! pgrep -f -- "--dir $tmp/dir" &&
	! [ -e "$tmp/stopped.json" ]
}

# No process can clean up after its own SIGKILL, but the runner after the one it came from.
killed()
{
	hang
	kill -KILL "$pid"
	wait "$pid"
	[ $? = 137 ] || { echo "it was not killed"; return 1; }
	tries=0
	while pgrep -f -- "--dir $tmp/dir" && [ $tries -lt 600 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
	says "^Bail out!" && empty_dir && ! pgrep -f -- "--dir $tmp/dir"
}

# Nor after all of its processes at once: a folder is left then, until the next run.
all_killed()
{
	hang
	kill -STOP "$pid"
	all=$(pgrep -f -- "--dir $tmp/dir")
	# shellcheck disable=SC2086
	kill -KILL $all
	wait "$pid"
	! empty_dir >"$tmp/log2" || { echo "nothing is left: the test sees nothing"; return 1; }
	run 0 --dir "$tmp/dir" --only map-sync-refused-on-memfd &&
	says "removed the folder $tmp/dir/.daxverify-" && empty_dir
}

# What belongs to a process that is there is nobody else's.
others_stay()
{
	mkdir "$tmp/dir/.daxverify-$$-abcdef" "$tmp/dir/.daxverify-abcdef"
	run 0 --dir "$tmp/dir" --only map-sync-refused-on-memfd &&
	rmdir "$tmp/dir/.daxverify-$$-abcdef" "$tmp/dir/.daxverify-abcdef"
}

# One of the kernel's defects, as a report would show it: the checker must see what is missing.
checker_sees()
{
	"$python" - "$here/guest-expect.json" "$tmp/fake" <<'END'
import json, sys
names = json.load(open(sys.argv[1]))["scenarios"]
json.dump({"any": [{"facts": {"kernel": "6.12.1-x", "fs": "ext4"}, "scenarios": [
    {"name": n, "verdict": "ok", "defect": None, "reason": None, "oracles": []}
    for n in names]}]}, open(sys.argv[2], "w"))
END
	"$python" "$here/check-expect.py" "$tmp/fake" >"$tmp/out"
	[ $? = 1 ] || { echo "a 6.12 without its defect was believed"; return 1; }
	grep -q "^not ok .*unmapped-pin-punch" "$tmp/out" &&
	grep -q "^ok .*mapped-pin-punch" "$tmp/out"
}

# Programs of which one guest has told nothing: that is no pass.
checker_counts()
{
	printf 'exit 0 6.12.1-x ext4 lost-wakeup-on-refault\n' >"$tmp/fake"
	"$python" "$here/check-expect.py" --reproducers 1 "$tmp/fake" >"$tmp/out" &&
	! "$python" "$here/check-expect.py" --reproducers 2 "$tmp/fake" >"$tmp/out" &&
	says "^not ok .* all were run"
}

check "--help has examples and exit codes" help_has_examples
check "--version" version
check "--list" list
check "--list --json" list_json
check "--quick" quick
check "--quick names scenarios that there are" quick_has_no_typo
check "each kind of scenario stands in --list and the man page" kinds
check "guest-expect.json names the scenarios that there are" list_matches_expectations
check "explain and reproducer of each defect" defects
check "a reproducer where there is no DAX" reproducer_without_dax
check "explain and reproducer on a full disk" full_disk
check "explain of no defect" unknown_defect
check "reproducer without a name" reproducer_of_what
check "wrong option" bad_option
check "--dir missing" no_dir
check "DIR that does not exist" missing_dir
check "DIR that is a file" file_as_dir
check "wrong --timeout" bad_timeout
check "unknown --sabotage" bad_sabotage
check "--only that fits nothing" bad_glob
check "report that can't be written" bad_json
check "a report or lines that do not fit on the disk" full_disk
check "DIR that can't be written to" read_only_dir
check "too many arguments" too_many_words
check "a run without DAX" plain_run
check "all skipped, with reasons" skips_have_reasons
check "what is dangerous" dangerous_is_listed
check "--only, --skip and the plan" plan_fits
check "--json FILE" report
check "--json -" json_on_stdout
check "--json with a relative path" relative_json
check "--pins" pins_table
check "a copy in place of a page" pins_see_a_copy
check "--device-dax that is not there" bad_device_dax
check "--device-dax that is something else" other_file_as_device_dax
check "no --device-dax" no_device_dax
check "a scenario that hangs is ended" time_limit
check "SIGINT leaves nothing" stopped INT 130
check "SIGTERM leaves nothing" stopped TERM 143
check "SIGHUP leaves nothing" stopped HUP 129
check "SIGKILL leaves nothing" killed
check "SIGKILL to all of it is cleaned up by the next run" all_killed
check "a run takes nothing away that is not of a dead one" others_stay
check "check-expect.py sees a defect that is missing" checker_sees
check "check-expect.py sees a program that is missing" checker_counts
echo "1..$nr"
exit $failed
