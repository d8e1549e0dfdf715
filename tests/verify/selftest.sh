#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Can the oracles of daxverify fail? Each run here has one mistake built in on purpose, and must
# not come out ok. For a guest: needs DAX, root and nothing but a busybox shell. Prints TAP.
#
#   selftest.sh DAXVERIFY DIR

daxverify=${1:-daxverify}
dir=${2:-/mnt/pmem}
nr=0
failed=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

# result NAME GOOD: one line of TAP, with what daxverify printed when it is bad.
result()
{
	nr=$((nr + 1))
	if [ "$2" = 1 ]; then
		echo "ok $nr - $1"
	else
		failed=1
		echo "not ok $nr - $1"
		sed 's/^/# /' "$out"
	fi
}

# expect SABOTAGE SCENARIO LINE [DETAIL]: the scenario's line, and one of its details, in grep's
# terms. SABOTAGE may be "none".
expect()
{
	sabotage="--sabotage $1"
	[ "$1" = none ] && sabotage=
	# shellcheck disable=SC2086
	"$daxverify" --dir "$dir" --only "$2" --timeout "${limit:-30}" \
		$dangerous $sabotage >"$out" 2>&1
	good=1
	grep -q "^$3" "$out" || good=0
	[ -z "$4" ] || grep -A2 "$4" "$out" >/dev/null || good=0
	[ -z "$(find "$dir" -name ".daxverify*")" ] || good=0
	result "$2, sabotage $1" $good
}

plain="not ok 1 [a-z-]*$"

# Without a mistake they are ok: what follows is the mistake's doing.
expect none mapped-pin-truncate-zero "ok 1"
expect none mapped-pin-truncate-grow "ok 1"
expect none map-sync-on-dax "ok 1"
expect none fsync-after-store "ok 1"
expect none uring-register-dax "ok 1"
expect none signal-eintr-truncate "ok 1"

# The holder puts a copy into the pipe: nothing waits, and the scenario knows why.
expect no-pin mapped-pin-truncate-zero "not ok 1 .* # broken: the pipe held copies" "waits: not ok"
expect no-pin unmapped-pin-unlink "not ok 1 .* # broken: the pipe held copies" "waits: not ok"

# The page is let go before the action: it does not wait, and no defect is to blame.
expect early-drain mapped-pin-truncate-zero "$plain" "waits: not ok"
expect early-drain mapped-pin-punch "$plain" "waits: not ok"
expect early-drain unmapped-pin-truncate-zero "$plain" "waits: not ok"
expect early-drain unmapped-pin-unlink "$plain" "waits: not ok"
expect early-drain hole-pin-truncate "$plain" "does not wait: not ok"

# The page is never let go.
expect no-drain mapped-pin-truncate-zero "$plain" "wakes: not ok"

# Somebody writes to the pinned page.
expect corrupt-canary mapped-pin-truncate-zero "$plain" "pipe: not ok"
expect corrupt-canary mapped-pin-truncate-grow "$plain" "file: not ok"
expect corrupt-canary signal-eintr-truncate "$plain" "file after the signal: not ok"

# No signal is sent.
expect no-signal signal-eintr-truncate "$plain" "signal: not ok"
expect no-signal signal-kill-truncate "$plain" "signal: not ok"
expect no-signal signal-restart-truncate "$plain" "signal: not ok"

# Nothing is cancelled, nothing is poisoned.
expect no-signal uring-punch-cancel "$plain" "completion: not ok"
dangerous=--dangerous
expect no-signal poison-mapped-page "$plain" "SIGBUS: not ok"
dangerous=

# Nothing is held by the time of the call: then nobody waits behind it, either.
expect early-drain beside-truncate-stat "$plain" "meanwhile: not ok"
expect early-drain beside-truncate-read "$plain" "meanwhile: not ok"
expect early-drain drop-caches-mapped-pin "$plain" "does not wait: not ok"
expect no-pin write-pin "$plain" "pipe: not ok"
expect corrupt-canary mapped-pin-allocate "$plain" "pipe: not ok"

# The touch is what makes the defect, on kernels that have it.
expect no-touch refault-pinned-page-truncate "ok 1"

# Nothing is flushed: then the control says that the oracle sees nothing.
expect no-fsync fsync-after-store "not ok 1 .* # broken: without any break 0 of 2"
expect no-fsync fsync-after-cut-truncate "$plain" "flush: not ok"
expect no-fsync fsync-after-punch "not ok 1 .* # broken: without any break 0 of 2"

# Memory that is not DAX in its place.
expect no-dax map-sync-on-dax "$plain" "mmap: not ok"
expect no-dax uring-register-dax "$plain" "register: not ok"

# A warning in the kernel log, and no defect that explains it.
expect fake-warn map-sync-on-dax "$plain" "kernel log: not ok"
expect fake-warn unmapped-pin-truncate-zero "$plain" "kernel log: not ok"

# A scenario that does not end.
limit=2
expect hang map-sync-on-dax "not ok 1 .* # broken: did not end within 2 s"

echo "1..$nr"
exit $failed
