#include "pagerd/ctl/run/cacheshow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/err.h"
#include "fs/io/text.h"
#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/table.h"

#define PLOT_ROWS      10
#define PLOT_COLUMN    8
#define NUMBER_WIDTH   24
#define EVICTION_WIDTH 64

DEFINE_CLEANUP(json, json_t *, json_decref)

static uint64_t number(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "-";
}

static const char *count(const json_t *object, const char *key,
			 char buf[NUMBER_WIDTH])
{
	(void)snprintf(buf, NUMBER_WIDTH, "%llu",
		       (unsigned long long)number(object, key));
	return buf;
}

static void show(const struct table *t)
{
	(void)fputc('\n', stdout);
	table_print(t, stdout);
}

/* "12 s ago, unused for 340 s" */
static const char *eviction(const json_t *object, char buf[EVICTION_WIDTH])
{
	const json_t *last = json_object_get(object, "last_eviction");

	if (!json_is_object(last))
		return "-";
	(void)snprintf(buf, EVICTION_WIDTH, "%llu s ago, unused for %llu s",
		       (unsigned long long)number(last, "seconds_ago"),
		       (unsigned long long)number(last, "unused_seconds"));
	return buf;
}

static int add_lookups(struct table *t, const char *name, const json_t *c)
{
	char cells[7][NUMBER_WIDTH];

	return table_add(
		t, name, count(c, "hits", cells[0]),
		count(c, "misses", cells[1]), count(c, "waits", cells[2]),
		count(c, "inserts", cells[3]), count(c, "ghost_hits", cells[4]),
		count(c, "blocks", cells[5]), count(c, "pinned", cells[6]));
}

static int add_evictions(struct table *t, const char *name, const json_t *c)
{
	char cells[3][NUMBER_WIDTH], last[EVICTION_WIDTH];

	return table_add(t, name, count(c, "evictions", cells[0]),
			 count(c, "evictions_unused", cells[1]),
			 count(c, "evictions_active", cells[2]),
			 eviction(c, last));
}

/* One row a class, and one of them all. */
static int print_by_class(struct table *t, const json_t *stats,
			  int (*add)(struct table *t, const char *name,
				     const json_t *c))
{
	json_t *classes = json_object_get(stats, "classes"), *c;
	const char *name;
	int r = 0;

	json_object_foreach(classes, name, c) if (r == 0) r = add(t, name, c);
	if (r == 0)
		r = add(t, "all", stats);
	if (r == 0)
		show(t);
	return r;
}

static int print_lookups(const json_t *stats)
{
	struct table *t cleanup(cleanup_table) = table_new(8, 0xfe);
	int r = t ? table_add(t, "CLASS", "HITS", "MISSES", "WAITS", "INSERTS",
			      "GHOST-HITS", "BLOCKS", "IN-USE")
		  : -ENOMEM;

	return r < 0 ? r : print_by_class(t, stats, add_lookups);
}

static int print_evictions(const json_t *stats)
{
	struct table *t cleanup(cleanup_table) = table_new(5, 0xe);
	int r = t ? table_add(t, "CLASS", "EVICTED", "NEVER-HIT", "ACTIVE",
			      "LAST")
		  : -ENOMEM;

	return r < 0 ? r : print_by_class(t, stats, add_evictions);
}

static int add_size(struct table *t, const char *name, uint64_t bytes)
{
	char size[TEXT_SIZE_MAX];

	return table_add(t, name, text_size(bytes, size));
}

static int print_memory(const json_t *stats)
{
	struct table *t cleanup(cleanup_table) = table_new(2, 0x2);
	json_t *memory = json_object_get(stats, "memory"), *bytes;
	const char *name;
	int r = t ? table_add(t, "MEMORY", "SIZE") : -ENOMEM;

	json_object_foreach(memory, name, bytes) if (r == 0)
		r = add_size(t, name, number(memory, name));
	if (r == 0)
		r = add_size(t, "all", number(stats, "bytes"));
	if (r == 0)
		r = add_size(t, "limit", number(stats, "limit"));
	if (r == 0)
		show(t);
	return r;
}

static int add_step(struct table *t, const json_t *step)
{
	char below[NUMBER_WIDTH] = "longer", reads[NUMBER_WIDTH];

	if (json_is_number(json_object_get(step, "below_us")))
		(void)snprintf(below, sizeof(below), "< %.0f us",
			       real(step, "below_us"));
	return table_add(t, below, count(step, "reads", reads));
}

static int print_reads(const json_t *steps)
{
	struct table *t cleanup(cleanup_table) = table_new(2, 0x3);
	const json_t *step;
	size_t i;
	int r = t ? table_add(t, "READ-TIME", "READS") : -ENOMEM;

	json_array_foreach(steps, i, step)
	{
		if (r == 0 && number(step, "reads"))
			r = add_step(t, step);
	}
	if (r == 0)
		show(t);
	return r;
}

static int print_pins(const json_t *pins)
{
	struct table *t cleanup(cleanup_table) = table_new(4, 0xe);
	char cells[2][NUMBER_WIDTH], size[TEXT_SIZE_MAX];
	const json_t *p;
	size_t i;
	int r = t ? table_add(t, "PINNED", "BLOCKS", "HELD", "SIZE") : -ENOMEM;

	json_array_foreach(pins, i, p)
	{
		if (r == 0)
			r = table_add(t, text(p, "snapshot"),
				      count(p, "blocks", cells[0]),
				      count(p, "held", cells[1]),
				      text_size(number(p, "bytes"), size));
	}
	if (r == 0 && i)
		show(t);
	return r;
}

static int print_jobs(const json_t *jobs)
{
	struct table *t cleanup(cleanup_table) = table_new(7, 0x31);
	char cells[3][NUMBER_WIDTH];
	const json_t *j;
	size_t i;
	int r = t ? table_add(t, "JOB", "KIND", "SNAPSHOT", "STATE", "BLOCKS",
			      "DONE", "ERROR")
		  : -ENOMEM;

	json_array_foreach(jobs, i, j)
	{
		if (r == 0)
			r = table_add(
				t, count(j, "id", cells[0]), text(j, "kind"),
				text(j, "snapshot"), text(j, "state"),
				count(j, "blocks", cells[1]),
				count(j, "done", cells[2]), text(j, "error"));
	}
	if (r == 0 && i)
		show(t);
	return r;
}

static int print_snapshots(const json_t *snapshots)
{
	struct table *t cleanup(cleanup_table) = table_new(3, 0x6);
	char cell[NUMBER_WIDTH], size[TEXT_SIZE_MAX];
	const json_t *s;
	size_t i;
	int r = t ? table_add(t, "SNAPSHOT", "BLOCKS", "SIZE") : -ENOMEM;

	json_array_foreach(snapshots, i, s)
	{
		if (r == 0)
			r = table_add(t, text(s, "snapshot"),
				      count(s, "blocks", cell),
				      text_size(number(s, "bytes"), size));
	}
	if (r == 0 && i)
		show(t);
	return r;
}

/* What the tables tell. */
static const char *const told[] = {
	"bytes",
	"limit",
	"memory",
	"hits",
	"misses",
	"waits",
	"inserts",
	"evictions",
	"evictions_unused",
	"evictions_active",
	"ghost_hits",
	"blocks",
	"pinned",
	"classes",
	"last_eviction",
	"read_latency",
	"pins",
	"jobs",
	"snapshots",
};

static int print_tables(const json_t *stats)
{
	int r = print_memory(stats);

	if (r == 0)
		r = print_lookups(stats);
	if (r == 0)
		r = print_evictions(stats);
	if (r == 0 && number(stats, "inserts"))
		r = print_reads(json_object_get(stats, "read_latency"));
	if (r == 0)
		r = print_pins(json_object_get(stats, "pins"));
	if (r == 0)
		r = print_jobs(json_object_get(stats, "jobs"));
	if (r == 0)
		r = print_snapshots(json_object_get(stats, "snapshots"));
	return r;
}

int cacheshow_stats(const struct invocation *inv, const json_t *stats)
{
	json_t *rest cleanup(cleanup_json) = json_copy((json_t *)stats);
	int r = STATUS_DONE;

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		(void)json_object_del(rest, told[i]);
	r = output_fields(inv, rest);
	if (r != STATUS_DONE || inv->quiet)
		return r;
	r = print_tables(stats);
	return r < 0 ? output_error(inv->command->name, r) : STATUS_DONE;
}

static int add_point(struct table *t, const json_t *p)
{
	char scale[NUMBER_WIDTH], all[NUMBER_WIDTH], faults[NUMBER_WIDTH];
	char size[TEXT_SIZE_MAX];

	(void)snprintf(scale, sizeof(scale), "%.2f", real(p, "scale"));
	(void)snprintf(all, sizeof(all), "%.1f %%", real(p, "hit_ratio") * 100);
	(void)snprintf(faults, sizeof(faults), "%.1f %%",
		       real(p, "fault_hit_ratio") * 100);
	return table_add(t, scale, text_size(number(p, "bytes"), size), all,
			 faults);
}

static int print_points(const json_t *points)
{
	struct table *t cleanup(cleanup_table) = table_new(4, 0xf);
	const json_t *p;
	size_t i;
	int r = t ? table_add(t, "TIMES", "SIZE", "HITS", "FAULT-HITS")
		  : -ENOMEM;

	json_array_foreach(points, i, p)
	{
		if (r == 0)
			r = add_point(t, p);
	}
	if (r == 0)
		table_print(t, stdout);
	return r;
}

/* "#####" where the ratio reaches the row, else spaces. */
static void plot_row(const json_t *points, int row)
{
	char line[80] = "";
	size_t i, at;
	const json_t *p;

	at = (size_t)snprintf(line, sizeof(line), "%3d %% |",
			      row * 100 / PLOT_ROWS);
	json_array_foreach(points, i, p)
	{
		bool full = real(p, "hit_ratio") * PLOT_ROWS >= row - 0.5;

		if (at + PLOT_COLUMN < sizeof(line))
			at += (size_t)snprintf(line + at, sizeof(line) - at,
					       "  %s  ",
					       full ? "####" : "    ");
	}
	(void)printf("%s\n", line);
}

static void plot(const json_t *points)
{
	const json_t *p;
	size_t i;

	(void)fputc('\n', stdout);
	for (int row = PLOT_ROWS; row > 0; row--)
		plot_row(points, row);
	(void)printf("  0 %% +");
	json_array_foreach(points, i, p)(void) printf("--------");
	(void)printf("\n       ");
	json_array_foreach(points, i, p)
	{
		(void)printf(" %5.2fx ", real(p, "scale"));
	}
	(void)fputc('\n', stdout);
}

int cacheshow_curve(const struct invocation *inv, const json_t *curve)
{
	const json_t *points = json_object_get(curve, "points");
	int r = print_points(points);

	if (r < 0)
		return output_error(inv->command->name, r);
	if (inv->quiet)
		return STATUS_DONE;
	plot(points);
	output_line("from %llu lookups, of which %llu were sampled",
		    (unsigned long long)number(curve, "lookups"),
		    (unsigned long long)number(curve, "sampled_lookups"));
	return STATUS_DONE;
}
