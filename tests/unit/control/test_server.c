#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pagerd/control/http/body.h"
#include "pagerd/control/http/server.h"
#include "tests/unit/control/daemon_fixture.h"

#define ANSWER_MAX (1u << 20)

static struct server *server;
static char socket_path[SCRATCH_PATH_MAX];

static int set_up_silence(void **state, unsigned int silence_s)
{
	struct daemon_fixture *f;
	int fd;

	(void)daemon_fixture_set_up(state);
	f = *state;
	fd = rundir_listen(f->daemon->rundir);
	assert_true(fd >= 0);
	(void)snprintf(socket_path, sizeof(socket_path), "%s/control.sock",
		       rundir_path(f->daemon->rundir));
	assert_int_equal(server_new(f->daemon, fd, silence_s, &server), 0);
	return 0;
}

static int set_up(void **state)
{
	return set_up_silence(state, SERVER_SILENCE_S);
}

/* For clients that wait until the server has had enough of their silence. */
static int set_up_impatient(void **state)
{
	return set_up_silence(state, 2);
}

static int tear_down(void **state)
{
	server_free(server);
	return daemon_fixture_tear_down(state);
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		       socket_path);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void put(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		assert_true(n > 0);
		data += n;
		length -= (size_t)n;
	}
}

/* All until the server closes; the caller frees. Closes the connection. */
static char *take_all(int fd)
{
	char *answer = calloc(1, ANSWER_MAX + 1);
	size_t length = 0;
	ssize_t n;

	assert_non_null(answer);
	while ((n = read(fd, answer + length, ANSWER_MAX - length)) > 0)
		length += (size_t)n;
	(void)close(fd);
	return answer;
}

struct answer {
	int status;
	char *text;	  /* with its headers */
	const char *body; /* in `text` */
};

static struct answer parse_answer(char *text)
{
	struct answer a = {.text = text};
	const char *end = strstr(text, "\r\n\r\n");

	if (sscanf(text, "HTTP/1.1 %d", &a.status) != 1)
		a.status = 0;
	a.body = end ? end + 4 : "";
	return a;
}

static struct answer ask(const char *method, const char *path, const char *body)
{
	char head[1024];
	int len = snprintf(head, sizeof(head),
			   "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
			   "Content-Length: %zu\r\n\r\n",
			   method, path, strlen(body));
	int fd = dial();

	put(fd, head, (size_t)len);
	put(fd, body, strlen(body));
	return parse_answer(take_all(fd));
}

/* The code of the error in a body, which must have the one shape. */
static void assert_error(const struct answer *a, const char *code)
{
	json_t *json = json_loads(a->body, JSON_REJECT_DUPLICATES, NULL);
	const char *have = NULL, *message = NULL;

	assert_non_null(json);
	assert_int_equal(json_unpack(json, "{s:{s:s, s:s!}!}", "error", "code",
				     &have, "message", &message),
			 0);
	assert_string_equal(have, code);
	assert_true(message[0] != '\0');
	json_decref(json);
}

static void answer_release(struct answer *a)
{
	free(a->text);
}

static void expect(const char *method, const char *path, const char *body,
		   int status, const char *code)
{
	struct answer a = ask(method, path, body);

	if (a.status != status)
		fail_msg("%s %s %s: %d, not %d: %s", method, path, body,
			 a.status, status, a.body);
	if (code)
		assert_error(&a, code);
	answer_release(&a);
}

static json_t *get_json(const char *path)
{
	struct answer a = ask("GET", path, "");
	json_t *json;

	assert_int_equal(a.status, 200);
	json = json_loads(a.body, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json);
	answer_release(&a);
	return json;
}

static json_int_t integer(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void every_view_is_json(void **state)
{
	static const char *const paths[] = {
		"/v1/health", "/v1/stats", "/v1/snapshots", "/v1/sessions",
		"/v1/cache",  "/health",   "/stats"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		json_decref(get_json(paths[i]));
}

static void session_comes_and_goes(void **state)
{
	struct answer a = ask("POST", "/v1/sessions",
			      "{\"snapshot\":\"guest\",\"id\":\"vm\","
			      "\"policy\":\"poison\"}");
	const char *path = NULL, *id = NULL;
	json_t *json = json_loads(a.body, 0, NULL);

	(void)state;
	assert_int_equal(a.status, 201);
	assert_int_equal(json_unpack(json, "{s:s, s:s!}", "id", &id,
				     "socket_path", &path),
			 0);
	assert_string_equal(id, "vm");
	assert_int_equal(access(path, F_OK), 0);
	json_decref(json);
	answer_release(&a);

	json = get_json("/v1/sessions/vm");
	assert_string_equal(
		json_string_value(json_object_get(json, "snapshot")), "guest");
	assert_string_equal(json_string_value(json_object_get(json, "state")),
			    "listening");
	assert_string_equal(json_string_value(json_object_get(json, "policy")),
			    "poison");
	assert_true(json_is_null(json_object_get(json, "vmm_pid")));
	assert_int_equal(integer(json, "pages_total"), FIXTURE_PAGES);
	assert_int_equal(integer(json, "faults"), 0);
	json_decref(json);

	expect("POST", "/v1/sessions", "{\"snapshot\":\"guest\",\"id\":\"vm\"}",
	       409, "exists");
	expect("DELETE", "/v1/sessions/vm?force=2", "", 400, "bad_request");
	expect("DELETE", "/v1/sessions/vm", "", 204, NULL);
	expect("DELETE", "/v1/sessions/vm", "", 404, "not_found");
	expect("GET", "/v1/sessions/vm", "", 404, "not_found");
}

static void wrong_requests_are_told(void **state)
{
	char id[256] = "{\"snapshot\":\"guest\",\"id\":\"";
	size_t len = strlen(id);

	(void)state;
	memset(id + len, 'i', 200);
	memcpy(id + len + 200, "\"}", 3);
	expect("GET", "/", "", 404, "not_found");
	expect("GET", "/v2/health", "", 404, "not_found");
	expect("PUT", "/v1/sessions", "", 405, "method_not_allowed");
	expect("BREW", "/v1/health", "", 405, "method_not_allowed");
	expect("POST", "/v1/sessions", "", 400, "bad_request");
	expect("POST", "/v1/sessions", "{", 400, "bad_request");
	expect("POST", "/v1/sessions", "{}", 400, "bad_request");
	expect("POST", "/v1/sessions", id, 400, "bad_request");
	expect("POST", "/v1/sessions",
	       "{\"snapshot\":\"guest\",\"id\":\"../x\"}", 400, "bad_request");
	expect("POST", "/v1/sessions",
	       "{\"snapshot\":\"guest\",\"policy\":\"hope\"}", 400,
	       "bad_request");
	expect("POST", "/v1/sessions",
	       "{\"snapshot\":\"guest\",\"prefetch\":0}", 400, "bad_request");
	expect("POST", "/v1/sessions", "{\"snapshot\":\"..\"}", 400,
	       "bad_request");
	expect("POST", "/v1/sessions", "{\"snapshot\":\"nobody\"}", 404,
	       "not_found");
	expect("GET", "/v1/sessions/..", "", 400, "bad_request");
	expect("DELETE", "/v1/sessions/a%20b", "", 400, "bad_request");
}

static void method_is_told_by_allow(void **state)
{
	struct answer a = ask("PUT", "/v1/sessions", "");

	(void)state;
	assert_non_null(strcasestr(a.text, "\r\nAllow: GET, POST\r\n"));
	answer_release(&a);
}

static void head_has_no_body(void **state)
{
	struct answer a = ask("HEAD", "/v1/health", "");

	(void)state;
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body, "");
	answer_release(&a);
}

static void live_vm_is_in_use(void **state)
{
	struct session *s = daemon_fixture_create(*state, "vm");
	pid_t vmm = daemon_fixture_vmm(session_socket_path(s));
	json_t *json;

	expect("DELETE", "/v1/sessions/vm", "", 409, "in_use");
	expect("POST", "/sessions/vm/close", "", 204, NULL);
	json = get_json("/v1/sessions/vm");
	assert_true(json_is_true(json_object_get(json, "lingering")));
	assert_int_equal(integer(json, "vmm_pid"), vmm);
	assert_true(integer(json, "faults") > 0);
	json_decref(json);
	expect("DELETE", "/v1/sessions/vm?force=1", "", 204, NULL);
	assert_int_equal(daemon_fixture_reap(vmm), SIGKILL);
	session_unref(s);
}

static void a_session_is_completed(void **state)
{
	struct daemon_fixture *f = *state;
	struct session *s = daemon_fixture_create(f, "a");
	pid_t vmm;

	expect("POST", "/v1/sessions/b/complete", "", 404, "not_found");
	expect("POST", "/v1/sessions/..a/complete", "", 400, "bad_request");
	expect("POST", "/v1/sessions/a/complete", "", 409, "not_connected");
	expect("POST", "/sessions/a/complete", "", 409, "not_connected");
	vmm = daemon_fixture_vmm(session_socket_path(s));
	session_unref(s);
	expect("POST", "/v1/sessions/a/complete", "", 200, NULL);
	expect("GET", "/v1/sessions/a", "", 404, "not_found");
	daemon_fixture_kill(vmm);
	s = daemon_fixture_create(f, "b");
	vmm = daemon_fixture_vmm(session_socket_path(s));
	session_unref(s);
	expect("POST", "/sessions/b/complete", "", 204, NULL);
	expect("POST", "/sessions/b/complete", "", 404, "not_found");
	daemon_fixture_kill(vmm);
}

static void overlays_are_taken_and_refused(void **state)
{
	static const char *const bad[] = {
		"7",
		"[7]",
		"[{}]",
		"[{\"offset\":0}]",
		"[{\"offset\":0,\"data_base64\":7}]",
		"[{\"offset\":-1,\"data_base64\":\"AAAA\"}]",
		"[{\"offset\":0,\"data_base64\":\"AAA\"}]",
		"[{\"offset\":0,\"data_base64\":\"\"}]",
		"[{\"offset\":0,\"data_base64\":\"AAAA\",\"path\":\"/x\"}]",
		"[{\"offset\":0,\"data_base64\":\"AAAA\",\"x\":1}]",
		"[{\"offset\":0,\"path\":\"etc/hostname\"}]",
		"[{\"offset\":262142,\"data_base64\":\"AAAA\"}]",
		("[{\"offset\":0,\"data_base64\":\"AAAA\"},"
		 "{\"offset\":2,\"data_base64\":\"AAAA\"}]"),
	};
	char body[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)snprintf(body, sizeof(body),
			       "{\"snapshot\":\"guest\",\"overlays\":%s}",
			       bad[i]);
		expect("POST", "/v1/sessions", body, 400, "bad_request");
	}
	expect("POST", "/v1/sessions",
	       "{\"snapshot\":\"guest\",\"id\":\"a\",\"prefetch\":false,"
	       "\"record\":true,\"overlays\":["
	       "{\"offset\":262141,\"data_base64\":\"AAAA\"},"
	       "{\"offset\":5,\"data_base64\":\"AAAA\"}]}",
	       201, NULL);
	expect("DELETE", "/v1/sessions/a", "", 204, NULL);
}

static void overlay_from(const char *path, int status, const char *code)
{
	char body[1024];

	(void)snprintf(body, sizeof(body),
		       "{\"snapshot\":\"guest\",\"id\":\"a\",\"overlays\":"
		       "[{\"offset\":5,\"path\":\"%s\"}]}",
		       path);
	expect("POST", "/v1/sessions", body, status, code);
}

/* The fixture allows its own folder; confine.h is tested by itself. */
static void overlay_paths_are_confined(void **state)
{
	static const uint8_t large[(64u << 20) + 1];
	struct daemon_fixture *f = *state;
	char path[SCRATCH_PATH_MAX * 2];

	(void)snprintf(path, sizeof(path), "%s/overlay", f->folder);
	scratch_write(path, "data", 4);
	overlay_from(path, 201, NULL);
	expect("DELETE", "/v1/sessions/a", "", 204, NULL);
	overlay_from("/etc/passwd", 403, "forbidden");
	overlay_from("/proc/self/exe", 403, "forbidden");
	overlay_from("/dev/zero", 403, "forbidden");
	(void)snprintf(path, sizeof(path), "%s/../../etc/passwd", f->folder);
	overlay_from(path, 403, "forbidden");
	(void)snprintf(path, sizeof(path), "%s/link", f->folder);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	overlay_from(path, 403, "forbidden");
	(void)snprintf(path, sizeof(path), "%s/fifo", f->folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	overlay_from(path, 400, "bad_request");
	overlay_from(f->folder, 403, "forbidden");
	(void)snprintf(path, sizeof(path), "%s/large", f->folder);
	scratch_write(path, large, sizeof(large));
	overlay_from(path, 400, "bad_request");
	scratch_write(path, large, 64u * 4096 - 4);
	overlay_from(path, 400, "bad_request"); /* past the image's end */
}

/* PITFALLS 60: none of them is a session, none an end of the daemon. */
static void hostile_bodies_are_refused(void **state)
{
	static const char *const bad[] = {
		"[]",
		"null",
		"\"text\"",
		"{\"snapshot\":\"guest\"}x",
		"{\"snapshot\":\"guest\",\"snapshot\":\"guest\"}",
		"{\"snapshot\":\"guest\",\"uid\":9223372036854775808}",
		"{\"snapshot\":\"guest\",\"uid\":1e400}",
		"{\"snapshot\":\"guest\",\"uid\":1.5}",
		"{\"snapshot\":\"guest\",\"uid\":-1}",
		"{\"snapshot\":\"guest\",\"uid\":4294967295}",
		"{\"snapshot\":\"\\ud800\"}",
		"{\"snapshot\":\"a\\u0000b\"}",
		"{\"snapshot\":\"\xff\"}",
	};
	char deep[1 << 16];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect("POST", "/v1/sessions", bad[i], 400, "bad_request");
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	expect("POST", "/v1/sessions", deep, 400, "bad_request");
	expect("GET", "/v1/sessions", "", 200, NULL);
}

static void drain_and_undrain(void **state)
{
	static const char body[] = "{\"snapshot\":\"guest\"}";
	json_t *json;

	(void)state;
	expect("POST", "/v1/drain", "", 200, NULL);
	expect("POST", "/v1/sessions", body, 503, "draining");
	json = get_json("/health");
	assert_true(json_is_true(json_object_get(json, "draining")));
	assert_int_equal(integer(json, "active_sessions"), 0);
	json_decref(json);
	expect("POST", "/v1/undrain", "", 200, NULL);
	expect("POST", "/v1/sessions", body, 201, NULL);
	expect("POST", "/drain", "", 204, NULL);
	expect("POST", "/v1/sessions", body, 503, "draining");
	expect("POST", "/sessions/../close", "", 204, NULL);
}

static void cap_is_told(void **state)
{
	static const char body[] = "{\"snapshot\":\"guest\"}";

	(void)state;
	for (int i = 0; i < 4; i++)
		expect("POST", "/v1/sessions", body, 201, NULL);
	expect("POST", "/v1/sessions", body, 503, "too_many_sessions");
}

/* A create body of exactly `length` bytes, by spaces at its end. */
static char *padded(size_t length)
{
	static const char body[] = "{\"snapshot\":\"guest\"}";
	char *text = malloc(length + 1);

	assert_non_null(text);
	memset(text, ' ', length);
	memcpy(text, body, sizeof(body) - 1);
	text[length] = '\0';
	return text;
}

/* PITFALLS 60. */
static void bodies_are_bounded(void **state)
{
	char *most = padded(BODY_MAX), *more = padded(BODY_MAX + 1);
	char *much = padded(16u << 20);

	(void)state;
	expect("POST", "/v1/sessions", most, 201, NULL);
	expect("POST", "/v1/sessions", more, 413, "too_large");
	expect("POST", "/v1/sessions", much, 413, "too_large");
	free(most);
	free(more);
	free(much);
}

static void chunked_bodies_are_read(void **state)
{
	static const char request[] =
		"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		"Transfer-Encoding: chunked\r\n\r\n"
		"8\r\n{\"snapsh\r\n9\r\not\":\"gues\r\n3\r\nt\"}\r\n0\r\n\r\n";
	struct answer a;
	int fd = dial();

	(void)state;
	for (size_t i = 0; i < sizeof(request) - 1; i++)
		put(fd, request + i, 1);
	a = parse_answer(take_all(fd));
	assert_int_equal(a.status, 201);
	answer_release(&a);
}

/* PITFALLS 60. */
static void malformed_http_is_survived(void **state)
{
	static const char *const requests[] = {
		"garbage\r\n\r\n",
		"GET\r\n\r\n",
		"GET /v1/health HTTP/9.9\r\n\r\n",
		"GET /v1/health HTTP/1.1\r\nno colon\r\n\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: x\r\n"
		"Content-Length: -1\r\n\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: x\r\n"
		"Content-Length: 99999999999999999999999\r\n\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: x\r\n"
		"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
		"\x16\x03\x01\x02\x01\x01\xfc\x03\x03",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		int fd = dial();
		struct answer a;

		put(fd, requests[i], strlen(requests[i]));
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		a = parse_answer(take_all(fd));
		assert_true(a.status == 0 || a.status >= 400);
		answer_release(&a);
		expect("GET", "/v1/health", "", 200, NULL);
	}
}

/* PITFALLS 60. */
static void long_headers_are_refused(void **state)
{
	size_t length = 64u << 10;
	char *path = malloc(length + 1);
	int fd = dial();
	struct answer a;

	(void)state;
	assert_non_null(path);
	memset(path, 'a', length);
	put(fd, "GET /", 5);
	/* The server may have refused before all was written. */
	(void)send(fd, path, length, MSG_NOSIGNAL);
	a = parse_answer(take_all(fd));
	assert_true(a.status == 0 || a.status >= 400);
	answer_release(&a);
	free(path);
	expect("GET", "/v1/health", "", 200, NULL);
}

/* PITFALLS 60: the server closes, be it in the middle of a request. */
static void silent_clients_are_let_go(void **state)
{
	static const char *const beginnings[] = {
		"",
		"\r\n\r\n\r\n",
		"GET /v1/hea",
		("POST /v1/sessions HTTP/1.1\r\nHost: x\r\n"
		 "Content-Length: 100\r\n\r\n{"),
	};
	enum { COUNT = sizeof(beginnings) / sizeof(beginnings[0]) };
	int fds[COUNT];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		fds[i] = dial();
		put(fds[i], beginnings[i], strlen(beginnings[i]));
	}
	for (int i = 0; i < COUNT; i++)
		free(take_all(fds[i]));
}

#define IDLE 1000

/* PITFALLS 60. Some say nothing, some stop in a header, some in a body. */
static void idle_and_slow_clients_cost_nobody(void **state)
{
	static const char *const beginnings[] = {
		"",
		"GET /v1/hea",
		("POST /v1/sessions HTTP/1.1\r\nHost: x\r\n"
		 "Content-Length: 100\r\n\r\n{"),
	};
	const struct rlimit many = {8192, 8192};
	int fds[IDLE];

	(void)state;
	if (setrlimit(RLIMIT_NOFILE, &many) < 0)
		skip();
	for (int i = 0; i < IDLE; i++) {
		const char *beginning = beginnings[i % 3];

		fds[i] = dial();
		put(fds[i], beginning, strlen(beginning));
	}
	for (int i = 0; i < 20; i++)
		expect("GET", "/v1/health", "", 200, NULL);
	expect("POST", "/v1/sessions", "{\"snapshot\":\"guest\"}", 201, NULL);
	for (int i = 0; i < IDLE; i++)
		(void)close(fds[i]);
	expect("GET", "/v1/health", "", 200, NULL);
}

/* Exits with 0 where the answer was 403. */
static void ask_as_nobody(void)
{
	static const char request[] =
		"POST /v1/drain HTTP/1.1\r\nHost: x\r\n"
		"Connection: close\r\nContent-Length: 0\r\n\r\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char answer[64] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		       socket_path);
	if (seteuid(65534) < 0 ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    write(fd, request, sizeof(request) - 1) < 0 ||
	    read(fd, answer, sizeof(answer) - 1) <= 0)
		_exit(1);
	_exit(strncmp(answer, "HTTP/1.1 403 ", 13) == 0 ? 0 : 2);
}

static void other_users_are_refused(void **state)
{
	struct daemon_fixture *f = *state;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(socket_path, 0666), 0);
	assert_int_equal(chmod(f->folder, 0711), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		ask_as_nobody();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_false(registry_draining(f->daemon->registry));
}

static void metrics_count(void **state)
{
	struct session *s = daemon_fixture_create(*state, "vm");
	pid_t vmm = daemon_fixture_vmm(session_socket_path(s));
	struct answer a = ask("GET", "/metrics", "");

	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.text, "text/plain; version=0.0.4"));
	assert_non_null(
		strstr(a.body, "\npagerd_sessions{state=\"serving\"} 1\n"));
	assert_non_null(
		strstr(a.body, "\npagerd_sessions{state=\"listening\"} 0\n"));
	assert_null(strstr(a.body, "\npagerd_session_faults_total 0\n"));
	assert_non_null(strstr(a.body, "\npagerd_cache_limit_bytes 4194304\n"));
	answer_release(&a);
	daemon_fixture_kill(vmm);
	session_unref(s);
}

/* Damages the snapshot's manifest behind the daemon's back. */
static void damaged_snapshot_is_told(void **state)
{
	struct daemon_fixture *f = *state;
	json_t *json, *first;

	scratch_flip(scratch_file(f->folder, "store/snapshots/guest"), 80);
	json = get_json("/v1/snapshots");
	first = json_array_get(json_object_get(json, "snapshots"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "name")),
			    "guest");
	assert_true(json_is_string(json_object_get(first, "error")));
	json_decref(json);
	expect("POST", "/v1/sessions", "{\"snapshot\":\"guest\"}", 500,
	       "damaged");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define IMPATIENT(name) \
	cmocka_unit_test_setup_teardown(name, set_up_impatient, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(every_view_is_json),
		CASE(session_comes_and_goes),
		CASE(wrong_requests_are_told),
		CASE(method_is_told_by_allow),
		CASE(head_has_no_body),
		CASE(live_vm_is_in_use),
		CASE(a_session_is_completed),
		CASE(overlays_are_taken_and_refused),
		CASE(overlay_paths_are_confined),
		CASE(hostile_bodies_are_refused),
		CASE(drain_and_undrain),
		CASE(cap_is_told),
		CASE(bodies_are_bounded),
		CASE(chunked_bodies_are_read),
		IMPATIENT(malformed_http_is_survived),
		CASE(long_headers_are_refused),
		IMPATIENT(silent_clients_are_let_go),
		CASE(idle_and_slow_clients_cost_nobody),
		CASE(other_users_are_refused),
		CASE(metrics_count),
		CASE(damaged_snapshot_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
