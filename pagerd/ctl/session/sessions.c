#include "pagerd/ctl/session/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/io/base64.h"
#include "fs/io/file.h"
#include "fs/io/text.h"
#include "pagerd/client/http.h"
#include "pagerd/ctl/run/service.h"
#include "pagerd/ctl/session/show.h"
#include "pagerd/ctl/term/output.h"
#include "pagerd/ctl/term/table.h"

/* Of all overlays: as base64 within a body, which may have 1 MiB. */
#define INLINE_MAX ((size_t)700 << 10)

DEFINE_CLEANUP(json, json_t *, json_decref)

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "-";
}

/* "17", or "-" where there is no such number. */
static const char *number_of(const json_t *object, const char *key,
			     char buf[24])
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		return "-";
	(void)snprintf(buf, 24, "%lld", (long long)json_integer_value(value));
	return buf;
}

static int set_number(json_t *body, const struct invocation *inv,
		      enum option_id id, const char *key)
{
	if (parse_count(inv, id) == 0)
		return 0;
	return json_object_set_new(
		body, key, json_integer((json_int_t)parse_number(inv, id, 0)));
}

/* The daemon may have another working directory. */
static int add_path(json_t *list, uint64_t at, const char *file)
{
	_cleanup_free_ char *path = realpath(file, NULL);

	if (!path)
		return err_set(-errno, "%s: %m", file);
	return json_array_append_new(list,
				     json_pack("{s:I, s:s}", "offset",
					       (json_int_t)at, "path", path));
}

/*
 * What fits a request goes with it, read with the caller's rights; what does
 * not, the daemon reads, where its operator has allowed that.
 */
static int add_bytes(json_t *list, uint64_t at, const char *file,
		     size_t *inline_left)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = file_read_all(AT_FDCWD, file, *inline_left, &bytes, &len);

	if (r == -EFBIG)
		return add_path(list, at, file);
	if (r < 0)
		return err_set(r, "%s: %s", file,
			       r == -EINVAL ? "no regular file"
					    : strerrordesc_np(-r));
	*inline_left -= len;
	text = base64_encode(bytes, len);
	if (!text)
		return -ENOMEM;
	return json_array_append_new(list, json_pack("{s:I, s:s}", "offset",
						     (json_int_t)at,
						     "data_base64", text));
}

static int add_overlay(json_t *list, const char *text, size_t *inline_left)
{
	const char *equals = strchr(text, '=');
	_cleanup_free_ char *offset = strndup(text, (size_t)(equals - text));
	uint64_t at;

	if (!offset)
		return -ENOMEM;
	if (text_parse_size(offset, &at) < 0)
		return err_set(-EINVAL, "--overlay: '%s' is no offset", offset);
	return add_bytes(list, at, equals + 1, inline_left);
}

static int set_overlays(json_t *body, const struct invocation *inv)
{
	json_t *list cleanup(cleanup_json) = json_array();
	size_t inline_left = INLINE_MAX;

	if (parse_count(inv, OPTION_OVERLAY) == 0)
		return 0;
	for (unsigned int i = 0; i < inv->value_count; i++) {
		int r = inv->values[i].option->id == OPTION_OVERLAY
				? add_overlay(list, inv->values[i].text,
					      &inline_left)
				: 0;
		if (r < 0)
			return r;
	}
	return json_object_set(body, "overlays", list);
}

static int set_flags(json_t *body, const struct invocation *inv)
{
	int r = 0;

	if (parse_count(inv, OPTION_NO_PREFETCH))
		r = json_object_set_new(body, "prefetch", json_false());
	if (r == 0 && parse_count(inv, OPTION_RECORD))
		r = json_object_set_new(body, "record", json_true());
	return r;
}

static json_t *create_body(const struct invocation *inv)
{
	json_t *body cleanup(cleanup_json) =
		json_pack("{s:s, s:s*, s:s*}", "snapshot", inv->operands[0],
			  "id", parse_value(inv, OPTION_ID), "policy",
			  parse_value(inv, OPTION_POLICY));

	if (!body || set_number(body, inv, OPTION_UID, "uid") < 0 ||
	    set_number(body, inv, OPTION_GID, "gid") < 0)
		return NULL;
	return steal_ptr(body);
}

int sessions_create(const struct invocation *inv)
{
	json_t *body cleanup(cleanup_json) = create_body(inv);
	json_t *reply cleanup(cleanup_json) = NULL;
	int r;

	if (!body)
		return output_error("session create",
				    err_set(-EINVAL, "the id is not UTF-8"));
	r = set_overlays(body, inv);
	if (r == 0)
		r = set_flags(body, inv);
	if (r < 0)
		return output_error("session create", r);
	r = service_call(inv, "POST", "/v1/sessions", body, &reply);
	if (r < 0)
		return output_error("session create", r);
	if (inv->json)
		return output_json(inv, steal_ptr(reply));
	output_line("%s", text_of(reply, "socket_path"));
	return STATUS_DONE;
}

static int add_session(struct table *t, const json_t *s)
{
	char pid[24], present[24], total[24], faults[24], pages[56];

	(void)snprintf(pages, sizeof(pages), "%s/%s",
		       number_of(s, "pages_present", present),
		       number_of(s, "pages_total", total));
	return table_add(t, text_of(s, "id"), text_of(s, "snapshot"),
			 text_of(s, "state"), number_of(s, "vmm_pid", pid),
			 pages, number_of(s, "faults", faults));
}

static int print_list(const json_t *sessions)
{
	struct table *t cleanup(cleanup_table) = table_new(6, 0x38);
	const json_t *s;
	size_t i;
	int r = t ? table_add(t, "ID", "SNAPSHOT", "STATE", "PID", "PRESENT",
			      "FAULTS")
		  : -ENOMEM;

	json_array_foreach(sessions, i, s)
	{
		if (r == 0)
			r = add_session(t, s);
	}
	if (r < 0)
		return output_error("session list", r);
	table_print(t, stdout);
	return STATUS_DONE;
}

int sessions_list(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	const json_t *sessions, *s;
	size_t i;
	int r = service_call(inv, "GET", "/v1/sessions", NULL, &reply);

	if (r < 0)
		return output_error("session list", r);
	sessions = json_object_get(reply, "sessions");
	if (!json_is_array(sessions))
		return output_error("session list",
				    err_set(-EPROTO, "the daemon's answer has "
						     "no list of sessions"));
	if (inv->json)
		return output_json(inv, json_deep_copy(sessions));
	if (!inv->quiet)
		return print_list(sessions);
	json_array_foreach(sessions, i, s) output_line("%s", text_of(s, "id"));
	return STATUS_DONE;
}

static int call_by_id(const struct invocation *inv, const char *method,
		      json_t **ret_reply)
{
	_cleanup_free_ char *path =
		http_path("/v1/sessions/", inv->operands[0]);

	return path ? service_call(inv, method, path, NULL, ret_reply)
		    : -ENOMEM;
}

int sessions_show(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = call_by_id(inv, "GET", &reply);

	if (r < 0)
		return output_error("session show", r);
	if (inv->json)
		return output_json(inv, steal_ptr(reply));
	r = show_session(reply);
	return r < 0 ? output_error("session show", r) : STATUS_DONE;
}

int sessions_close(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = call_by_id(inv, "DELETE", &reply);
	const char *state = reply ? text_of(reply, "state") : "ended";

	if (r < 0)
		return output_error("session close", r);
	if (inv->json)
		return output_json(inv,
				   json_pack("{s:s, s:s}", "id",
					     inv->operands[0], "state", state));
	if (reply && !inv->quiet)
		output_line("%s: %s", inv->operands[0], state);
	return STATUS_DONE;
}

/* Asks again for as long as the daemon is at it. */
static int complete(const struct invocation *inv, json_t **ret_reply)
{
	_cleanup_free_ char *base =
		http_path("/v1/sessions/", inv->operands[0]);
	_cleanup_free_ char *path = NULL;

	if (!base || asprintf(&path, "%s/complete", base) < 0)
		return -ENOMEM;
	for (;;) {
		json_t *reply cleanup(cleanup_json) = NULL;
		int r = service_call(inv, "POST", path, NULL, &reply);

		if (r < 0)
			return r;
		if (strcmp(text_of(reply, "state"), "completing") != 0) {
			*ret_reply = steal_ptr(reply);
			return 0;
		}
	}
}

int sessions_complete(const struct invocation *inv)
{
	json_t *reply cleanup(cleanup_json) = NULL;
	int r = complete(inv, &reply);

	if (r < 0)
		return output_error("session complete", r);
	return inv->json ? output_json(inv, steal_ptr(reply)) : STATUS_DONE;
}
