/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a pool does when its file system or media fails it, as daxheap(7) says: runs in a guest,
 * as root, on a DAX file system.  media full|grow|held|poison|truncate POOL: 0 if all is as
 * documented.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxheap.h"

#define MiB		((size_t)1 << 20)
#define PAGE		4096u
#define SLOTS		16384u
#define BLOCK_SIZE	65536u

static struct daxheap *heap;
static daxheap_ref *slots;
static unsigned count;			/* slots that are filled */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(": %s\n", daxheap_errormsg());
	exit(1);
}

#define must(what)                                                                             \
	do {                                                                                   \
		if (!(what))                                                                   \
			fail("line %d: not so: %s", __LINE__, #what);                          \
	} while (0)

static void create(const char *path, uint64_t size)
{
	daxheap_ref *root;
	void *block;

	must(!daxheap_create(path, size, DAXHEAP_REQUIRE_MAP_SYNC, &heap));
	must(!daxheap_root(heap, "slots", &root));
	must(!daxheap_calloc(heap, SLOTS, 8, &block));
	must(!daxheap_persist(heap, block, SLOTS * 8));
	must(!daxheap_publish(heap, root, block));
	slots = block;
}

static void reopen(const char *path)
{
	daxheap_ref *root;

	must(!daxheap_open(path, DAXHEAP_REQUIRE_MAP_SYNC, &heap));
	must(!daxheap_root(heap, "slots", &root));
	slots = daxheap_ptr(heap, *root);
}

/* A block of which each page begins with its slot's number. */
static int add(unsigned slot, size_t size)
{
	char *block;
	int err = daxheap_alloc(heap, size, (void **)&block);

	if (err)
		return err;
	for (size_t at = 0; at < size; at += PAGE)
		memcpy(block + at, &slot, sizeof(slot));
	err = daxheap_persist(heap, block, size);
	return err ? err : daxheap_publish(heap, &slots[slot], block);
}

static bool has_content(unsigned slot, size_t size)
{
	const char *block = daxheap_ptr(heap, slots[slot]);

	for (size_t at = 0; block && at < size; at += PAGE)
		if (memcmp(block + at, &slot, sizeof(slot)))
			return false;
	return block;
}

static uint64_t live_blocks(void)
{
	struct daxheap_stats stats;

	must(!daxheap_get_stats(heap, &stats));
	return stats.live_blocks;
}

static void show(void *arg, const struct daxheap_finding *finding)
{
	unsigned *findings = arg;

	if (++*findings > 5)
		return;
	printf("check: %llu bytes at %#llx: %s\n", (unsigned long long)finding->size,
	       (unsigned long long)finding->offset, finding->what);
}

static int check(const char *path)
{
	unsigned findings = 0;

	return daxheap_check(path, 0, show, &findings);
}

/* --- a full file system --- */

/* Everything that is left, in another file. */
static void take_space(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char *bytes = calloc(1, MiB);

	must(fd >= 0 && bytes);
	for (size_t piece = MiB; piece >= PAGE; piece /= 2)
		while (write(fd, bytes, piece) == (ssize_t)piece)
			;
	must(!fsync(fd) || errno == ENOSPC);
	close(fd);
	free(bytes);
}

static void full(const char *path)
{
	char ballast[256], second[256];
	struct daxheap *other;
	int err;

	snprintf(second, sizeof(second), "%s.second", path);
	snprintf(ballast, sizeof(ballast), "%s.ballast", path);
	create(path, 1024 * MiB);
	for (count = 0; count < 100; count++)
		must(!add(count, BLOCK_SIZE));
	take_space(ballast);
	while (!(err = add(count, BLOCK_SIZE)))
		count++;
	must(err == -ENOSPC && strstr(daxheap_errormsg(), "space"));
	printf("%u blocks, then: %s\n", count, daxheap_errormsg());
	for (int i = 0; i < 100; i++)
		must(add(count, 4 * MiB) == -ENOSPC);
	must(daxheap_create(second, 8 * MiB, 0, &other) == -ENOSPC && access(second, F_OK));
	for (unsigned i = 0; i < count; i++)
		must(has_content(i, BLOCK_SIZE));
	must(live_blocks() == count + 1);
	/* What needs no space goes on, and what is freed is used again. */
	for (unsigned i = 0; i < count; i += 2)
		must(!daxheap_free(heap, &slots[i]));
	for (unsigned i = 0; i < count; i += 2)
		must(!add(i, BLOCK_SIZE));
	daxheap_close(heap);
	must(check(path) == 0);
	reopen(path);
	for (unsigned i = 0; i < count; i++)
		must(has_content(i, BLOCK_SIZE));
	must(add(count, 4 * MiB) == -ENOSPC);
	/* And with space again the pool grows again. */
	must(!unlink(ballast));
	must(!add(count, 4 * MiB));
	daxheap_close(heap);
	must(check(path) == 0);
	must(!unlink(path));
}

/* --- growth --- */

static long faults(void)
{
	struct rusage usage;

	must(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

static void touch(char *block, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE)
		*(volatile char *)(block + at) = 1;
}

static void on_alarm(int number)
{
	(void)number;
	if (write(1, "growth waits\n", 13) != 13)
		_exit(2);
	_exit(1);
}

/*
 * Growth waits for nobody who holds a page of the file, leaves what is in use mapped, and makes the
 * first store into a chunk one cheap fault.
 */
static void grow(const char *path)
{
	const size_t size = 32 * MiB;
	char *used, *added;
	long before, in_use, new;
	int pipe_fds[2];
	struct iovec page;

	create(path, 1024 * MiB);
	must(!daxheap_alloc(heap, size, (void **)&used));
	touch(used, size);
	page = (struct iovec){used, PAGE};
	must(!pipe(pipe_fds) && vmsplice(pipe_fds[1], &page, 1, 0) == PAGE);
	must(signal(SIGALRM, on_alarm) != SIG_ERR);
	alarm(10);
	must(!daxheap_alloc(heap, size, (void **)&added));
	alarm(0);
	before = faults();
	touch(used, size);
	in_use = faults() - before;
	before = faults();
	touch(added, size);
	new = faults() - before;
	printf("%ld faults in use, %ld in %zu new chunks\n", in_use, new, size / (2 * MiB));
	must(!close(pipe_fds[0]) && !close(pipe_fds[1]));
	must(!in_use);
	must(new <= (long)(size / (2 * MiB)));
	daxheap_close(heap);
	must(check(path) == 0);
	must(!unlink(path));
}

#define HELD_MS 8000u

static atomic_bool has_trimmed, has_grown;

static void *trim_in_vain(void *unused)
{
	must(daxheap_trim(heap, 0, HELD_MS, NULL) == -ETIMEDOUT);
	must(strstr(daxheap_errormsg(), "pinned"));
	has_trimmed = true;
	return unused;
}

static void *grow_meanwhile(void *unused)
{
	char *added;

	must(!daxheap_alloc(heap, 64 * MiB, (void **)&added));
	has_grown = true;
	touch(added, 64 * MiB);
	return unused;
}

/*
 * A trim that waits for a page of another's has the file's lock, which a growth waits for.  Who
 * finds room in what the file has waits for neither.
 */
static void held(const char *path)
{
	void *pinned, *near, *spare, *last, *block;
	pthread_t trimmer, grower;
	int pipe_fds[2];
	struct iovec page;

	create(path, 1024 * MiB);
	must(!daxheap_alloc(heap, 4 * MiB, &pinned));
	must(!daxheap_alloc(heap, 8 * MiB, &near));
	must(!daxheap_alloc(heap, 32 * MiB, &spare));
	must(!daxheap_alloc(heap, 4 * MiB, &last));
	memset(pinned, 1, 4 * MiB);
	/* The file ends behind the last one, so that there is no tail, which would end growth. */
	must(!daxheap_trim(heap, 0, HELD_MS, NULL));
	must(!daxheap_cancel(heap, spare));
	page = (struct iovec){pinned, PAGE};
	must(!pipe(pipe_fds) && vmsplice(pipe_fds[1], &page, 1, 0) == PAGE);
	must(!pthread_create(&trimmer, NULL, trim_in_vain, NULL));
	sleep(1);
	must(!pthread_create(&grower, NULL, grow_meanwhile, NULL));
	sleep(1);
	must(!daxheap_cancel(heap, near));
	must(!daxheap_alloc(heap, MiB, &block));
	memset(block, 2, MiB);
	must(!daxheap_alloc(heap, 4 * MiB, &block));
	memset(block, 3, 4 * MiB);
	must(!has_trimmed);
	must(!has_grown);
	must(!pthread_join(trimmer, NULL) && !pthread_join(grower, NULL));
	must(!close(pipe_fds[0]) && !close(pipe_fds[1]));
	must(!daxheap_trim(heap, 0, HELD_MS, NULL));
	puts("the trim and a growth waited, and nobody else");
	daxheap_close(heap);
	must(check(path) == 0);
	must(!unlink(path));
}

/* --- pages that can't be had --- */

static sigjmp_buf back;
static volatile sig_atomic_t signals, signal_code;
static void *volatile signal_at;
static volatile sig_atomic_t signal_lsb;	/* of a signal about poison */

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	signals = signals + 1;
	signal_code = info->si_code;
	signal_at = info->si_addr;
	signal_lsb = info->si_addr_lsb;
	siglongjmp(back, 1);
}

static void handle_sigbus(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	must(!sigaction(SIGBUS, &action, NULL));
}

/* True if the load went well. */
static bool load(const char *at)
{
	if (sigsetjmp(back, 1))
		return false;
	(void)*(const volatile char *)at;
	return true;
}

static bool in_page(const char *page)
{
	const char *at = signal_at;

	return at >= page && at < page + PAGE;
}

/* The signal names as much as was mapped as one, which may be huge. */
static bool about_page(const char *page)
{
	return (uintptr_t)signal_at >> signal_lsb == (uintptr_t)page >> signal_lsb;
}

static void inject(char *page)
{
	if (sigsetjmp(back, 1))
		return;
	must(!madvise(page, PAGE, MADV_HWPOISON));
}

static void work_beside(unsigned poisoned)
{
	for (unsigned i = 0; i < 50; i++)
		if (i != poisoned)
			must(has_content(i, BLOCK_SIZE));
	for (unsigned i = 50; i < 100; i++)
		must(!add(i, BLOCK_SIZE));
	for (unsigned i = 50; i < 100; i++)
		must(!daxheap_free(heap, &slots[i]));
}

/* A page of a block's content goes bad. */
static void poison(const char *path)
{
	char *page;

	create(path, 64 * MiB);
	for (unsigned i = 0; i < 50; i++)
		must(!add(i, BLOCK_SIZE));
	handle_sigbus();
	page = (char *)daxheap_ptr(heap, slots[7]) + 3 * PAGE;
	inject(page);
	printf("injecting: %d signals, code %d, of 2^%d bytes\n", (int)signals, (int)signal_code,
	       (int)signal_lsb);
	if (!signals)
		must(!load(page));
	must(signals == 1 && signal_code == BUS_MCEERR_AR);
	must(about_page(page));
	printf("a load afterwards: %s, code %d\n", load(page) ? "well" : "SIGBUS",
	       (int)signal_code);
	must(load(page - PAGE) && load(page + PAGE));
	work_beside(7);
	daxheap_close(heap);

	/* Open and check read no content. */
	must(check(path) == 0);
	reopen(path);
	work_beside(7);
	must(live_blocks() == 51);
	page = (char *)daxheap_ptr(heap, slots[7]) + 3 * PAGE;
	printf("a load after an open: %s, code %d\n", load(page) ? "well" : "SIGBUS",
	       (int)signal_code);
	/* The block can be freed: that does not touch its content. */
	must(!daxheap_free(heap, &slots[7]));
	daxheap_close(heap);
	must(check(path) == 0);
	must(!unlink(path));
}

/* Somebody cuts the file behind the heap's back. */
static void truncated(const char *path)
{
	unsigned behind = 0;
	int findings;

	create(path, 64 * MiB);
	for (unsigned i = 0; i < 200; i++)
		must(!add(i, BLOCK_SIZE));
	handle_sigbus();
	must(!truncate(path, 8 * MiB));
	for (unsigned i = 0; i < 200; i++) {
		char *block = daxheap_ptr(heap, slots[i]);

		if (slots[i] + BLOCK_SIZE <= 8 * MiB) {
			must(has_content(i, BLOCK_SIZE));
			continue;
		}
		behind++;
		must(!load(block + BLOCK_SIZE - 1));
		must(signal_code == BUS_ADRERR && in_page(block + BLOCK_SIZE - PAGE));
	}
	printf("%u of 200 blocks are cut off\n", behind);
	must(behind > 50 && behind < 200);
	/* What lies in front goes on: durable changes too. */
	must(!daxheap_free(heap, &slots[0]));
	daxheap_close(heap);

	/* What is lost is told, and is no SIGBUS any more. */
	must(check(path) > 0);
	reopen(path);
	for (unsigned i = 1; i < 200; i++) {
		if (slots[i] + BLOCK_SIZE <= 8 * MiB) {
			must(has_content(i, BLOCK_SIZE));
			continue;
		}
		must(load(daxheap_ptr(heap, slots[i])));
		must(daxheap_free(heap, &slots[i]) == -EBADMSG);
	}
	printf("%s\n", daxheap_errormsg());
	daxheap_close(heap);
	/* Made as long as it was, what was cut off reads as zero: damage that is told. */
	must(!truncate(path, 64 * MiB));
	findings = check(path);
	printf("%d findings\n", findings);
	must(findings > 0);
	reopen(path);
	must(!slots[0]);
	for (unsigned i = 1; i < 200; i++)
		if (slots[i] + BLOCK_SIZE <= 8 * MiB)
			must(has_content(i, BLOCK_SIZE));
	must(!daxheap_free(heap, &slots[1]));
	daxheap_close(heap);
	must(!unlink(path));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const char *path);
	} tests[] = {{"full", full}, {"grow", grow}, {"held", held}, {"poison", poison},
		     {"truncate", truncated}};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; argc == 3 && i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run(argv[2]);
		return 0;
	}
	fputs("usage: media full|grow|held|poison|truncate POOL\n", stderr);
	return 2;
}
