#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "fs/base/err.h"
#include "fs/io/confine.h"
#include "fs/io/inject.h"
#include "tests/unit/store/scratch.h"

/*
 *   in/file  in/deep/file  in/inner -> deep  in/self -> file  in/fifo
 *   in/out -> ../secret  in/abs -> FOLDER/secret  in/up -> ..
 *   secret   in-other/file   name -> in
 */
static char folder[SCRATCH_PATH_MAX];
static char in[SCRATCH_PATH_MAX + 8];
static struct confine *allowed;

static const char *at(const char *name)
{
	return scratch_file(folder, name);
}

static void write_file(const char *name, const char *text)
{
	scratch_write(at(name), text, strlen(text));
}

static void link_to(const char *target, const char *name)
{
	assert_int_equal(symlink(target, at(name)), 0);
}

static int set_up(void **state)
{
	const char *roots[] = {in};
	char secret[SCRATCH_PATH_MAX * 2];

	(void)state;
	scratch_make(folder);
	(void)snprintf(in, sizeof(in), "%s/in", folder);
	(void)snprintf(secret, sizeof(secret), "%s", at("secret"));
	assert_int_equal(mkdir(in, 0755), 0);
	assert_int_equal(mkdir(at("in/deep"), 0755), 0);
	assert_int_equal(mkdir(at("in-other"), 0755), 0);
	write_file("in/file", "good");
	write_file("in/deep/file", "good");
	write_file("in-other/file", "secret");
	write_file("secret", "secret");
	link_to("deep", "in/inner");
	link_to("file", "in/self");
	link_to("../secret", "in/out");
	link_to(secret, "in/abs");
	link_to("..", "in/up");
	link_to("in", "name");
	assert_int_equal(mkfifo(at("in/fifo"), 0600), 0);
	assert_int_equal(confine_new(roots, 1, &allowed), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	confine_free(allowed);
	scratch_remove(folder);
	return 0;
}

static unsigned int open_files(void)
{
	return scratch_count("/proc/self/fd");
}

static int open_in(const struct confine *c, const char *name)
{
	int fd = -1, r = confine_open(c, at(name), &fd);
	char text[8] = "";

	if (r < 0) {
		assert_int_equal(fd, -1);
		assert_non_null(strstr(err_text(r), "'"));
		return r;
	}
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_int_equal(close(fd), 0);
	assert_string_equal(text, "good");
	return 0;
}

static void what_lies_within_opens(void **state)
{
	unsigned int files = open_files();

	(void)state;
	assert_int_equal(open_in(allowed, "in/file"), 0);
	assert_int_equal(open_in(allowed, "in/deep/file"), 0);
	assert_int_equal(open_in(allowed, "in/self"), 0);
	assert_int_equal(open_in(allowed, "in/inner/file"), 0);
	assert_int_equal(open_in(allowed, "in/deep/../file"), 0);
	assert_int_equal(open_files(), files);
}

/* Both with openat2() and without. */
static const struct {
	const char *name;
	int result;
} refused[] = {
	{"in/../secret", -EXDEV},
	{"in/deep/../../secret", -EXDEV},
	{"in/..", -EXDEV},
	{"in-other/file", -EXDEV},
	{"secret", -EXDEV},
	{"in", -EXDEV},
	{"in/", -EXDEV},
	{"in/deep", -EINVAL},
	{"in/fifo", -EINVAL},
	{"in/none", -ENOENT},
	{"in/file/more", -ENOTDIR},
	{"in/none/../file", -ENOENT},
	{"in/deep/none/f", -ENOENT},
};

static void check_refused(void)
{
	unsigned int files = open_files();

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(open_in(allowed, refused[i].name),
				 refused[i].result);
	assert_int_equal(open_files(), files);
}

static void what_leads_out_is_refused(void **state)
{
	int fd = -1;

	(void)state;
	check_refused();
	assert_int_equal(open_in(allowed, "in/out"), -EXDEV);
	assert_int_equal(open_in(allowed, "in/abs"), -EXDEV);
	assert_int_equal(open_in(allowed, "in/up/secret"), -EXDEV);
	assert_int_equal(confine_open(allowed, "in/file", &fd), -EINVAL);
	assert_int_equal(confine_open(allowed, "", &fd), -EINVAL);
	assert_int_equal(confine_open(allowed, "/", &fd), -EXDEV);
}

/* Hidden behind a name in the folder, it must not even be opened. */
static void devices_are_refused(void **state)
{
	(void)state;
	if (mknod(at("in/null"), S_IFCHR | 0666, makedev(1, 3)) < 0)
		skip();
	assert_int_equal(open_in(allowed, "in/null"), -EINVAL);
}

static void magic_links_are_refused(void **state)
{
	const char *roots[] = {"/proc/self"};
	struct confine *c = NULL;
	char path[64];
	int fd = -1, secret;

	(void)state;
	secret = open(at("secret"), O_RDONLY | O_CLOEXEC);
	assert_true(secret >= 0);
	assert_int_equal(confine_new(roots, 1, &c), 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", secret);
	assert_int_equal(confine_open(c, path, &fd), -ELOOP);
	assert_int_equal(confine_look(path, &fd), -ELOOP);
	assert_int_equal(confine_open(c, "/proc/self/root/etc/passwd", &fd),
			 -ELOOP);
	confine_free(c);
	(void)close(secret);
}

static void folders_have_both_names(void **state)
{
	char given[SCRATCH_PATH_MAX + 16];
	const char *roots[] = {given};
	struct confine *c = NULL;

	(void)state;
	(void)snprintf(given, sizeof(given), "%s/name///", folder);
	assert_int_equal(confine_new(roots, 1, &c), 0);
	assert_int_equal(open_in(c, "name/file"), 0);
	assert_int_equal(open_in(c, "in/file"), 0);
	assert_int_equal(open_in(c, "name/../secret"), -EXDEV);
	confine_free(c);
	(void)snprintf(given, sizeof(given), "%s/nowhere", folder);
	assert_int_equal(confine_new(roots, 1, &c), -ENOENT);
	assert_non_null(strstr(err_text(-ENOENT), "nowhere"));
}

static void no_folder_allows_nothing(void **state)
{
	struct confine *c = NULL;

	(void)state;
	assert_int_equal(confine_new(NULL, 0, &c), 0);
	assert_int_equal(open_in(c, "in/file"), -EXDEV);
	confine_free(c);
}

struct swapper {
	_Atomic bool done;
};

/* A folder and a symbolic link that leads out, in each other's place. */
static void *swap(void *arg)
{
	struct swapper *s = arg;
	char one[SCRATCH_PATH_MAX * 2], two[SCRATCH_PATH_MAX * 2];

	(void)snprintf(one, sizeof(one), "%s", at("in/deep"));
	(void)snprintf(two, sizeof(two), "%s", at("in/trap"));
	while (!atomic_load(&s->done))
		if (renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE) <
		    0)
			abort();
	return NULL;
}

static void check_race(void)
{
	struct swapper s = {0};
	unsigned int files = open_files(), good = 0;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, swap, &s), 0);
	for (int i = 0; i < 20000; i++) {
		/* Reads "good" or fails: never what the link leads to. */
		int r = open_in(allowed, "in/deep/file");

		good += r == 0;
	}
	atomic_store(&s.done, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(good > 0);
	assert_int_equal(open_files(), files);
}

static void a_race_opens_nothing_outside(void **state)
{
	(void)state;
	link_to("../in-other", "in/trap");
	check_race();
}

#ifdef PAGER_INJECT
static void without_openat2_no_link_is_followed(void **state)
{
	(void)state;
	link_to("../in-other", "in/trap");
	assert_int_equal(inject_configure("openat2:ENOSYS+"), 0);
	assert_int_equal(open_in(allowed, "in/file"), 0);
	assert_int_equal(open_in(allowed, "in/deep/file"), 0);
	check_refused();
	assert_int_equal(open_in(allowed, "in/deep/../file"), -EXDEV);
	assert_int_equal(open_in(allowed, "in/self"), -ELOOP);
	assert_int_equal(open_in(allowed, "in/inner/file"), -ELOOP);
	assert_int_equal(open_in(allowed, "in/out"), -ELOOP);
	assert_int_equal(open_in(allowed, "in/up/secret"), -ELOOP);
	check_race();
	assert_int_equal(inject_configure(NULL), 0);
}
#endif

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_lies_within_opens),
		CASE(what_leads_out_is_refused),
		CASE(devices_are_refused),
		CASE(magic_links_are_refused),
		CASE(folders_have_both_names),
		CASE(no_folder_allows_nothing),
		CASE(a_race_opens_nothing_outside),
#ifdef PAGER_INJECT
		CASE(without_openat2_no_link_is_followed),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
