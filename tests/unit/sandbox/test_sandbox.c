/* Each case runs in a process of its own, which the filter then has for good.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
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
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pagerd/sandbox/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const struct sandbox plain = {.mounts = false};
static const struct sandbox with_mount = {.mounts = true};

/* The exit status of a child that runs `body`, or minus its signal. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#define REFUSED(call)                                                     \
	do {                                                              \
		errno = 0;                                                \
		if ((long)(call) != -1 || errno != EPERM) {               \
			(void)dprintf(2, "not refused: %s (%d)\n", #call, \
				      errno);                             \
			return 1;                                         \
		}                                                         \
	} while (0)

#define ALLOWED(call)                                                         \
	do {                                                                  \
		if ((long)(call) < 0) {                                       \
			(void)dprintf(2, "refused: %s (%d)\n", #call, errno); \
			return 2;                                             \
		}                                                             \
	} while (0)

/* To what the list has not, root or not. */
static int try_others(void)
{
	char *const none[] = {NULL};
	char letter = 'x';

	REFUSED(execve("/bin/true", none, none));
	REFUSED(syscall(SYS_execveat, AT_FDCWD, "/bin/true", none, none, 0));
	REFUSED(socket(AF_INET, SOCK_STREAM, 0));
	REFUSED(socket(AF_INET6, SOCK_DGRAM, 0));
	REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
	REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
	REFUSED(unshare(CLONE_NEWUSER));
	REFUSED(mount("none", "/", "tmpfs", 0, NULL));
	REFUSED(chroot("/"));
	/* The C library would call it in each thread. */
	REFUSED(syscall(SYS_setuid, 0));
	REFUSED(syscall(SYS_userfaultfd, 0));
	REFUSED(syscall(SYS_io_uring_setup, 1, NULL));
	REFUSED(syscall(SYS_io_uring_register, 0, 0, NULL, 0));
	REFUSED(syscall(SYS_bpf, 0, NULL, 0));
	REFUSED(syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
	REFUSED(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
	REFUSED(syscall(SYS_init_module, NULL, 0, ""));
	REFUSED(syscall(SYS_open_by_handle_at, 0, NULL, 0));
	REFUSED(syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
	REFUSED(syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0));
	REFUSED(syscall(SYS_personality, 8));
	REFUSED(syscall(SYS_setns, 0, 0));
	REFUSED(syscall(SYS_pivot_root, "/", "/"));
	REFUSED(ioctl(0, TIOCSTI, &letter));
	return 0;
}

/* What the runtime of a sanitizer needs for itself. */
static int try_what_sanitizers_do(void)
{
	void *page =
		mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (SANITIZED)
		return 0;
	REFUSED(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
	REFUSED(kill(getppid(), 0));
	REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0));
	REFUSED(fork());
	REFUSED(prctl(PR_SET_DUMPABLE, 1));
	REFUSED((long)mmap(NULL, 4096, PROT_READ | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	REFUSED(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	return 0;
}

static int daemon_refuses(void)
{
	int r = sandbox_daemon(&plain);

	if (r < 0)
		return 77;
	r = try_others();
	if (r == 0)
		r = try_what_sanitizers_do();
	if (r == 0)
		REFUSED(umount2("/nowhere", 0));
	return r;
}

static void *touch(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static int daemon_works(void)
{
	pthread_t thread;
	int seen = 0;

	if (sandbox_daemon(&plain) < 0)
		return 77;
	if (pthread_create(&thread, NULL, touch, &seen) != 0 ||
	    pthread_join(thread, NULL) != 0 || !seen)
		return 3;
	ALLOWED(socket(AF_UNIX, SOCK_STREAM, 0));
	ALLOWED(open("/", O_RDONLY));
	ALLOWED(syscall(SYS_pidfd_open, getpid(), 0));
	ALLOWED(prctl(PR_SET_NAME, "x"));
	if (prctl(PR_GET_NAME, (char[16]){0}) < 0)
		return 4;
	free(malloc(64u << 20));
	return 0;
}

static void *call_forbidden(void *arg)
{
	pthread_barrier_t *both = arg;

	(void)pthread_barrier_wait(both);
	(void)pthread_barrier_wait(both);
	errno = 0;
	return (void *)(intptr_t)(unshare(CLONE_NEWUTS) < 0 ? errno : 0);
}

/* Threads that were there before. */
static int threads_are_bound(void)
{
	pthread_barrier_t both;
	pthread_t thread;
	void *result = NULL;

	(void)pthread_barrier_init(&both, NULL, 2);
	if (pthread_create(&thread, NULL, call_forbidden, &both) != 0)
		return 3;
	(void)pthread_barrier_wait(&both);
	if (sandbox_daemon(&plain) < 0)
		return 77;
	(void)pthread_barrier_wait(&both);
	if (pthread_join(thread, &result) != 0)
		return 4;
	return (intptr_t)result == EPERM ? 0 : 5;
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		(void)pause();
	return NULL;
}

/* libfuse cancels its threads, and unmounts. */
static int mounts_are_ended(void)
{
	pthread_t thread;
	void *result = NULL;

	if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0 ||
	    sandbox_daemon(&with_mount) < 0)
		return 77;
	if (pthread_cancel(thread) != 0 || pthread_join(thread, &result) != 0 ||
	    result != PTHREAD_CANCELED)
		return 3;
	errno = 0;
	return umount2("/nowhere/at/all", 0) < 0 && errno != EPERM ? 0 : 4;
}

static int aborts(void)
{
	if (sandbox_daemon(&plain) < 0)
		return 77;
	abort();
}

static int holder_refuses(void)
{
	int r = sandbox_holder();

	if (r < 0)
		return 77;
	r = try_others();
	if (r == 0)
		r = try_what_sanitizers_do();
	if (r != 0 || SANITIZED)
		return r;
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSED(open("/", O_RDONLY));
	REFUSED(syscall(SYS_pidfd_getfd, 0, 0, 0));
	return 0;
}

static int capabilities_go(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	const uint32_t kept = 1u << CAP_SYS_PTRACE | 1u << CAP_DAC_OVERRIDE |
			      1u << CAP_KILL | 1u << CAP_CHOWN |
			      1u << CAP_FOWNER | 1u << CAP_IPC_LOCK;

	if (sandbox_capabilities(false) < 0)
		return 1;
	if (syscall(SYS_capget, &h, d) < 0 || (d[0].effective & ~kept) ||
	    d[1].effective || (d[0].permitted & ~kept) || d[1].permitted ||
	    d[0].inheritable || d[1].inheritable)
		return 2;
	if (prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) != 0 ||
	    prctl(PR_CAPBSET_READ, CAP_NET_ADMIN) != 0)
		return 3;
	/* Again, with nothing left to drop, nor the right to. */
	return sandbox_capabilities(false) < 0 ? 4 : 0;
}

static void run(int (*body)(void), int wanted)
{
	int status = in_child(body);

	if (status == 77)
		skip();
	assert_int_equal(status, wanted);
}

#define CASE(body, wanted)                    \
	static void test_##body(void **state) \
	{                                     \
		(void)state;                  \
		run(body, wanted);            \
	}

CASE(daemon_refuses, 0)
CASE(daemon_works, 0)
CASE(threads_are_bound, 0)
CASE(mounts_are_ended, 0)
CASE(aborts, -SIGABRT)
CASE(holder_refuses, 0)

static void test_capabilities_go(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(capabilities_go), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_daemon_refuses),
		cmocka_unit_test(test_daemon_works),
		cmocka_unit_test(test_threads_are_bound),
		cmocka_unit_test(test_mounts_are_ended),
		cmocka_unit_test(test_aborts),
		cmocka_unit_test(test_holder_refuses),
		cmocka_unit_test(test_capabilities_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
