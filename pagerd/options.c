#include "pagerd/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/cache/cache.h"
#include "fs/io/text.h"
#include "pager/workingset.h"
#include "pagerd/config.h"

#define CACHE_DEFAULT_MAX    (UINT64_C(1) << 30)
#define WORKERS_DEFAULT_MAX  8
#define WORKERS_MAX	     256
#define SESSIONS_MAX	     4096
#define SPIN_MAX	     1000
#define STUCK_AFTER_MAX	     86400
#define COMPLETE_AFTER_MAX   (365 * 86400)
#define OPTIONS_VALUE_ORIGIN (PATH_MAX + 32)

const struct option_row option_rows[OPTION_COUNT] = {
	[OPTION_STORE] =
		{"store", "DIR", "PAGERD_STORE", "/var/lib/pagerd",
		 "/var/lib/pagerd", "the store that snapshots are in",
		 "The store, as pagerctl init made it. pagerd reads it, and "
		 "writes the working sets that it records and what clients of "
		 "the control API publish or remove."},
	[OPTION_RUNTIME] =
		{"runtime", "DIR", "PAGERD_RUNTIME", "/run/pagerd",
		 "/run/pagerd", "where sockets and page states live",
		 "Made with mode 0711 if it is not there. It must belong to "
		 "the user that runs pagerd, and nobody else may write to it. "
		 "One daemon at a time uses one runtime directory."},
	[OPTION_MOUNT] =
		{"mount", "DIR", NULL, NULL, "none",
		 "show the snapshots as files below DIR",
		 "Mounts the store on DIR, which must be there: each "
		 "snapshot's memory and files, read-only, through the same "
		 "cache, and the daemon's figures in DIR/.pager. It is as "
		 "pagerfs(8) has it. No VM waits for its readers. What a "
		 "daemon that was killed has left mounted there is taken away "
		 "first. SIGTERM unmounts; files that are open fail with "
		 "ENOTCONN then. Needs /dev/fuse and, but for root, "
		 "fusermount3; under systemd also mount.conf, which is "
		 "installed beside openapi.yaml."},
	[OPTION_CACHE] =
		{"cache", "BYTES", NULL, NULL,
		 "an eighth of memory, at most 1G", "bound of the block cache",
		 "The hard bound of the block cache, its own bookkeeping "
		 "counted. Takes the suffixes K, M, G and T."},
	[OPTION_MEMORY_PRESSURE] =
		{"memory-pressure", "on|off", NULL, "off", "off",
		 "shrink the cache when memory is short",
		 "on: watches the kernel's pressure figures and the limit of "
		 "the control group. Where memory gets short the cache shrinks "
		 "step by step, before the kernel kills anybody, and grows "
		 "back when there is room again. Each step is logged."},
	[OPTION_FAULT_TRACE] =
		{"fault-trace", "FILE", NULL, NULL, "none",
		 "record every look-up in the cache",
		 "Records time, session, block and class of every look-up in "
		 "the block cache, up to 1 GiB, for pagerbench cache --input. "
		 "A file that is there is replaced."},
	[OPTION_IMPORT] =
		{"import", "DIR", NULL, NULL, "none",
		 "let clients name files below DIR",
		 "Files below DIR may be named by clients of the control API: "
		 "as the bytes of an overlay, or as memory that is published "
		 "when a session asks for it, for which the store must be "
		 "writable. Paths that lead out of DIR are refused, by way of "
		 "symbolic links too. May be given more than once. Nobody but "
		 "those whom you trust should be able to write to DIR."},
	[OPTION_WORKERS] =
		{"workers", "N", NULL, NULL, "twice the processors, at most 8",
		 "threads that answer page faults",
		 "How many threads answer page faults. A session belongs to "
		 "one of them. Two for each processor serve many VMs at once "
		 "better than one: where one has to make room for the VMs "
		 "that it has just answered, the other goes on."},
	[OPTION_NEIGHBOURS] =
		{"neighbours", "on|off", NULL, "on", "on",
		 "install cached pages beside a faulting one",
		 "on: with the page that a VM waits for, those of the same 64 "
		 "KiB are installed that are in the cache already. That spares "
		 "most faults of a VM whose like ran before, and may install "
		 "pages that it never uses."},
	[OPTION_SPIN] =
		{"spin", "MICROSECONDS", NULL, "50", "50",
		 "how long a worker looks on before it sleeps",
		 "For 2 seconds after a VM has connected, a worker that has "
		 "nothing to do looks for faults for so long before it sleeps, "
		 "which makes each answer quicker and takes processor time. It "
		 "does not where VMs need the processors themselves. 0 never "
		 "does."},
	[OPTION_MAX_SESSIONS] =
		{"max-sessions", "N", NULL, "1024", "1024",
		 "sessions at the same time",
		 "How many sessions there may be at the same time, those that "
		 "wait for their VM counted. One more is refused."},
	[OPTION_STUCK_AFTER] =
		{"stuck-after", "SECONDS", NULL, "5", "5",
		 "age of a fault that makes health fail",
		 "A page fault that is not answered for so long makes the "
		 "daemon's health \"unhealthy\", which names the session."},
	[OPTION_RECORD_SECONDS] =
		{"record-seconds", "SECONDS", NULL, "10", "10",
		 "how long a working set is recorded",
		 "For so long after a VM has connected its first touches are "
		 "noted as the working set of its snapshot, which later "
		 "restores have installed ahead of the guest."},
	[OPTION_RECORD_PAGES] = {"record-pages", "N", NULL, "65536", "65536",
				 "the most pages of a working set",
				 "How many pages a working set may have."},
	[OPTION_COMPLETE_AFTER] =
		{"complete-after", "SECONDS", NULL, "0", "0: never",
		 "age at which sessions are completed",
		 "A session whose VM has run for so long is completed: all "
		 "that is absent is installed in the background, and the VM "
		 "goes on without the daemon. 0 leaves that to the operator."},
	[OPTION_COMPLETE_PARALLEL] =
		{"complete-parallel", "N", NULL, "2", "2",
		 "sessions completed at the same time",
		 "How many sessions are completed at the same time by "
		 "complete-after."},
	[OPTION_COMPLETE_RATE] =
		{"complete-rate", "BYTES", NULL, "64M", "64M",
		 "bytes a second of each of these",
		 "How many bytes a second are installed in each session that "
		 "is completed by complete-after. 0 is no limit."},
	[OPTION_SANDBOX] =
		{"sandbox", "on|off", NULL, "on", "on",
		 "keep few system calls and capabilities",
		 "on: once it runs, the daemon drops the capabilities that it "
		 "does not need and lets the kernel refuse every system call "
		 "that is none of its own. Where the kernel cannot, a warning "
		 "says so. For an ordinary user with --mount it is off, since "
		 "to unmount then takes another program."},
	[OPTION_LOG_LEVEL] =
		{"log-level", "LEVEL", NULL, "info", "info",
		 "error, warn, info or debug",
		 "The least urgent lines that are logged: error, warn, info "
		 "or debug."},
	[OPTION_EXIT_WHEN_DRAINED] =
		{"exit-when-drained", NULL, NULL, NULL, NULL,
		 "end when drained and without a session",
		 "Ends the daemon once it drains (pagerctl drain) and its last "
		 "session is gone: for versions that run side by side."},
	[OPTION_CONFIG] =
		{"config", "FILE", NULL, NULL, "none",
		 "read further options from FILE",
		 "Reads options from FILE, see CONFIGURATION FILE below. What "
		 "stands on the command line wins."},
	[OPTION_HELP] = {"help", NULL, NULL, NULL, NULL, "print this and exit",
			 "Prints the options and exits."},
	[OPTION_VERSION] = {"version", NULL, NULL, NULL, NULL,
			    "print the version and exit",
			    "Prints the version and exits."},
};

const struct option_signal option_signals[OPTION_SIGNAL_COUNT] = {
	{"SIGTERM, SIGINT", "end, and leave VMs to the next daemon",
	 "New sessions are refused, and the daemon exits 0 at once. The next "
	 "one on the runtime directory takes its sessions over; until then "
	 "the VMs wait where they touch memory that is not there yet. Only "
	 "while the daemon alone holds a VM's userfaultfd it waits for that "
	 "VM, and logs so. No VM is hurt."},
	{"SIGQUIT", "end now, by each session's policy",
	 "Every session is closed by its policy, which with the default kills "
	 "its VM, and the daemon exits 0. A session whose VM cannot be ended, "
	 "as with the policy stall, is still waited for."},
};

/* A value as text, and where it stands: "--cache" or "FILE:3: cache". */
struct value {
	char *text;
	char *origin;
};

struct values {
	struct value of[OPTION_COUNT];
};

static void values_release(struct values *v)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		free(v->of[i].text);
		free(v->of[i].origin);
	}
}

static bool is_list(int id)
{
	return id == OPTION_IMPORT;
}

/*
 * The first place that has a value wins; of a repeated one in it the last, or
 * for a list all, a line each.
 */
static int set_value(struct values *values, int id, const char *text,
		     const char *origin)
{
	struct value *v = &values->of[id];
	_cleanup_free_ char *origin_copy = strdup(origin);
	_cleanup_free_ char *text_copy = NULL;

	if (!is_list(id) || !v->text)
		text_copy = strdup(text);
	else if (asprintf(&text_copy, "%s\n%s", v->text, text) < 0)
		text_copy = NULL;
	if (!text_copy || !origin_copy)
		return -ENOMEM;
	free(v->text);
	free(v->origin);
	*v = (struct value){steal_ptr(text_copy), steal_ptr(origin_copy)};
	return 0;
}

static void fill_long_options(struct option *longs)
{
	for (int i = 0; i < OPTION_COUNT; i++)
		longs[i] = (struct option){
			.name = option_rows[i].name,
			.has_arg = option_rows[i].argument ? required_argument
							   : no_argument,
			.val = i,
		};
	longs[OPTION_COUNT] = (struct option){0};
}

/* A short option stands in optopt, a long one is the argument before optind. */
static int wrong_argument(int c, char **argv)
{
	const char letter[] = {'-', (char)optopt, '\0'};
	const char *what = isgraph(optopt) ? letter : argv[optind - 1];

	return err_set(-EINVAL,
		       c == ':' ? "%s: wants a value; see pagerd --help"
				: "%s: no such option; see pagerd --help",
		       what);
}

static int read_arguments(int argc, char **argv, struct values *v)
{
	struct option longs[OPTION_COUNT + 1];
	char origin[64];
	int c, r;

	fill_long_options(longs);
	optind = 0; /* glibc: begin anew, also in a second call */
	while ((c = getopt_long(argc, argv, "+:", longs, NULL)) != -1) {
		if (c < 0 || c >= OPTION_COUNT)
			return wrong_argument(c, argv);
		(void)snprintf(origin, sizeof(origin), "--%s",
			       option_rows[c].name);
		r = set_value(v, c, optarg ?: "", origin);
		if (r < 0)
			return r;
	}
	if (optind < argc)
		return err_set(-EINVAL,
			       "%s: pagerd takes options only; see pagerd "
			       "--help",
			       argv[optind]);
	return 0;
}

static int set_from_file(void *ctx, const char *key, const char *value,
			 const char *origin)
{
	char what[OPTIONS_VALUE_ORIGIN + 64];
	struct values *v = ctx;

	for (int i = 0; i < OPTION_COUNT; i++) {
		if (strcmp(key, option_rows[i].name) != 0)
			continue;
		if (!option_rows[i].argument || i == OPTION_CONFIG)
			break;
		(void)snprintf(what, sizeof(what), "%s: %s", origin, key);
		return set_value(v, i, value, what);
	}
	return err_set(-EINVAL, "%s: %s: no such option in a file", origin,
		       key);
}

static int read_file(const char *path, struct values *v)
{
	struct values file = {0};
	int r = config_read(path, set_from_file, &file);

	for (int i = 0; r == 0 && i < OPTION_COUNT; i++)
		if (!v->of[i].text) {
			v->of[i] = file.of[i];
			file.of[i] = (struct value){0};
		}
	values_release(&file);
	return r;
}

static int fill_in(struct values *v)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];
		const char *env = row->env ? getenv(row->env) : NULL;
		int r = 0;

		if (v->of[i].text)
			continue;
		if (env && *env)
			r = set_value(v, i, env, row->env);
		else if (row->fallback)
			r = set_value(v, i, row->fallback, row->name);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_number(const struct value *v, uint64_t least, uint64_t most,
			uint64_t *ret_number)
{
	uint64_t number;
	int r = text_parse_u64(v->text, &number);

	if (r < 0 || number < least || number > most)
		return err_set(-EINVAL,
			       "%s: '%s' is no number from %llu to %llu",
			       v->origin, v->text, (unsigned long long)least,
			       (unsigned long long)most);
	*ret_number = number;
	return 0;
}

static int parse_count(const struct value *v, unsigned int most,
		       unsigned int *ret_count)
{
	uint64_t count = 0;
	int r = parse_number(v, 1, most, &count);

	if (r < 0)
		return r;
	*ret_count = (unsigned int)count;
	return 0;
}

static int parse_cache(const struct value *v, uint64_t *ret_bytes)
{
	uint64_t pages, bytes = 0;

	if (!v->text) {
		pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
		bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE) / 8;
		*ret_bytes = bytes < CACHE_DEFAULT_MAX ? bytes
						       : CACHE_DEFAULT_MAX;
		return 0;
	}
	if (text_parse_size(v->text, &bytes) < 0)
		return err_set(-EINVAL, "%s: '%s' is no size such as 512M",
			       v->origin, v->text);
	if (bytes < CACHE_LIMIT_MIN)
		return err_set(-EINVAL, "%s: '%s' is less than 1M", v->origin,
			       v->text);
	*ret_bytes = bytes;
	return 0;
}

static int parse_workers(const struct value *v, unsigned int *ret_workers)
{
	long processors;

	if (v->text)
		return parse_count(v, WORKERS_MAX, ret_workers);
	processors = sysconf(_SC_NPROCESSORS_ONLN);
	if (processors < 1)
		processors = 1;
	*ret_workers = processors < WORKERS_DEFAULT_MAX / 2
			       ? 2 * (unsigned int)processors
			       : WORKERS_DEFAULT_MAX;
	return 0;
}

static int parse_level(const struct value *v, enum log_level *ret_level)
{
	static const char *const names[] = {
		[LOG_LEVEL_ERROR] = "error",
		[LOG_LEVEL_WARN] = "warn",
		[LOG_LEVEL_INFO] = "info",
		[LOG_LEVEL_DEBUG] = "debug",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(v->text, names[i]) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	return err_set(-EINVAL, "%s: '%s' is not error, warn, info or debug",
		       v->origin, v->text);
}

static int parse_switch(const struct value *v, bool *ret_on)
{
	bool on = strcmp(v->text, "on") == 0;

	if (!on && strcmp(v->text, "off") != 0)
		return err_set(-EINVAL, "%s: '%s' is not on or off", v->origin,
			       v->text);
	*ret_on = on;
	return 0;
}

static int parse_folder(struct value *v, char **ret_path)
{
	if (v->text[0] == '\0')
		return err_set(-EINVAL, "%s: the path is empty", v->origin);
	*ret_path = steal_ptr(v->text);
	return 0;
}

/* Takes the text, and cuts it up. */
static int parse_imports(struct value *v, struct options *o)
{
	size_t lines = 1;
	char *at = v->text;

	if (!at)
		return 0;
	for (const char *c = at; *c; c++)
		lines += *c == '\n';
	o->imports = calloc(lines + 1, sizeof(*o->imports));
	if (!o->imports)
		return -ENOMEM;
	while (at) {
		const char *folder = strsep(&at, "\n");

		if (folder[0] == '\0')
			return err_set(-EINVAL, "%s: the path is empty",
				       v->origin);
		o->imports[o->import_count] = strdup(folder);
		if (!o->imports[o->import_count++])
			return -ENOMEM;
	}
	return 0;
}

static int parse_rate(const struct value *v, uint64_t *ret_rate)
{
	if (text_parse_size(v->text, ret_rate) < 0)
		return err_set(-EINVAL, "%s: '%s' is no size such as 64M",
			       v->origin, v->text);
	return 0;
}

/* What is done before a guest asks for it. */
static int convert_ahead(struct values *v, struct options *o)
{
	uint64_t record = 0, age = 0;
	int r;

	if ((r = parse_number(&v->of[OPTION_RECORD_SECONDS], 1, STUCK_AFTER_MAX,
			      &record)) < 0 ||
	    (r = parse_count(&v->of[OPTION_RECORD_PAGES],
			     PAGER_WORKINGSET_ENTRIES_MAX, &o->record_pages)) <
		    0 ||
	    (r = parse_number(&v->of[OPTION_COMPLETE_AFTER], 0,
			      COMPLETE_AFTER_MAX, &age)) < 0 ||
	    (r = parse_count(&v->of[OPTION_COMPLETE_PARALLEL], SESSIONS_MAX,
			     &o->complete_parallel)) < 0 ||
	    (r = parse_rate(&v->of[OPTION_COMPLETE_RATE], &o->complete_rate)) <
		    0)
		return r;
	o->record_ns = record * 1000000000;
	o->complete_age_ns = age * 1000000000;
	return 0;
}

static int convert(struct values *v, struct options *o)
{
	uint64_t seconds = 0, spin = 0;
	int r;

	if ((r = parse_folder(&v->of[OPTION_STORE], &o->store)) < 0 ||
	    (r = parse_folder(&v->of[OPTION_RUNTIME], &o->runtime)) < 0 ||
	    (r = parse_imports(&v->of[OPTION_IMPORT], o)) < 0 ||
	    (r = parse_cache(&v->of[OPTION_CACHE], &o->cache_bytes)) < 0 ||
	    (r = parse_switch(&v->of[OPTION_MEMORY_PRESSURE],
			      &o->memory_pressure)) < 0 ||
	    (r = parse_workers(&v->of[OPTION_WORKERS], &o->workers)) < 0 ||
	    (r = parse_number(&v->of[OPTION_SPIN], 0, SPIN_MAX, &spin)) < 0 ||
	    (r = parse_switch(&v->of[OPTION_NEIGHBOURS], &o->neighbours)) < 0 ||
	    (r = parse_count(&v->of[OPTION_MAX_SESSIONS], SESSIONS_MAX,
			     &o->max_sessions)) < 0 ||
	    (r = parse_number(&v->of[OPTION_STUCK_AFTER], 1, STUCK_AFTER_MAX,
			      &seconds)) < 0 ||
	    (r = parse_switch(&v->of[OPTION_SANDBOX], &o->sandbox)) < 0 ||
	    (r = parse_level(&v->of[OPTION_LOG_LEVEL], &o->log_level)) < 0)
		return r;
	o->stuck_after_ns = seconds * 1000000000;
	o->spin_ns = spin * 1000;
	r = convert_ahead(v, o);
	if (r < 0)
		return r;
	o->exit_when_drained = v->of[OPTION_EXIT_WHEN_DRAINED].text;
	o->config = steal_ptr(v->of[OPTION_CONFIG].text);
	o->fault_trace = steal_ptr(v->of[OPTION_FAULT_TRACE].text);
	return v->of[OPTION_MOUNT].text
		       ? parse_folder(&v->of[OPTION_MOUNT], &o->mount)
		       : 0;
}

static int parse_into(int argc, char **argv, struct values *v,
		      struct options *o)
{
	int r = read_arguments(argc, argv, v);

	if (r < 0)
		return r;
	o->help = v->of[OPTION_HELP].text;
	o->version = v->of[OPTION_VERSION].text;
	if (o->help || o->version)
		return 0;
	if (v->of[OPTION_CONFIG].text) {
		r = read_file(v->of[OPTION_CONFIG].text, v);
		if (r < 0)
			return r;
	}
	r = fill_in(v);
	if (r < 0)
		return r;
	return convert(v, o);
}

int options_parse(int argc, char **argv, struct options *ret_options)
{
	struct options o = {0};
	struct values v = {0};
	int r = parse_into(argc, argv, &v, &o);

	values_release(&v);
	if (r < 0) {
		options_release(&o);
		return r;
	}
	*ret_options = o;
	return 0;
}

void options_release(struct options *o)
{
	free(o->store);
	free(o->runtime);
	free(o->mount);
	free(o->config);
	free(o->fault_trace);
	for (unsigned int i = 0; i < o->import_count; i++)
		free(o->imports[i]);
	free(o->imports);
	*o = (struct options){0};
}

void options_print_help(FILE *out)
{
	(void)fputs("Usage: pagerd [OPTION]...\n\n"
		    "Pages the memory of virtual machines in from snapshots, "
		    "in the foreground.\n\nOptions:\n",
		    out);
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_row *row = &option_rows[i];
		char name[32];

		(void)snprintf(name, sizeof(name), "--%s%s%s", row->name,
			       row->argument ? " " : "", row->argument ?: "");
		(void)fprintf(out, "  %-24s %s\n", name, row->help);
		if (row->shown)
			(void)fprintf(out, "  %-24s (default: %s)\n", "",
				      row->shown);
	}
	(void)fputs("\nSignals:\n", out);
	for (int i = 0; i < OPTION_SIGNAL_COUNT; i++)
		(void)fprintf(out, "  %-24s %s\n", option_signals[i].name,
			      option_signals[i].help);
	(void)fputs("\nThe configuration file has a line \"key = value\" for "
		    "an option, e.g. cache = 2G.\n"
		    "See pagerd(8) and pagerctl(1).\n",
		    out);
}
