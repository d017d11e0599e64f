#include "fs/store/publish/publish.h"

#include <errno.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/text.h"
#include "fs/store/pack/codec.h"
#include "pagerd/ctl/run/snapshots.h"
#include "pagerd/ctl/term/interrupt.h"
#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/progress.h"

#define THREADS_MAX 64

DEFINE_CLEANUP(store, struct store *, store_unref)

/* The command line's pairs, taken apart. */
struct request {
	struct publish_options options;
	struct publish_file *files;
	struct publish_label *labels;
	char **keys; /* all that was copied */
	unsigned int key_count;
};

static void request_release(struct request *q)
{
	for (unsigned int i = 0; i < q->key_count; i++)
		free(q->keys[i]);
	free(q->keys);
	free(q->files);
	free(q->labels);
}

static int request_allocate(struct request *q, unsigned int most)
{
	q->files = calloc(most + 1, sizeof(*q->files));
	q->labels = calloc(most + 1, sizeof(*q->labels));
	q->keys = calloc(most + 1, sizeof(*q->keys));
	return q->files && q->labels && q->keys ? 0 : -ENOMEM;
}

/* "KEY=VALUE", which the parser has checked. */
static int split(struct request *q, const char *pair, const char **ret_key,
		 const char **ret_value)
{
	const char *equals = strchr(pair, '=');
	char *key = strndup(pair, (size_t)(equals - pair));

	if (!key)
		return -ENOMEM;
	q->keys[q->key_count++] = key;
	*ret_key = key;
	*ret_value = equals + 1;
	return 0;
}

static int take_value(struct request *q, const struct invocation_value *v)
{
	struct publish_options *o = &q->options;
	struct publish_file *file = &q->files[o->file_count];
	struct publish_label *label = &q->labels[o->label_count];

	switch (v->option->id) {
	case OPTION_VMSTATE:
		*file = (struct publish_file){"vmstate", v->text};
		o->file_count++;
		return 0;
	case OPTION_ATTACH:
		o->file_count++;
		return split(q, v->text, &file->key, &file->path);
	case OPTION_LABEL:
		o->label_count++;
		return split(q, v->text, &label->key, &label->value);
	default:
		return 0;
	}
}

static int request_fill(struct request *q, const struct invocation *inv)
{
	struct publish_options *o = &q->options;
	const char *codec = parse_value(inv, OPTION_CODEC);
	int r = request_allocate(q, inv->value_count);

	for (unsigned int i = 0; r == 0 && i < inv->value_count; i++)
		r = take_value(q, &inv->values[i]);
	if (r == 0 && codec)
		r = codec_from_name(codec, &o->codec);
	o->name = inv->operands[0];
	o->memory = (struct publish_file){"memory",
					  parse_value(inv, OPTION_MEMORY)};
	o->files = q->files;
	o->labels = q->labels;
	o->parent = parse_value(inv, OPTION_BASE);
	o->threads = (unsigned int)parse_number(inv, OPTION_THREADS, 0);
	return r;
}

static int print_result(const struct invocation *inv,
			const struct publish_result *res)
{
	char size[TEXT_SIZE_MAX], stored[TEXT_SIZE_MAX];

	if (inv->json)
		return output_json(inv, publish_to_json(inv->operands[0], res));
	if (!inv->quiet)
		output_line(
			"%s: %s, %.1f %% zero; %llu new blocks, %llu shared; "
			"%s stored in %.2f s",
			inv->operands[0],
			text_size(res->pages * PAGER_PAGE_SIZE, size),
			100.0 * (double)res->zero_pages /
				(double)(res->pages ?: 1),
			(unsigned long long)res->new_blocks,
			(unsigned long long)res->shared_blocks,
			text_size(res->stored_bytes, stored), res->seconds);
	return STATUS_DONE;
}

/* The line for a failure, with what to do where only this command knows. */
static int print_failure(int r)
{
	char why[ERR_TEXT_MAX];

	if (r == -ECANCELED) {
		(void)output_error("publish",
				   err_set(r, "cancelled, nothing was "
					      "published"));
		return interrupt_status();
	}
	err_copy(r, why);
	if (r == -ENOTUNIQ)
		(void)err_set(r,
			      "%s; choose another name, or remove it with "
			      "'pagerctl rm'",
			      why);
	return output_error("publish", r);
}

static int run(const struct invocation *inv, struct request *q)
{
	struct store *s cleanup(cleanup_store) = NULL;
	struct publish_result result;
	struct progress progress;
	int r = store_open(inv->store, STORE_WRITE, &s);

	if (r < 0)
		return output_error("publish", r);
	progress_init(&progress, "publish", inv->quiet);
	q->options.progress = progress_report;
	q->options.progress_arg = &progress;
	q->options.cancelled = interrupt_watch();
	r = publish(s, &q->options, &result);
	progress_release(&progress);
	return r < 0 ? print_failure(r) : print_result(inv, &result);
}

int snapshots_publish(const struct invocation *inv)
{
	struct request q = {.options = PUBLISH_OPTIONS_INIT};
	int r, status;

	if (parse_number(inv, OPTION_THREADS, 1) - 1 >= THREADS_MAX)
		return output_usage(inv,
				    "--threads: from 1 to 64 are possible");
	r = request_fill(&q, inv);
	status = r < 0 ? output_error("publish", r) : run(inv, &q);
	request_release(&q);
	return status;
}
