#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# daxverify is stopped while it holds, has frozen, unmounted and so on: nothing may be left of it.
# For a guest: needs DAX, root and nothing but a busybox shell. Prints TAP.
#
#   stop.sh DAXVERIFY DIR [DEVICE_DAX [TIMES]]

daxverify=${1:-daxverify}
dir=${2:-/mnt/pmem}
device_dax=$3
times=${4:-2}
nr=0
failed=0
out=$(mktemp) && seen=$(mktemp) || exit 1
trap 'rm -f "$out" "$seen"' EXIT
tracing=/sys/kernel/tracing
[ -d $tracing/instances ] || mount -t tracefs tracefs $tracing

# All processes of it, the oldest one first. (A guest has no other.)
processes() { pidof "$(basename "$daxverify")" | tr ' ' '\n' | sort -n | paste -sd ' '; }

# What a run may leave, one thing a line. A write that does not come back: frozen.
state()
{
	grep " $dir " /proc/mounts
	ls -d /sys/block/dm-* /sys/class/infiniband/* $tracing/instances/* 2>/dev/null
	grep -l . /sys/block/loop*/loop/backing_file 2>/dev/null
	cat $tracing/kprobe_events
	ls -A "$dir"
	processes
	grep -s '^State:.*D (disk' /proc/[0-9]*/status
	: >"$dir/probe" &
	write=$!
	tries=0
	while kill -0 $write 2>/dev/null && [ $tries -lt 40 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	kill -0 $write 2>/dev/null && echo "a write to $dir does not come back"
	wait_no_more=$(cat "$dir/probe" 2>&1) || echo "$wait_no_more"
	rm -f "$dir/probe" 2>/dev/null
}

# The same as before; what a killed process had may take a moment to go.
nothing_left()
{
	limit=$(($(date +%s) + 20))
	while state >"$seen.now" 2>&1; ! cmp -s "$seen" "$seen.now" && [ "$(date +%s)" -lt $limit ]; do
		sleep 0.2
	done
	diff "$seen" "$seen.now" >"$seen.diff"
}

result() # NAME GOOD
{
	nr=$((nr + 1))
	if [ "$2" = 0 ]; then
		echo "ok $nr - $1"
	else
		failed=1
		echo "not ok $nr - $1"
		cat "$seen.diff" "$out" | sed 's/^/# /'
	fi
}

# start SCENARIOS [OPTION...]: goes on when the scenario has begun.
start()
{
	only=$1
	shift
	# shellcheck disable=SC2086
	"$daxverify" --dir "$dir" --scratch ${device_dax:+--device-dax $device_dax} --only "$only" \
		"$@" >"$out" 2>&1 &
	pid=$!
	while ! grep -q "^# start" "$out" && kill -0 $pid 2>/dev/null; do
		sleep 0.05
	done
}

# One that never lets go of its page: it waits for seconds, or else is told to wait.
start_long()
{
	case $1 in
	pins-* | fsync-*) start "$1" --sabotage hang ;;
	*) start "$1" --sabotage no-drain ;;
	esac
}

# stop SIGNAL: and its exit status has to say so.
stop()
{
	kill "-$1" $pid
	wait $pid 2>/dev/null
	status=$?
	[ $status = $((128 + $(kill -l "$1"))) ] || echo "exit status $status" >>"$out"
	[ $status = $((128 + $(kill -l "$1"))) ]
}

pause() { sleep "$(awk "BEGIN { srand($nr * 7919 + $$); print rand() * $1 }")"; }

: >"$dir/probe" && rm "$dir/probe"
state >"$seen"

# Does the comparison see what could be left?
control() # NAME MAKE UNDO
{
	eval "$2" >/dev/null 2>&1
	state >"$seen.now" 2>&1
	cmp -s "$seen" "$seen.now"
	visible=$?
	eval "$3" >/dev/null 2>&1
	nothing_left
	[ $visible = 1 ] && [ ! -s "$seen.diff" ]
	result "control: $1 is seen" $?
}
# shellcheck disable=SC2016
control "a folder" 'mkdir $dir/.daxverify-x' 'rmdir $dir/.daxverify-x'
control "a mount that is read-only" 'mount -o remount,ro $dir' 'mount -o remount,rw $dir'
control "a frozen file system" 'fsfreeze --freeze $dir' 'fsfreeze --unfreeze $dir'
control "a trace instance" 'mkdir $tracing/instances/x' 'rmdir $tracing/instances/x'
control "a kprobe" 'echo "p:x do_exit" >$tracing/kprobe_events' 'echo >$tracing/kprobe_events'
control "a loop device" 'dd if=/dev/zero of=/tmp/l bs=4096 count=16; losetup -f /tmp/l' \
	'losetup -D; losetup -d /dev/loop0'
start map-sync-on-dax --sabotage hang
control "a process" : 'stop TERM'

# In states that have to be undone, and while something is held by each kind of holder. A page
# that is never let go, and a state that lasts, leave the time.
for signal in TERM KILL; do
	for scenario in freeze-pin remount-pin unmapped-pin-umount; do
		start $scenario --sabotage linger
		pause 2
		stop $signal
		good=$?
		nothing_left && [ $good = 0 ]
		result "SIG$signal in $scenario" $?
	done
done
for scenario in holders-direct-write-truncate holders-uring-read-truncate \
	holders-process-vm-truncate holders-splice-tcp-truncate holders-send-zc-truncate \
	pins-rdma-anonymous pins-xdp-anonymous pins-uring-buffers-page-cache fsync-after-punch \
	leak-truncate mapped-pin-truncate-zero signal-eintr-truncate; do
	[ "$signal" = KILL ] && signal=TERM || signal=KILL
	start_long $scenario
	pause 1
	# It may have been quicker.
	stop "$signal" || grep -q "^[no]*[t ]*ok 1 " "$out"
	good=$?
	nothing_left && [ $good = 0 ]
	result "SIG$signal in $scenario" $?
done

# Anywhere at all.
n=0
while [ $n -lt "$times" ]; do
	for signal in INT TERM HUP KILL; do
		start 'f*,holders-*,leak-*,unmapped-*,several-*'
		pause 6
		stop $signal
		good=$?
		nothing_left && [ $good = 0 ]
		result "SIG$signal at some moment" $?
	done
	n=$((n + 1))
done

# All of its processes at once: nobody is there to clean up. What has a name, the next run takes
# away; what was left must be seen here, or the rest of this file says nothing.
for kind in holders-direct-write-truncate:dm- holders-uring-read-truncate:dm- \
	pins-rdma-anonymous:infiniband fsync-after-punch:instances \
	unmapped-pin-truncate-zero:.daxverify-; do
	scenario=${kind%:*}
	start_long $scenario
	# Not before it is there, however slow the machine.
	while ! state 2>&1 | grep -q -e "${kind#*:}" && kill -0 $pid 2>/dev/null; do
		sleep 0.1
	done
	kill -STOP $pid
	# shellcheck disable=SC2046
	kill -KILL $(processes)
	wait $pid 2>/dev/null
	limit=$(($(date +%s) + 20))
	while [ -n "$(processes)" ] && [ "$(date +%s)" -lt $limit ]; do
		sleep 0.2
	done
	state >"$seen.now" 2>&1
	grep -q -e "${kind#*:}" "$seen.now"
	visible=$?
	cat "$seen.now" >>"$out"
	"$daxverify" --dir "$dir" --only map-sync-refused-on-memfd >>"$out" 2>&1
	nothing_left && [ $visible = 0 ] && grep -q "which a killed run left" "$out"
	result "all of it killed in $scenario, and another run" $?
done

# No page is held any more that a umount would wait for.
umount "$dir" 2>"$out"
result "the file system can be unmounted" $?
echo "1..$nr"
exit $failed
