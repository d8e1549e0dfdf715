#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Can the oracles of daxverify fail? Each run here has one mistake built in on purpose, and must
# not come out ok. For a guest: needs DAX, root and nothing but a busybox shell. Prints TAP.
#
#   selftest.sh DAXVERIFY DIR [DEVICE_DAX [NVME]]
#
# With NVME: only what wants memory of PCI devices, or a kernel that counts mappings.

daxverify=${1:-daxverify}
dir=${2:-/mnt/pmem}
device_dax=$3
nvme=$4
nr=0
failed=0
runs=$(mktemp -d) || exit 1
out=$runs/out
trap 'rm -rf "$runs"' EXIT

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

# try RUN SABOTAGE: all scenarios that this mistake is tried on, in one run.
try()
{
	sabotage="--sabotage $2"
	[ "$2" = none ] && sabotage=
	only=$(tr '\n' , <"$1.names")
	# shellcheck disable=SC2086
	"$daxverify" --dir "$dir" ${device_dax:+--device-dax "$device_dax"} \
		${nvme:+--nvme "$nvme"} $scratch --only "${only%,}" \
		--timeout "$limit" $dangerous $sabotage >"$1.out" 2>&1
	# No folder is left, nor a device that was made for it.
	find "$dir" -name ".daxverify*" >"$1.left"
	ls -d /sys/block/dm-* /sys/class/infiniband/* >>"$1.left" 2>/dev/null
}

# lines_of SCENARIO: its own lines of a run, as if it had been the only one.
lines_of()
{
	awk -v name="$1" '
		/^# start / { mine = 0 }
		/^(not )?ok / { mine = ($1 == "ok" ? $3 : $4) == name; sub(/ok [0-9]+/, "ok 1") }
		mine'
}

# expect SABOTAGE SCENARIO LINE [DETAIL]: the scenario's line, and one of its details, in grep's
# terms. SABOTAGE may be "none". The rows are gone through twice: first to collect the scenarios
# for each mistake, as a run takes its time to find out what the kernel can.
expect()
{
	run=$runs/$(echo "$1 $dangerous $scratch $limit $daxverify" | tr -c 'a-z0-9\n' _)
	if [ $pass = collect ]; then
		grep -qx "$2" "$run.names" 2>/dev/null || echo "$2" >>"$run.names"
		return
	fi
	[ -e "$run.out" ] || try "$run" "$1"
	lines_of "$2" <"$run.out" >"$out"
	good=1
	grep -q "^$3" "$out" || good=0
	[ -z "$4" ] || grep -q "^#   $4" "$out" || good=0
	[ ! -s "$run.left" ] || good=0
	[ $good = 1 ] || cat "$run.left" >>"$out"
	result "$2, sabotage $1" $good
}

plain="not ok 1 [a-z0-9-]*$"

# What wants memory of PCI devices, or a kernel that counts mappings.
pci_rows()
{
	expect none p2pdma-store "ok 1"
	expect corrupt-canary p2pdma-store "$plain" "content afterwards: not ok"
	for scenario in p2pdma-map-offset p2pdma-map-private p2pdma-map-too-large; do
		expect none $scenario "ok 1"
		expect no-dax $scenario "$plain" "mmap: not ok"
		expect extra-pin $scenario "$plain" "afterwards: not ok"
	done
	expect extra-pin p2pdma-munmap "$plain" "all unmapped: not ok"
	expect extra-pin p2pdma-fork "$plain" "the child was killed: not ok"
	for scenario in p2pdma-exit p2pdma-kill; do
		expect none $scenario "ok 1"
		expect no-signal $scenario "$plain" "the child is gone: not ok"
	done
	expect no-drain p2pdma-dontneed "$plain" "store: not ok"
	expect extra-pin p2pdma-dontneed "$plain" "unmapped: not ok"
	expect wrong-scheme p2pdma-counts "$plain" "mapped by a child, too: not ok"
	expect no-drain p2pdma-counts "$plain" "unmapped, but by the child: not ok"
	for holder in vmsplice direct-write direct-read uring-write process-vm msg-zerocopy \
		send-zc uring-buffers rdma xdp; do
		expect none "p2pdma-$holder" "ok 1"
		expect no-dax "p2pdma-$holder" "$plain" "answer: not ok"
	done
	expect wrong-scheme p2pdma-vmsplice "$plain" "counts: not ok"
	expect extra-pin p2pdma-vmsplice "$plain" "unmapped: not ok"
	for scenario in p2pdma-drive-write p2pdma-drive-read; do
		expect corrupt-canary $scenario "$plain" "content: not ok"
	done
	expect no-signal p2pdma-unbind "$plain" "store: not ok"
	expect extra-pin p2pdma-unbind "$plain" "bound again: not ok"
	# And what older kernels do not wait for.
	scratch=--scratch
	expect no-drain mapped-pin-umount-detach "not ok 1 .* # broken: " "wakes: not ok"
}

rows()
{
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
	expect early-drain mapped-pin-allocate "$plain" "ends or waits: not ok"
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

	# The counts of pages, without a mistake and with each that there can be.
	expect none counts-way "ok 1"
	expect none counts-map-processes "ok 1"
	expect none counts-get "ok 1"
	expect none counts-huge-pin "ok 1"
	expect wrong-scheme counts-way "$plain" "way of counting: not ok"
	expect wrong-scheme counts-map "$plain" "unmapped: not ok"
	expect wrong-scheme counts-fork "$plain" "touched by the child: not ok"
	expect wrong-scheme counts-truncate "$plain" "the file is gone: not ok"
	expect wrong-scheme counts-huge-map "$plain" "unmapped: not ok"
	expect wrong-scheme mapped-pin-truncate-zero "$plain" "counts when pinned: not ok"
	expect wrong-scheme mapped-pin-truncate-zero "$plain" "counts at the end: not ok"
	expect extra-pin counts-map "$plain" "mapped: not ok"
	expect extra-pin counts-get "$plain" "in two pipes: not ok"
	expect extra-pin counts-pin "$plain" "the pin is gone: not ok"
	expect extra-pin counts-huge-pin "$plain" "pinned: not ok"
	expect extra-pin counts-refused-registration "$plain" "counts of the memory before it: not ok"
	if [ -n "$device_dax" ]; then
		expect none counts-devdax-map "ok 1"
		expect wrong-scheme counts-devdax-map "$plain" "mapped: not ok"
		expect extra-pin counts-devdax-pin "$plain" "the pin is gone: not ok"
	fi
	expect early-drain mapped-pin-truncate-zero "$plain" "counts while held: not ok"
	expect early-drain huge-pin-truncate-zero "$plain" "counts while held: not ok"
	expect no-drain counts-last-reference "$plain" "when the pipe is read: not ok"
	expect wrong-process counts-truncate "$plain" "look: not ok"
	expect wrong-process mapped-pin-truncate-zero "$plain" "busy page: not ok"
	expect no-counts mapped-pin-truncate-zero "ok 1 [a-z-]* # without the counts: "
	expect no-counts counts-map "ok 1 [a-z-]* # SKIP "

	# In a container the kernel's process ids are not ours: the calls that are counted still are.
	contained=$runs/contained
	cat >"$contained" <<END
#!/bin/sh
exec unshare -m -p -f sh -c 'mount -t proc proc /proc && exec "\$@"' sh "$daxverify" "\$@"
END
	chmod +x "$contained"
	outside=$daxverify
	daxverify=$contained
	expect none counts-truncate "ok 1"
	expect none mapped-pin-truncate-zero "ok 1"
	daxverify=$outside

	# What a process sees of its mapping: a touch left out, one too many, the other way of counting,
	# memory that is not DAX.
	expect none view-store "ok 1"
	expect none view-huge-load "ok 1"
	for source in pagemap PAGEMAP_SCAN mincore; do
		expect no-touch view-store "$plain" "stored: $source: not ok"
		expect extra-touch view-load "$plain" "mapped: $source: not ok"
		expect extra-touch view-fork "$plain" "child: $source: not ok"
	done
	for source in smaps numa_maps; do
		expect no-touch view-private "$plain" "written: $source: not ok"
	done
	expect extra-touch view-huge-dontneed "$plain" "dropped: pagemap: not ok"
	for source in smaps pagemap PAGEMAP_SCAN; do
		expect wrong-scheme view-store "$plain" "stored: $source: not ok"
		expect wrong-scheme view-huge-fork "$plain" "alone: $source: not ok"
	done
	expect no-touch view-hole "$plain" "loaded: pagemap: not ok"
	expect keep-pin view-pin "$plain" "VmPin: not ok"
	expect wrong-scheme view-rss "$plain" "touched: not ok"
	expect no-dax view-lock "$plain" "VmLck: not ok"
	expect no-touch view-lock "$plain" "faulted in: not ok"
	expect no-dax view-flags "$plain" "VmFlags: not ok"
	expect no-dax view-lists "$plain" "kpageflags: not ok"
	expect extra-touch view-soft-dirty "$plain" "cleared: not ok"
	expect no-touch view-soft-dirty "not ok 1 .* # known defect: soft-dirty-lost" "stored to: not ok"
	expect extra-touch view-written "$plain" "protected: not ok"
	expect no-touch view-huge-written "not ok 1 .* # known defect: write-protect-misses-huge" \
		"stored to: not ok"

	# States of the mapping, and ranges that cover the page in part.
	for state in mremapped forked many-mapped; do
		expect none "$state-pin-truncate" "ok 1"
		expect no-pin "$state-pin-truncate" "not ok 1 .* # broken: the pipe held copies" \
			"waits: not ok"
		expect early-drain "$state-pin-truncate" "$plain" "waits: not ok"
	done
	expect none unwritten-stored-pin-truncate "ok 1"
	expect no-pin unwritten-stored-pin-truncate "$plain" "pipe: not ok"
	expect wrong-scheme many-mapped-pin-truncate "$plain" "counts when pinned: not ok"
	expect early-drain exited-pin-truncate "$plain" "waits: not ok"
	expect early-drain unwritten-loaded-pin-truncate "$plain" "does not wait: not ok"
	expect early-drain copied-pin-truncate "$plain" "does not wait: not ok"
	for range in truncate punch-begins; do
		expect none "partly-$range" "ok 1"
		expect early-drain "partly-$range" "$plain" "waits: not ok"
		expect corrupt-canary "partly-$range" "$plain" "file: not ok"
	done
	expect corrupt-canary partly-punch-within "$plain" "pipe: not ok"
	expect corrupt-canary partly-punch-within "$plain" "file: not ok"

	# Who waits behind a punch, and what is left to flush after a wait.
	expect early-drain beside-punch-load "$plain" "meanwhile: not ok"
	expect early-drain beside-punch-read "$plain" "meanwhile: not ok"
	expect early-drain beside-truncate-uring-read "$plain" "meanwhile: not ok"
	expect corrupt-canary beside-punch-stat "$plain" "pipe: not ok"
	expect no-fsync fsync-after-waited-punch "not ok 1 .* # known defect: fsync-skips-after-break" \
		"flush: not ok"
	expect corrupt-canary queue-read-behind-truncate "$plain" "file: not ok"

	# How long the waking took is told of what waited, and of nothing else.
	if [ $pass = judge ]; then
		"$daxverify" --dir "$dir" --only mapped-pin-truncate-zero,hole-pin-truncate --verbose \
			>"$out" 2>&1
		result "the time of the waking is told" \
			"$(grep -c "woke [0-9.]* ms after the release" "$out")"
	fi

	# Holders of every kind, as above: a copy in place of the page, a page that is let go early, never.
	for holder in tee splice-unix splice-tcp direct-write uring-write process-vm msg-zerocopy \
		send-zc; do
		expect none "holders-$holder-truncate" "ok 1"
		expect no-pin "holders-$holder-truncate" "not ok 1 .* # broken: .* held copies" \
			"waits: not ok"
		expect early-drain "holders-$holder-truncate" "$plain" "waits: not ok"
	done
	# What each takes of the page is known: a reference, some, or a pin.
	for holder in tee splice-tcp process-vm uring-write; do
		expect early-drain "holders-$holder-truncate" "$plain" "counts while held: not ok"
		expect wrong-scheme "holders-$holder-truncate" "$plain" "counts when pinned: not ok"
	done
	# What is read into the page stands in the file; a copy got it in its place.
	for holder in direct-read uring-read; do
		expect none "holders-$holder-punch" "ok 1"
		expect no-pin "holders-$holder-punch" "$plain" "file: not ok"
		expect early-drain "holders-$holder-punch" "$plain" "waits: not ok"
	done
	expect no-drain holders-direct-write-truncate "$plain" "wakes: not ok"
	expect no-drain holders-process-vm-truncate "$plain" "wakes: not ok"
	expect no-drain holders-send-zc-truncate "$plain" "wakes: not ok"

	# The pin matrix: a copy is seen as one, other memory gets another answer, a pin that is left
	# behind is seen.
	for holder in vmsplice tee splice-unix splice-tcp direct-write direct-read uring-write uring-read \
		process-vm msg-zerocopy send-zc uring-buffers; do
		expect no-pin "pins-$holder-tmpfs" "$plain" "content: not ok"
	done
	for holder in vmsplice direct-write uring-read process-vm send-zc; do
		expect early-drain "pins-$holder-anonymous" "$plain" "held: not ok"
		expect no-drain "pins-$holder-fsdax" "$plain" "afterwards: not ok"
	done
	expect no-drain pins-rdma-devdax "$plain" "counted no more: not ok"
	expect early-drain pins-rdma-hugetlb "$plain" "counted: not ok"
	for holder in uring-buffers rdma xdp; do
		expect none "pins-$holder-fsdax" "ok 1"
		expect no-dax "pins-$holder-fsdax" "$plain" "answer: not ok"
		expect keep-pin "pins-$holder-fsdax" "$plain" "afterwards: not ok"
	done
	for scenario in several-uring-anonymous several-uring-other-dax-file several-uring-copied \
		several-uring-one-buffer several-rdma-anonymous several-rdma-copied several-xdp-anonymous \
		several-xdp-other-dax-file; do
		expect keep-pin "$scenario" "$plain" "its file: not ok"
	done
	expect keep-pin several-uring-other-dax-file "$plain" "the other file: not ok"
	expect keep-pin several-xdp-other-dax-file "$plain" "the other file: not ok"
	expect no-dax several-uring-anonymous "$plain" "counted: not ok"
	expect no-dax several-rdma-anonymous "$plain" "register: not ok"

	# The whole file system: refused because it is in use, and let go when nobody uses it.
	scratch=--scratch
	expect keep-pin mapped-pin-umount "$plain" "umount: not ok"
	expect early-drain mapped-pin-umount-detach "$plain" "waits: not ok"
	expect early-drain beside-truncate-remount "$plain" "remount: not ok"

	# No driver is unbound: stores work, and the file system reads.
	expect none teardown-dax-mapped "ok 1"
	expect no-signal teardown-dax-mapped "not ok 1" "store: not ok"
	expect corrupt-canary teardown-dax-idle "$plain" "device: not ok"
	expect corrupt-canary teardown-dax-namespace-mapped "$plain" "device: not ok"
	dangerous=--dangerous
	expect none teardown-idle "ok 1"
	expect no-signal teardown-idle "$plain" "read: not ok"
	expect wrong-scheme teardown-idle "$plain" "counts afterwards: not ok"
	expect corrupt-canary teardown-idle "$plain" "file: not ok"
	dangerous=
	scratch=

	# A scenario that does not end, and some that are stopped while they hold: the runner lets go.
	limit=2
	for holder in direct-write uring-read process-vm splice-tcp; do
		expect no-drain "holders-$holder-truncate" "not ok 1 .* # broken: did not end within 2 s"
	done
	expect hang map-sync-on-dax "not ok 1 .* # broken: did not end within 2 s"
}

for pass in collect judge; do
	dangerous='' scratch='' limit=30
	if [ -n "$nvme" ]; then
		pci_rows
	else
		rows
	fi
done
echo "1..$nr"
exit $failed
