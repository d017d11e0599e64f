#include "pagerd/ctl/session/show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/table.h"

#define NUMBER 32

/* A line of a section: what it is called, and where it stands. */
struct line {
	const char *label;
	const char *object; /* within the session; NULL: the session itself */
	const char *key;
};

static const struct line session_lines[] = {
	{"id", NULL, "id"},
	{"snapshot", NULL, "snapshot"},
	{"state", NULL, "state"},
	{"policy", NULL, "policy"},
	{"vmm pid", NULL, "vmm_pid"},
	{"worker", NULL, "worker"},
	{"socket", NULL, "socket_path"},
	{0},
};

static const struct line page_lines[] = {
	{"total", NULL, "pages_total"},
	{"absent", NULL, "pages_absent"},
	{"present", NULL, "pages_present"},
	{"removed", NULL, "pages_removed"},
	{"poisoned", NULL, "pages_poisoned"},
	{"in the working set", NULL, "working_set_pages"},
	{"installed ahead", "counters", "pages_prefetched"},
	{"which took, us", NULL, "prefetch_us"},
	{"by completion", "counters", "pages_completed"},
	{0},
};

static const struct line fault_lines[] = {
	{"all", NULL, "faults"},
	{"by a read", "counters", "faults_read"},
	{"by a write", "counters", "faults_write"},
	{"on absent pages", "counters", "faults_missing"},
	{"on pages given back", "counters", "faults_removed"},
	{"on pages already there", "counters", "faults_spurious"},
	{"on a page being served", "counters", "faults_joined"},
	{"of a kind not served", "counters", "faults_unserved"},
	{"outside all regions", "counters", "faults_outside"},
	{"put off by the kernel", "counters", "retries"},
	{"that failed", "counters", "failures"},
	{0},
};

static const struct line now_lines[] = {
	{"waiting", NULL, "outstanding"},
	{"of these put off", NULL, "parked"},
	{"of these stalled", NULL, "stalled"},
	{"the oldest, us", NULL, "oldest_fault_us"},
	{"blocked so far, us", NULL, "blocked_us"},
	{0},
};

static const struct {
	const char *title;
	const struct line *lines;
} sections[] = {
	{NULL, session_lines},
	{"pages", page_lines},
	{"faults", fault_lines},
	{"now", now_lines},
};

static const char *text_of(const json_t *value, char buf[NUMBER])
{
	if (json_is_string(value))
		return json_string_value(value);
	if (!json_is_integer(value))
		return "-";
	(void)snprintf(buf, NUMBER, "%lld",
		       (long long)json_integer_value(value));
	return buf;
}

static int print_section(const json_t *session, const struct line *line)
{
	struct table *t cleanup(cleanup_table) = table_new(2, 0);
	int r = t ? 0 : -ENOMEM;

	for (; r == 0 && line->label; line++) {
		const json_t *from =
			line->object ? json_object_get(session, line->object)
				     : session;
		char label[NUMBER], number[NUMBER];

		(void)snprintf(label, sizeof(label), "  %s", line->label);
		r = table_add(
			t, label,
			text_of(json_object_get(from, line->key), number));
	}
	if (r == 0)
		table_print(t, stdout);
	return r;
}

static int add_latency(struct table *t, const char *name, const json_t *faults,
		       const json_t *of)
{
	char count[NUMBER], p50[NUMBER], p99[NUMBER], p999[NUMBER];

	return table_add(t, name, text_of(faults, count),
			 text_of(json_object_get(of, "p50_us"), p50),
			 text_of(json_object_get(of, "p99_us"), p99),
			 text_of(json_object_get(of, "p999_us"), p999));
}

/* Where answers came from, and how long they took. */
static int print_sources(const json_t *session)
{
	struct table *t cleanup(cleanup_table) = table_new(5, 0x1e);
	json_t *sources = json_object_get(session, "sources");
	const json_t *counters = json_object_get(session, "counters");
	const json_t *of;
	const char *name;
	int r = t ? table_add(t, "  answered from", "FAULTS", "P50 US",
			      "P99 US", "P99.9 US")
		  : -ENOMEM;

	json_object_foreach(sources, name, of)
	{
		char label[NUMBER];

		(void)snprintf(label, sizeof(label), "  %s", name);
		if (r == 0)
			r = add_latency(t, label, json_object_get(of, "faults"),
					of);
	}
	if (r == 0)
		r = add_latency(t, "  all",
				json_object_get(counters, "resolved"), session);
	if (r == 0)
		table_print(t, stdout);
	return r;
}

static void print_activity(const json_t *session)
{
	static const char *const flags[] = {"prefetching", "completing",
					    "lingering"};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (json_is_true(json_object_get(session, flags[i])))
			output_line("  %s now", flags[i]);
}

int show_session(const json_t *session)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(sections) / sizeof(sections[0]);
	     i++) {
		output_line("%s", sections[i].title ?: "session");
		r = print_section(session, sections[i].lines);
		if (i == 0)
			print_activity(session);
	}
	if (r == 0) {
		output_line("latency");
		r = print_sources(session);
	}
	return r;
}
