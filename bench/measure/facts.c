/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <daxheap.h>

#include "bench.h"
#include "facts.h"
#include "scratch.h"
#include "timer.h"

#define HYPERVISOR_LEAF 0x40000000u

const char *facts_accelerator(void)
{
#ifdef __x86_64__
	static char name[13];
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 31))
		return "none";
	__cpuid(HYPERVISOR_LEAF, a, b, c, d);
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
	if (!strncmp(name, "TCG", 3))
		return "TCG";
	if (!strncmp(name, "KVM", 3))
		return "KVM";
	return name[0] ? name : "unnamed";
#else
	return "unknown";
#endif
}

/* The first line of a file; "" if it is not to be read. */
static const char *first_line(const char *path)
{
	static char line[256];
	FILE *file = fopen(path, "re");

	line[0] = '\0';
	if (file && fgets(line, sizeof(line), file))
		line[strcspn(line, "\n")] = '\0';
	if (file)
		fclose(file);
	return line;
}

/* Of "always [madvise] never" what is in brackets. */
static const char *chosen(const char *path)
{
	static char word[32];
	const char *line = first_line(path), *from = strchr(line, '[');

	snprintf(word, sizeof(word), "%.*s", from ? (int)strcspn(from + 1, "]") : 0,
		 from ? from + 1 : "");
	return word;
}

/* Those that this process may run on: the first ones of them are what threads are pinned to. */
static void add_allowed_cpus(struct json_object *facts)
{
	static const char key[] = "Cpus_allowed_list:";
	FILE *file = fopen("/proc/self/status", "re");
	char line[4096];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)))
			continue;
		line[strcspn(line, "\n")] = '\0';
		report_add_string(facts, "cpus_allowed",
				  line + strlen(key) + strspn(line + strlen(key), " \t"));
		break;
	}
	if (file)
		fclose(file);
}

static void add_cpu(struct json_object *facts)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	const char *governor;
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "model name", 10) || !strchr(line, ':'))
			continue;
		line[strcspn(line, "\n")] = '\0';
		report_add_string(facts, "cpu", strchr(line, ':') + 2);
		break;
	}
	if (file)
		fclose(file);
	json_object_object_add(facts, "cpus", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	add_allowed_cpus(facts);
	governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
	report_add_string(facts, "governor", governor[0] ? governor : "none");
}

/* The node that the device's memory is on; "-1" or "": there is none. */
static void add_numa_node(struct json_object *facts, const struct daxheap_place *place)
{
	char path[128];

	if (!strcmp(place->fs_type, "devdax"))
		snprintf(path, sizeof(path), "/sys/bus/dax/devices/%s/numa_node",
			 place->block_device);
	else
		snprintf(path, sizeof(path), "/sys/class/block/%s/device/numa_node",
			 place->block_device);
	report_add_string(facts, "numa_node", place->block_device[0] ? first_line(path) : "");
}

static void add_place(struct json_object *facts, const char *path)
{
	struct daxheap_place place;

	if (daxheap_get_place(path, &place))
		die("%s", daxheap_errormsg());
	report_add_string(facts, "file_system", place.fs_type);
	report_add_string(facts, "mount_options", place.mount_options);
	report_add_string(facts, "block_device", place.block_device);
	report_add_string(facts, "persistence_domain", place.persistence_domain);
	add_numa_node(facts, &place);
	json_object_object_add(facts, "dax", json_object_new_boolean(scratch_is_dax(path)));
}

static void add_timer(struct json_object *facts)
{
	struct json_object *object = json_object_new_object();

	report_add_string(object, "source", timer.tsc ? "rdtscp" : "clock_gettime");
	report_add_string(object, "why", timer.why);
	report_add_number(object, "cost_ns", timer.cost_ns);
	report_add_number(object, "step_ns", timer.step_ns);
	report_add_number(object, "rdtscp_ns", timer.tsc_cost_ns);
	report_add_number(object, "clock_gettime_ns", timer.clock_cost_ns);
	json_object_object_add(facts, "timer", object);
}

struct json_object *facts_new(const char *path)
{
	struct json_object *facts = json_object_new_object();
	const time_t now = time(NULL);
	struct utsname name;
	char date[32];

	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	uname(&name);
	report_add_string(facts, "date", date);
	report_add_string(facts, "version", daxheap_version());
	report_add_string(facts, "kernel", name.release);
	report_add_string(facts, "accelerator", facts_accelerator());
	add_cpu(facts);
	report_add_string(facts, "thp",
			  chosen("/sys/kernel/mm/transparent_hugepage/enabled"));
	report_add_string(facts, "thp_shmem",
			  chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"));
	report_add_string(facts, "load", first_line("/proc/loadavg"));
	if (path)
		add_place(facts, path);
	add_timer(facts);
	return facts;
}

const char *facts_get(struct json_object *facts, const char *key)
{
	struct json_object *value;

	/* JSON's null has no text. */
	if (!json_object_object_get_ex(facts, key, &value) || !value)
		return "";
	return json_object_get_string(value);
}

bool facts_emulated(struct json_object *facts)
{
	return !strcmp(facts_get(facts, "accelerator"), "TCG");
}

void facts_print(struct json_object *facts)
{
	struct json_object *timer_facts, *cost, *step;

	printf("Linux %s, %s, %s CPUs, accelerator %s, governor %s\n", facts_get(facts, "kernel"),
	       facts_get(facts, "cpu"), facts_get(facts, "cpus"), facts_get(facts, "accelerator"),
	       facts_get(facts, "governor"));
	if (facts_get(facts, "file_system")[0])
		printf("%s (%s) on %s, DAX: %s, huge pages: %s, of tmpfs: %s\n",
		       facts_get(facts, "file_system"), facts_get(facts, "mount_options"),
		       facts_get(facts, "block_device")[0] ? facts_get(facts, "block_device") :
							     "no device",
		       !strcmp(facts_get(facts, "dax"), "true") ? "yes" : "no",
		       facts_get(facts, "thp"), facts_get(facts, "thp_shmem"));
	if (json_object_object_get_ex(facts, "timer", &timer_facts) &&
	    json_object_object_get_ex(timer_facts, "cost_ns", &cost) &&
	    json_object_object_get_ex(timer_facts, "step_ns", &step))
		printf("Time by %s; a pair of stamps takes %.0f ns, two differ by %.2g ns or more\n",
		       facts_get(timer_facts, "source"), json_object_get_double(cost),
		       json_object_get_double(step));
	if (facts_emulated(facts))
		puts("THE CPU IS EMULATED (TCG): times mean something within one table alone.");
}
