#include "pagerd/sandbox/sandbox.h"

#include <cap-ng.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/err.h"

#define NAMESPACES                                                     \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* A call, and what its arguments must be; a row each where there is a choice.
 */
struct rule {
	const char *name;
	unsigned int count;
	struct scmp_arg_cmp tests[1];
};

#define CALL(name)                \
	{                         \
		name, 0,          \
		{                 \
			{         \
				0 \
			}         \
		}                 \
	}
/* An EQ or a NE has no second datum; clang wants the 0 said. */
#define WITH(name, test)     \
	{                    \
		name, 1,     \
		{            \
			test \
		}            \
	}

/* Of any process: memory, threads, signals, time. */
static const struct rule basics[] = {
	CALL("brk"),
	WITH("mmap", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)),
	WITH("mprotect", SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)),
	CALL("munmap"),
	CALL("mremap"),
	CALL("madvise"),
	CALL("futex"),
	CALL("rseq"),
	CALL("set_robust_list"),
	CALL("sched_yield"),
	CALL("sched_getaffinity"),
	CALL("gettid"),
	CALL("getpid"),
	CALL("getuid"),
	CALL("geteuid"),
	CALL("getgid"),
	CALL("getegid"),
	CALL("rt_sigaction"),
	CALL("rt_sigprocmask"),
	CALL("rt_sigreturn"),
	CALL("sigaltstack"),
	CALL("restart_syscall"),
	CALL("clock_gettime"),
	CALL("clock_nanosleep"),
	CALL("nanosleep"),
	CALL("gettimeofday"),
	CALL("time"),
	CALL("exit"),
	CALL("exit_group"),
	CALL("read"),
	CALL("write"),
	CALL("close"),
	CALL("poll"),
	CALL("ppoll"),
	/* Not what types into the terminal that we were started from. */
	WITH("ioctl", SCMP_A1(SCMP_CMP_NE, TIOCSTI, 0)),
	CALL("getrandom"),
	CALL("recvmsg"),
	CALL("sendmsg"),
	CALL("accept4"),
	CALL("getsockopt"),
	CALL("access"),
};

static const struct rule daemon_calls[] = {
	WITH("clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | NAMESPACES,
			      CLONE_THREAD)),
	WITH("socket", SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0)),
	WITH("prctl", SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0)),
	WITH("prctl", SCMP_A0(SCMP_CMP_EQ, PR_GET_NAME, 0)),
	CALL("mlock"),
	CALL("mincore"),
	CALL("getpriority"),
	CALL("setpriority"),
	CALL("sysinfo"),
	CALL("uname"),
	CALL("getrlimit"),
	CALL("prlimit64"),
	CALL("getrusage"),
	CALL("membarrier"),
	/* Files. */
	CALL("open"),
	CALL("openat"),
	CALL("openat2"),
	CALL("stat"),
	CALL("lstat"),
	CALL("fstat"),
	CALL("newfstatat"),
	CALL("statx"),
	CALL("statfs"),
	CALL("fstatfs"),
	CALL("faccessat"),
	CALL("faccessat2"),
	CALL("readlink"),
	CALL("readlinkat"),
	CALL("getcwd"),
	CALL("getdents64"),
	CALL("lseek"),
	CALL("pread64"),
	CALL("preadv"),
	CALL("preadv2"),
	CALL("readv"),
	CALL("pwrite64"),
	CALL("pwritev"),
	CALL("pwritev2"),
	CALL("writev"),
	CALL("ftruncate"),
	CALL("fallocate"),
	CALL("fadvise64"),
	CALL("fsync"),
	CALL("fdatasync"),
	CALL("sync_file_range"),
	CALL("rename"),
	CALL("renameat"),
	CALL("renameat2"),
	CALL("unlink"),
	CALL("unlinkat"),
	CALL("mkdir"),
	CALL("mkdirat"),
	CALL("fchmod"),
	CALL("fchmodat"),
	CALL("fchown"),
	CALL("fchownat"),
	CALL("chown"),
	CALL("lchown"),
	CALL("utimensat"),
	CALL("flock"),
	CALL("fcntl"),
	CALL("dup"),
	CALL("dup2"),
	CALL("dup3"),
	/* Events. */
	CALL("epoll_create1"),
	CALL("epoll_ctl"),
	CALL("epoll_wait"),
	CALL("epoll_pwait"),
	CALL("epoll_pwait2"),
	CALL("eventfd2"),
	CALL("timerfd_create"),
	CALL("timerfd_settime"),
	CALL("signalfd4"),
	CALL("io_uring_enter"),
	/* Sockets and pipes, FUSE's among them. */
	CALL("bind"),
	CALL("listen"),
	CALL("connect"),
	CALL("accept"),
	CALL("recvfrom"),
	CALL("sendto"),
	CALL("recvmmsg"),
	CALL("sendmmsg"),
	CALL("setsockopt"),
	CALL("getsockname"),
	CALL("getpeername"),
	CALL("shutdown"),
	CALL("sendfile"),
	CALL("pipe2"),
	CALL("splice"),
	/* VMMs: who they are, their userfaultfds, their end. */
	CALL("kcmp"),
	CALL("pidfd_open"),
	CALL("pidfd_getfd"),
	CALL("pidfd_send_signal"),
};

/* Whoever unmounts; the calls that need CAP_SYS_ADMIN are none else. */
static const struct rule mount_calls[] = {CALL("umount2")};

/* What the runtimes of sanitizers do, leak checks at the end above all. */
static const struct rule sanitizer_calls[] = {
	CALL("mmap"),  CALL("mprotect"),   CALL("clone"),   CALL("ptrace"),
	CALL("wait4"), CALL("prctl"),	   CALL("kill"),    CALL("tgkill"),
	CALL("open"),  CALL("openat"),	   CALL("fstat"),   CALL("readlink"),
	CALL("lseek"), CALL("getdents"),   CALL("getppid"), CALL("stat"),
	CALL("lstat"), CALL("newfstatat"),
};

static int add_rule(scmp_filter_ctx filter, const struct rule *rule)
{
	int r, number = seccomp_syscall_resolve_name(rule->name);

	/* This machine has no such call, or the library does not know it. */
	if (number == __NR_SCMP_ERROR || number < 0)
		return 0;
	r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, rule->count,
				   rule->tests);
	return r == -EEXIST ? 0 : r;
}

static int add_rules(scmp_filter_ctx filter, const struct rule *rules,
		     size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = add_rule(filter, &rules[i]);
	return r;
}

#define ADD(filter, list) \
	add_rules(filter, list, sizeof(list) / sizeof((list)[0]))

/* An abort must still be one, of this process alone. */
static int add_own(scmp_filter_ctx filter)
{
	return seccomp_rule_add(
		filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
		SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
}

static int build(scmp_filter_ctx filter)
{
	int r = ADD(filter, basics);

	if (r == 0 && SANITIZED)
		r = ADD(filter, sanitizer_calls) ?: ADD(filter, daemon_calls);
	else if (r == 0)
		r = add_own(filter);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS),
				     SCMP_SYS(clone3), 0);
	return r;
}

static int build_daemon(scmp_filter_ctx filter, const struct sandbox *options)
{
	int r = build(filter);

	if (r == 0)
		r = ADD(filter, daemon_calls);
	if (r == 0 && options->mounts)
		r = ADD(filter, mount_calls);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	return r;
}

static int load(const struct sandbox *options)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = -ENOMEM;

	if (filter)
		r = options ? build_daemon(filter, options) : build(filter);
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

/*
 * The C library loads this one when a thread is first cancelled, as libfuse
 * does with its own in the end: code cannot be mapped any more then.
 */
static void load_what_cancels(void)
{
	(void)dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NODELETE);
}

int sandbox_daemon(const struct sandbox *options)
{
	if (options->mounts)
		load_what_cancels();
	return load(options);
}

int sandbox_holder(void)
{
	return load(NULL);
}

/*
 * SYS_PTRACE and DAC_OVERRIDE: a VMM's userfaultfd, memory map and descriptors
 * are looked up and fetched back. KILL: the policy. CHOWN, FOWNER: a session's
 * socket is given to its user. IPC_LOCK: older kernels charge io_uring's rings
 * and the page states' header to locked memory.
 */
static const unsigned int kept[] = {CAP_SYS_PTRACE, CAP_DAC_OVERRIDE,
				    CAP_KILL,	    CAP_CHOWN,
				    CAP_FOWNER,	    CAP_IPC_LOCK};

static bool is_kept(unsigned int capability, bool mounts)
{
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (kept[i] == capability)
			return true;
	/* Mounting, and unmounting in the end. */
	return mounts && capability == CAP_SYS_ADMIN;
}

int sandbox_capabilities(bool mounts)
{
	capng_select_t which = CAPNG_SELECT_CAPS;

	if (geteuid() != 0)
		return 0;
	if (capng_get_caps_process() < 0)
		return err_set(-EPERM, "cannot read our capabilities");
	/* A service manager that took that one away has cut the set, too. */
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		which = CAPNG_SELECT_BOTH;
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++)
		if (!is_kept(i, mounts))
			(void)capng_update(CAPNG_DROP,
					   CAPNG_EFFECTIVE | CAPNG_PERMITTED |
						   CAPNG_INHERITABLE |
						   CAPNG_BOUNDING_SET,
					   i);
	return capng_apply(which) < 0
		       ? err_set(-EPERM, "cannot drop capabilities: %m")
		       : 0;
}
