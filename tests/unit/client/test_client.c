#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pager/pager.h"
#include "tests/unit/client/stub_daemon.h"

#define HUGE (2u << 20)

struct fixture {
	char runtime[SCRATCH_PATH_MAX];
	struct stub_daemon *daemon;
	struct pager *pager;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_make(f->runtime);
	f->daemon = stub_start(f->runtime);
	*state = f;
	return pager_open(f->runtime, &f->pager);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	pager_close(f->pager);
	stub_stop(f->daemon);
	scratch_remove(f->runtime);
	free(f);
	return 0;
}

static struct pager_session *make_session(struct fixture *f)
{
	struct pager_session_options options = PAGER_SESSION_OPTIONS_INIT;
	struct pager_session *s;

	options.snapshot = "web-1";
	assert_int_equal(pager_session_create(f->pager, &options, &s), 0);
	return s;
}

#define STATUS(line, body) "HTTP/1.1 " line "\r\nConnection: close\r\n\r\n" body
#define REFUSED(line, code, message)                  \
	STATUS(line, "{\"error\": {\"code\": \"" code \
		     "\", \"message\": \"" message "\"}}")

static void answers_become_errors(void **state)
{
	static const struct {
		const char *answer;
		int result;
		const char *text; /* is in the error's line */
	} cases[] = {
		{REFUSED("404 Not Found", "not_found", "no snapshot 'web-1'"),
		 -ENOENT, "no snapshot 'web-1'"},
		{REFUSED("409 Conflict", "exists", "the id is taken"),
		 -ENOTUNIQ, "the id is taken"},
		{REFUSED("409 Conflict", "in_use", "a VM lives"), -EBUSY,
		 "a VM lives"},
		{REFUSED("503 Unavailable", "draining", "going"), -ESHUTDOWN,
		 "going"},
		{REFUSED("503 Unavailable", "too_many_sessions", "full"),
		 -EAGAIN, "full"},
		{REFUSED("500 Oh", "damaged", "a torn page"), -EBADMSG,
		 "a torn page"},
		{REFUSED("400 Bad Request", "bad_request", "what?"), -EINVAL,
		 "what?"},
		{REFUSED("403 Forbidden", "forbidden", "not you"), -EACCES,
		 "not you"},
		{REFUSED("504 Timeout", "slow", "too slow"), -ETIMEDOUT,
		 "too slow"},
		{STATUS("404 Not Found", "<html>gone"), -ENOENT, "status 404"},
		{STATUS("500 Oh", "{\"error\": 7}"), -EIO, "status 500"},
		{STATUS("302 Found", ""), -EPROTO, "status 302"},
		{STATUS("201 Created", "{\"id\": \"a\"}"), -EPROTO,
		 "socket_path"},
		{STATUS("201 Created", "{\"id\": 1, \"socket_path\": 2}"),
		 -EPROTO, "socket_path"},
		{STATUS("201 Created", "{\"id\": \"a\", \"id\": \"b\", "
				       "\"socket_path\": \"c\"}"),
		 -EPROTO, "no JSON"},
		{STATUS("201 Created", "{\"id\": \"a"), -EPROTO, "no JSON"},
		{STATUS("201 Created", ""), -EPROTO, "no JSON"},
		{"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{}",
		 -EPROTO, "no HTTP answer"},
		{"220 smtp.example.org ESMTP\r\n", -EPROTO, "no HTTP answer"},
		{"", -ECONNRESET, "hung up"},
	};
	struct pager_session_options options = PAGER_SESSION_OPTIONS_INIT;
	struct fixture *f = *state;

	options.snapshot = "web-1";
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pager_session *s = (void *)f;

		stub_answer(f->daemon, cases[i].answer);
		assert_int_equal(pager_session_create(f->pager, &options, &s),
				 cases[i].result);
		assert_ptr_equal(s, f);
		assert_non_null(strstr(pager_error(f->pager), cases[i].text));
		assert_int_equal(stub_requests(f->daemon), i + 1);
	}
	/* The handle works on after all that. */
	stub_answer(f->daemon, NULL);
	assert_int_equal(pager_session_close(make_session(f)), 0);
}

static void nobody_answers(void **state)
{
	struct pager_session_options options = PAGER_SESSION_OPTIONS_INIT;
	struct pager_session *s;
	char runtime[SCRATCH_PATH_MAX], text[512];
	struct pager *p;

	(void)state;
	options.snapshot = "web-1";
	scratch_make(runtime);
	assert_int_equal(pager_open(runtime, &p), 0);
	assert_string_equal(pager_error(p), "");
	assert_int_equal(pager_session_create(p, &options, &s), -ECONNREFUSED);
	(void)snprintf(text, sizeof(text), "%s/control.sock: no daemon",
		       runtime);
	assert_non_null(strstr(pager_error(p), text));
	pager_close(p);

	memset(text, 'x', 200);
	text[0] = '/';
	text[200] = '\0';
	assert_int_equal(pager_open(text, &p), -ENAMETOOLONG);
	scratch_remove(runtime);
}

static void requests_say_what_was_asked(void **state)
{
	struct pager_session_options options = PAGER_SESSION_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s;
	char *status;

	options.snapshot = "gr\xc3\xbc\xc3\x9f \"1\"";
	options.id = "vm-1";
	options.policy = "poison";
	options.uid = 0;
	options.gid = 100;
	/* A proxy of the environment is nothing to a unix socket. */
	assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
	assert_int_equal(setenv("ALL_PROXY", "http://127.0.0.1:1", 1), 0);
	assert_int_equal(pager_session_create(f->pager, &options, &s), 0);
	assert_int_equal(unsetenv("http_proxy"), 0);
	assert_int_equal(unsetenv("ALL_PROXY"), 0);
	assert_non_null(
		strstr(stub_request(f->daemon), "POST /v1/sessions HTTP/1.1"));
	assert_non_null(strstr(stub_request(f->daemon), "\\\"1\\\""));
	assert_non_null(strstr(stub_request(f->daemon), "\"id\":\"vm-1\""));
	assert_non_null(strstr(stub_request(f->daemon), "\"uid\":0"));
	assert_non_null(strstr(stub_request(f->daemon), "\"gid\":100"));
	assert_non_null(
		strstr(stub_request(f->daemon), "\"policy\":\"poison\""));
	assert_string_equal(pager_session_id(s), "s1");
	assert_int_equal(pager_session_status(s, &status), 0);
	assert_string_equal(status, "{\"state\":\"listening\"}");
	free(status);
	/* A session outlives the handle that made it. */
	pager_close(f->pager);
	assert_int_equal(pager_session_close(s), 0);
	assert_non_null(strstr(stub_request(f->daemon),
			       "DELETE /v1/sessions/s1 HTTP/1.1"));
	assert_int_equal(pager_open(f->runtime, &f->pager), 0);
}

static void a_name_that_is_no_utf8_is_refused(void **state)
{
	struct pager_session_options options = PAGER_SESSION_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s;

	assert_int_equal(pager_session_create(f->pager, &options, &s), -EINVAL);
	options.snapshot = "\xff";
	assert_int_equal(pager_session_create(f->pager, &options, &s), -EINVAL);
	assert_int_equal(stub_requests(f->daemon), 0);
}

static void an_id_stays_one_segment(void **state)
{
	static const char *const ids[][2] = {
		{"..", "GET /v1/sessions/%2E. HTTP"},
		{"a/../b?c#d", "GET /v1/sessions/a%2F..%2Fb%3Fc%23d HTTP"},
	};
	struct fixture *f = *state;
	struct pager_session *s;
	char answer[256], *status;

	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(answer, sizeof(answer),
			       STATUS("201 Created",
				      "{\"id\": \"%s\", \"socket_path\": "
				      "\"x\"}"),
			       ids[i][0]);
		stub_answer(f->daemon, answer);
		s = make_session(f);
		stub_answer(f->daemon, STATUS("200 OK", "{}"));
		assert_int_equal(pager_session_status(s, &status), 0);
		assert_non_null(strstr(stub_request(f->daemon), ids[i][1]));
		free(status);
		assert_int_equal(pager_session_close(s), 0);
	}
}

static void assert_image(const uint8_t *data, uint64_t size, uint64_t offset)
{
	for (uint64_t i = 0; i < size; i++)
		if (data[i] != stub_byte(offset + i))
			fail_msg("byte %llu is %u, not %u",
				 (unsigned long long)i, data[i],
				 stub_byte(offset + i));
}

static void a_map_has_the_images_bytes(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;
	uint8_t *data;

	options.size = 64 * 4096;
	options.offset = 3 * 4096;
	assert_int_equal(pager_map(s, &options, &m), 0);
	assert_int_equal(pager_map_size(m), options.size);
	data = pager_map_data(m);
	assert_int_equal(stub_installed(f->daemon), 0);
	assert_int_equal(data[5 * 4096 + 17], stub_byte(8 * 4096 + 17));
	assert_int_equal(stub_installed(f->daemon), 1);
	data[6 * 4096] = 0; /* a write that finds no page */
	assert_int_equal(data[6 * 4096 + 1], stub_byte(9 * 4096 + 1));
	data[6 * 4096] = stub_byte(9 * 4096);
	assert_image(data, options.size, options.offset);
	assert_int_equal(stub_installed(f->daemon), 64);

	assert_true(stub_got_uffd(f->daemon));
	assert_non_null(strstr(stub_handshake(f->daemon),
			       "\"size\":262144,\"offset\":12288,\"page_size\":"
			       "4096,\"page_size_kib\":4096"));
	assert_int_equal(pager_map(s, &options, &m), -EBUSY);
	assert_int_equal(pager_session_close(s), -EBUSY);
	assert_non_null(strstr(pager_error(f->pager), "unmap it first"));
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
}

static void a_removed_page_is_zero(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;
	uint8_t *data;

	options.size = 8 * 4096;
	assert_int_equal(pager_map(s, &options, &m), 0);
	data = pager_map_data(m);
	assert_image(data, 4096, 0);
	assert_int_equal(madvise(data, 4096, MADV_DONTNEED), 0);
	for (int i = 0; i < 4096; i++)
		assert_int_equal(data[i], 0);
	assert_int_equal(stub_removes(f->daemon), 1);
	assert_image(data + 4096, 7 * 4096, 4096);
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
}

/* Address space that nobody else gets. */
static uint8_t *reserve(size_t size)
{
	void *addr = mmap(NULL, size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	return addr;
}

static void regions_in_any_order(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	uint8_t *place = reserve(64 * 4096);
	struct pager_region regions[] = {
		{place + 40 * 4096, 3 * 4096, 9 * 4096},
		{place + 20 * 4096, 5 * 4096, 0},
		{NULL, 2 * 4096, 100 * 4096},
		{place + 25 * 4096, 4 * 4096, 5 * 4096}, /* adjacent */
	};
	struct pager_map *m;

	options.flags = PAGER_MAP_REPLACE;
	assert_int_equal(pager_map_regions(s, regions, 4, &options, &m), 0);
	assert_non_null(regions[2].addr);
	assert_ptr_equal(pager_map_data(m), place + 40 * 4096);
	for (int i = 0; i < 4; i++)
		assert_image(regions[i].addr, regions[i].size,
			     regions[i].offset);
	assert_int_equal(stub_installed(f->daemon), 14);
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
	assert_int_equal(munmap(place, 64 * 4096), 0);
}

static void many_regions(void **state)
{
	static struct pager_region regions[STUB_REGIONS_MAX + 1];
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;

	for (unsigned int i = 0; i <= STUB_REGIONS_MAX; i++)
		regions[i] = (struct pager_region){NULL, 4096, i * 8192ull};
	assert_int_equal(pager_map_regions(s, regions, STUB_REGIONS_MAX + 1,
					   &options, &m),
			 -EINVAL);
	assert_int_equal(
		pager_map_regions(s, regions, STUB_REGIONS_MAX, &options, &m),
		0);
	assert_true(strlen(stub_handshake(f->daemon)) > 100000);
	for (unsigned int i = 0; i < STUB_REGIONS_MAX; i += 31)
		assert_image(regions[i].addr, 4096, regions[i].offset);
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
}

/* A number of 2 MiB pages more, or fewer; false where that cannot be. */
static bool huge_pages(int more)
{
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", "r+");
	int now = -1;
	bool good = false;

	if (!file)
		return false;
	if (fscanf(file, "%d", &now) == 1) {
		rewind(file);
		good = fprintf(file, "%d\n", now + more) > 0;
	}
	return fclose(file) == 0 && good;
}

static void huge_pages_come_whole(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;
	uint8_t *data;
	int r;

	if (!huge_pages(3)) {
		print_message("no right to reserve huge pages\n");
		skip();
	}
	options.size = 3ul * HUGE;
	options.offset = HUGE;
	options.page_size = HUGE;
	r = pager_map(s, &options, &m);
	if (r == 0) {
		data = pager_map_data(m);
		assert_int_equal((uintptr_t)data % HUGE, 0);
		assert_image(data, 4096, HUGE);
		assert_int_equal(stub_installed(f->daemon), 1);
		assert_image(data, options.size, HUGE);
		assert_int_equal(stub_installed(f->daemon), 3);
		assert_non_null(strstr(stub_handshake(f->daemon),
				       "\"page_size\":2097152,\"page_size_"
				       "kib\":2097152"));
		pager_unmap(m);
	}
	assert_true(huge_pages(-3));
	assert_int_equal(r, 0);
	options.size = 1ull << 40;
	assert_int_equal(pager_map(s, &options, &m), -ENOMEM);
	assert_non_null(strstr(pager_error(f->pager), "vm.nr_hugepages"));
	assert_int_equal(pager_session_close(s), 0);
}

static void layouts_that_cannot_be(void **state)
{
	static const struct {
		struct pager_region regions[2];
		unsigned int count;
		uint64_t page_size;
	} cases[] = {
		{{{NULL, 4096, 0}}, 0, 4096},
		{{{NULL, 0, 0}}, 1, 4096},
		{{{NULL, 4097, 0}}, 1, 4096},
		{{{NULL, 4096, 1}}, 1, 4096},
		{{{(void *)1, 4096, 0}}, 1, 4096},
		{{{NULL, 4096, 0}}, 1, 0},
		{{{NULL, 4096, 0}}, 1, 65536},
		{{{NULL, 4096, 0}}, 1, HUGE},
		{{{NULL, HUGE, 4096}}, 1, HUGE},
		{{{NULL, 8192, UINT64_MAX - 4095}}, 1, 4096},
		{{{NULL, UINT64_MAX - 4095, 8192}}, 1, 4096},
		{{{(void *)0xfffffffffffff000, 8192, 0}}, 1, 4096},
		{{{(void *)65536, 8192, 0}, {(void *)69632, 4096, 0}}, 2, 4096},
		{{{(void *)69632, 4096, 0}, {(void *)65536, 8192, 0}}, 2, 4096},
	};
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;

	options.flags = PAGER_MAP_REPLACE;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pager_region regions[2];

		memcpy(regions, cases[i].regions, sizeof(regions));
		options.page_size = cases[i].page_size;
		assert_int_equal(pager_map_regions(s, regions, cases[i].count,
						   &options, &m),
				 -EINVAL);
		assert_memory_equal(regions, cases[i].regions, sizeof(regions));
	}
	assert_string_equal(stub_handshake(f->daemon), "");
	assert_int_equal(pager_session_close(s), 0);
}

/* A read by the kernel, which answers EFAULT in place of a signal. */
static bool is_readable(const void *addr)
{
	int fds[2];
	bool readable;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	readable = write(fds[1], addr, 1) == 1;
	(void)close(fds[0]);
	(void)close(fds[1]);
	return readable;
}

static void an_address_in_use_is_kept(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	uint8_t *place = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pager_region region = {place, 8192, 0};
	struct pager_map *m;

	place[0] = 17;
	assert_int_equal(pager_map_regions(s, &region, 1, &options, &m),
			 -EEXIST);
	assert_int_equal(place[0], 17);
	options.flags = PAGER_MAP_REPLACE;
	assert_int_equal(pager_map_regions(s, &region, 1, &options, &m), 0);
	assert_image(place, 8192, 0);
	pager_unmap(m);
	assert_false(is_readable(place));
	assert_int_equal(pager_session_close(s), 0);
}

/* Where the daemon hangs up nobody would answer: no such memory is left. */
static void a_refused_offer_leaves_nothing(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	uint8_t *place = reserve(2 * 4096);
	struct pager_region region = {place, 2 * 4096, 0};
	struct pager_map *m = (void *)f;

	stub_refuse(f->daemon, true);
	options.flags = PAGER_MAP_REPLACE;
	assert_int_equal(pager_map_regions(s, &region, 1, &options, &m),
			 -EINVAL);
	assert_non_null(strstr(pager_error(f->pager), "refused"));
	assert_ptr_equal(m, f);
	assert_false(is_readable(place));
	/* It is not a hole: the reservation stays a reservation. */
	assert_int_equal(mprotect(place, 2 * 4096, PROT_NONE), 0);
	stub_refuse(f->daemon, false);
	assert_int_equal(pager_map_regions(s, &region, 1, &options, &m), 0);
	assert_image(place, 2 * 4096, 0);
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
}

static void a_session_that_is_gone(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;

	options.size = 4096;
	stub_answer(f->daemon,
		    REFUSED("404 Not Found", "not_found", "no such session"));
	assert_int_equal(pager_map(s, &options, &m), -ENOENT);
	/* And closing what is gone is no failure. */
	assert_int_equal(pager_session_close(s), 0);

	assert_int_equal(pager_session_attach(f->pager, "/nowhere/x.sock", &s),
			 0);
	assert_int_equal(pager_map(s, &options, &m), -ENOENT);
	assert_non_null(strstr(pager_error(f->pager), "/nowhere/x.sock"));
	assert_int_equal(pager_session_close(s), 0);
}

static void an_attached_session_needs_no_http(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s;
	struct pager_map *m;
	char path[SCRATCH_PATH_MAX + 8], *status;

	(void)snprintf(path, sizeof(path), "%s/s.sock", f->runtime);
	assert_int_equal(pager_session_attach(f->pager, path, &s), 0);
	assert_null(pager_session_id(s));
	assert_string_equal(pager_session_socket(s), path);
	assert_int_equal(pager_session_status(s, &status), -ENOTSUP);
	options.size = 4 * 4096;
	options.prot = PROT_READ;
	assert_int_equal(pager_map(s, &options, &m), 0);
	assert_image(pager_map_data(m), options.size, 0);
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
	assert_int_equal(stub_requests(f->daemon), 0);
}

static void a_child_gets_a_signal_not_zeros(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;
	volatile uint8_t *data;
	int status;
	pid_t child;

	options.size = 4096;
	assert_int_equal(pager_map(s, &options, &m), 0);
	data = pager_map_data(m);
	child = fork();
	if (child == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		_exit(data[0]);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	assert_image((uint8_t *)data, 4096, 0);
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
}

static void locked_memory_is_refused(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;
	int r;

	options.size = 4096;
	/* By number: sanitizers make the functions do nothing. */
	if (syscall(SYS_mlockall, MCL_FUTURE) < 0) {
		print_message("no right to lock memory\n");
		skip();
	}
	r = pager_map(s, &options, &m);
	assert_int_equal(syscall(SYS_munlockall), 0);
	assert_int_equal(r, -EPERM);
	assert_non_null(strstr(pager_error(f->pager), "locked"));
	assert_string_equal(stub_handshake(f->daemon), "");
	assert_int_equal(pager_session_close(s), 0);
}

struct reading {
	const volatile uint8_t *addr;
	uint8_t value;
};

static void *read_byte(void *arg)
{
	struct reading *reading = arg;

	reading->value = *reading->addr;
	return NULL;
}

/* The process's own userfaultfd, by its name in /proc. */
static int find_uffd(void)
{
	char path[64], target[64];

	for (int fd = 3; fd < 256; fd++) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, "anon_inode:[userfaultfd]") == 0)
			return fd;
	}
	return -1;
}

/* What a new daemon does that fetched the userfaultfd back. */
static void answer_one_fault(int uffd, uint64_t expected)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	struct pollfd event = {uffd, POLLIN, 0};
	struct uffd_msg message;
	struct uffdio_copy copy = {
		.dst = expected, .src = (uintptr_t)page, .len = 4096};

	assert_int_equal(poll(&event, 1, -1), 1);
	assert_int_equal(read(uffd, &message, sizeof(message)),
			 sizeof(message));
	assert_int_equal(message.arg.pagefault.address & ~4095ull, expected);
	for (int i = 0; i < 4096; i++)
		page[i] = stub_byte(4096ull + (uint64_t)i);
	assert_int_equal(ioctl(uffd, UFFDIO_COPY, &copy), 0);
}

static void a_dead_daemon_stalls_and_never_zeroes(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;
	struct reading reading = {NULL, 0};
	pthread_t thread;

	options.size = 2 * 4096;
	assert_int_equal(pager_map(s, &options, &m), 0);
	reading.addr = (uint8_t *)pager_map_data(m) + 4096;
	stub_forget(f->daemon);
	assert_int_equal(pthread_create(&thread, NULL, read_byte, &reading), 0);
	answer_one_fault(find_uffd(), (uintptr_t)reading.addr);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(reading.value, stub_byte(4096));
	pager_unmap(m);
	assert_int_equal(pager_session_close(s), 0);
}

static void nothing_is_left_open(void **state)
{
	struct pager_map_options options = PAGER_MAP_OPTIONS_INIT;
	struct fixture *f = *state;
	struct pager_session *s = make_session(f);
	struct pager_map *m;

	options.size = 4096;
	assert_int_equal(pager_map(s, &options, &m), 0);
	stub_forget(f->daemon);
	assert_int_equal(fcntl(find_uffd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	pager_unmap(m);
	assert_int_equal(find_uffd(), -1);
	assert_int_equal(pager_session_close(s), 0);

	s = make_session(f);
	stub_refuse(f->daemon, true);
	assert_int_equal(pager_map(s, &options, &m), -EINVAL);
	stub_forget(f->daemon);
	assert_int_equal(find_uffd(), -1);
	assert_int_equal(pager_session_close(s), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_become_errors),
		cmocka_unit_test(nobody_answers),
		TEST(requests_say_what_was_asked),
		TEST(a_name_that_is_no_utf8_is_refused),
		TEST(an_id_stays_one_segment),
		TEST(a_map_has_the_images_bytes),
		TEST(a_removed_page_is_zero),
		TEST(regions_in_any_order),
		TEST(many_regions),
		TEST(huge_pages_come_whole),
		TEST(layouts_that_cannot_be),
		TEST(an_address_in_use_is_kept),
		TEST(a_refused_offer_leaves_nothing),
		TEST(a_session_that_is_gone),
		TEST(an_attached_session_needs_no_http),
		TEST(a_child_gets_a_signal_not_zeros),
		TEST(locked_memory_is_refused),
		TEST(a_dead_daemon_stalls_and_never_zeroes),
		TEST(nothing_is_left_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
