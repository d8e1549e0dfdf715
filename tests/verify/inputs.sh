#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# daxverify where something is missing: without privileges, BPF, BTF, io_uring, devices, space. What
# cannot be tried is skipped with a word about it, no oracle is silently off, and nobody is accused.
# For a guest with what daxlab run --holders brings. Prints TAP.
#
#   inputs.sh DAXVERIFY DIR HOBBLE

daxverify=${1:-daxverify}
dir=${2:-/mnt/pmem}
hobble=${3:-hobble}
nr=0
failed=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
chmod 777 "$dir"

# run NAME [HOW] -- OPTIONS: the others look at what it printed, and `result` at the whole.
run()
{
	name=$1
	how=
	good=0
	[ "$2" = -- ] || { how="$hobble $2"; shift; }
	shift 2
	# shellcheck disable=SC2086
	$how "$daxverify" --dir "$dir" "$@" >"$out" 2>&1
	status=$?
}

# says PATTERN: some line does.
says() { grep -q -e "$1" "$out" || { echo "nowhere says: $1" >>"$out"; good=1; }; }

# Only what the kernel is known for is not ok: nothing is broken, and no lack is a defect.
nobody_accused()
{
	! grep "^not ok" "$out" | grep -qv "# known defect: " || good=1
	says "^# [0-9]* ok, "
}

ends() { [ "$status" = "$1" ] || { echo "exit status $status, not $1" >>"$out"; good=1; }; }

result()
{
	[ -z "$(find "$dir" -name ".daxverify*")" ] || good=1
	nr=$((nr + 1))
	if [ $good = 0 ]; then
		echo "ok $nr - $name"
	else
		failed=1
		echo "not ok $nr - $name"
		sed 's/^/# /' "$out"
	fi
}

run "control: with all that it wants, nothing is missing" -- --only 'mapped-pin-punch,counts-map'
says "^# counts of pages: looked at, "
says "^# kernel log: looked at$"
says "^ok [0-9]* mapped-pin-punch$"
says "^# 2 ok, 0 not ok by .*, 0 not ok, 0 broken, 0 skipped"
ends 0
result

run "an unprivileged user" user -- --quick
nobody_accused
says "^# counts of pages: not looked at: needs root$"
says "^# kernel log: not looked at: "
says "^ok [0-9]* mapped-pin-punch # without the counts: needs root$"
says "^ok [0-9]* counts-map # SKIP needs root$"
says "^ok [0-9]* fsync-after-store # SKIP "
says "^ok [0-9]* unmapped-pin-umount # SKIP needs root"
says "^ok [0-9]* pins-vmsplice-fsdax$"
result

run "a user who may lock no memory" user,memlock -- --only 'pins-msg-*,pins-uring-*,holders-msg-*'
nobody_accused
says "^ok [0-9]* holders-msg-zerocopy-punch # SKIP no memory may be locked here (ulimit -l)$"
result

run "root without capabilities" nocaps -- --quick --scratch
nobody_accused
says "^ok [0-9]* unmapped-pin-umount # SKIP needs root with all its capabilities"
says "^ok [0-9]* mapped-pin-punch # without the counts: "
result

run "bpf(2) is refused" bpf -- --only 'mapped-pin-punch,counts-map'
nobody_accused
says "^ok [0-9]* mapped-pin-punch # without the counts: the kernel takes no BPF program: "
says "^ok [0-9]* counts-map # SKIP the kernel takes no BPF program: "
result

mount -t tmpfs tmpfs /sys/kernel/btf
run "a kernel without BTF" -- --only 'mapped-pin-punch,counts-map'
umount /sys/kernel/btf
nobody_accused
says "^ok [0-9]* mapped-pin-punch # without the counts: .*CONFIG_DEBUG_INFO_BTF"
result

hidden=$(cat /proc/sys/kernel/kptr_restrict)
echo 2 >/proc/sys/kernel/kptr_restrict
run "a kernel that hides its addresses" -- --only 'mapped-pin-punch,counts-map'
echo "$hidden" >/proc/sys/kernel/kptr_restrict
nobody_accused
says "^ok [0-9]* mapped-pin-punch # without the counts: .*kptr_restrict"
result

run "io_uring is refused" uring -- --only 'uring-*,pins-*uring*,pins-send-zc-*,several-*,*uring*'
nobody_accused
says "^ok [0-9]* uring-punch-pin # SKIP io_uring is not to be had: "
! grep "^ok .* [a-z-]*uring[a-z-]*$" "$out" || good=1
result

if echo 2 2>/dev/null >/proc/sys/kernel/io_uring_disabled; then
	run "io_uring is switched off" -- --only 'uring-*,holders-send-zc-*'
	echo 0 >/proc/sys/kernel/io_uring_disabled
	nobody_accused
	says "^ok [0-9]* uring-punch-pin # SKIP .*/proc/sys/kernel/io_uring_disabled allows it"
	result
fi

run "userfaultfd is refused" userfaultfd -- --only '*process-vm*,counts-*,signal-*'
nobody_accused
says "^ok [0-9]* holders-process-vm-punch # SKIP no userfaultfd"
result

run "no descriptors of other processes" pidfd -- --only '*process-vm*,counts-*'
nobody_accused
says "^ok [0-9]* holders-process-vm-punch # SKIP .*pidfd_getfd(2) is refused"
says "^ok [0-9]* counts-pin # SKIP pidfd_getfd(2) is refused"
result

run "a folder that is not on DAX" -- --dir /tmp --quick
nobody_accused
says "^# kernel .*, no DAX"
says "^ok [0-9]* mapped-pin-punch # SKIP no DAX here (.*): needs ext4 or xfs mounted"
result

# The device that a file system is unmounted from, with the shell in it.
(cd "$dir" && run "in a shell of its own" -- --scratch --only unmapped-pin-umount
	cat "$out") >"$out.2"
mv "$out.2" "$out"
name="the current folder is on it" good=0
says "^not ok 1 unmapped-pin-umount # broken: cannot unmount $dir: .*busy"
grep -q " $dir " /proc/mounts || good=1
result

rmmod dm_delay rdma_rxe 2>/dev/null
run "no slow device and no RDMA" -- --only 'holders-direct-*,pins-rdma-*'
nobody_accused
says "^ok [0-9]* holders-direct-write-punch # SKIP no slow device: .*modprobe dm-delay"
says "^ok [0-9]* pins-rdma-fsdax # SKIP no RDMA device: .*modprobe rdma_rxe"
result

mount -o remount,ro "$dir"
run "a read-only file system" -- --quick
mount -o remount,rw "$dir"
ends 66
says "the file system is read-only: mount -o remount,rw"
result

if fsfreeze --freeze "$dir" 2>/dev/null; then
	run "a frozen file system" -- --quick
	fsfreeze --unfreeze "$dir"
	ends 66
	says "a write there does not come back: .* fsfreeze --unfreeze thaws it"
	result
fi

free=$(df -k "$dir" | awk 'NR == 2 { print $4 }')
fallocate -l $((free - 8192))K "$dir/ballast"
run "8 MiB free" -- --quick
ends 66
says "no space there: 16 MiB have to be free"
result
rm "$dir/ballast"
fallocate -l $((free - 49152))K "$dir/ballast"
run "48 MiB free" -- --quick --scratch
rm "$dir/ballast"
nobody_accused
says "^ok [0-9]* leak-truncate # SKIP needs 128 MiB free there, and has 4[0-9] MiB$"
result

echo "1..$nr"
exit $failed
