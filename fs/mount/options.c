#include "fs/mount/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/err.h"
#include "fs/cache/cache.h"
#include "fs/io/text.h"

#define CACHE_DEFAULT	  ((size_t)256 << 20)
#define READAHEAD_DEFAULT ((size_t)1 << 20)
#define READAHEAD_MAX	  ((uint64_t)64 << 20)

/* Options of pagerfs itself. */
static const struct flag {
	int letter;
	const char *name, *argument, *help, *prose;
} flags[] = {
	{'f', "foreground", NULL, "stay in the foreground",
	 "Stays in the foreground and logs to stderr. Without it pagerfs "
	 "returns once the mount can be used."},
	{'o', NULL, "OPTS", "mount options, parted by commas",
	 "Mount options, see below. May be given more than once."},
	{'h', "help", NULL, "print this and exit",
	 "Prints the options and exits."},
	{'V', "version", NULL, "print the version and exit",
	 "Prints the version and exits."},
	{'M', "manual", NULL, NULL, NULL}, /* for the build */
};

#define FLAGS (sizeof(flags) / sizeof(flags[0]))

/* Words of -o. A setter gets the value, "" where the word has none. */
static int set_cache(struct pagerfs_options *o, const char *value)
{
	uint64_t bytes;

	if (text_parse_size(value, &bytes) < 0 || bytes < CACHE_LIMIT_MIN ||
	    bytes > CACHE_LIMIT_MAX)
		return -EINVAL;
	o->cache_bytes = bytes;
	return 0;
}

static int set_threads(struct pagerfs_options *o, const char *value)
{
	uint64_t count;

	if (text_parse_u64(value, &count) < 0 || count < 1 || count > 64)
		return -EINVAL;
	o->threads = (unsigned int)count;
	return 0;
}

static int set_readahead(struct pagerfs_options *o, const char *value)
{
	uint64_t bytes;

	if (text_parse_size(value, &bytes) < 0 || bytes > READAHEAD_MAX)
		return -EINVAL;
	o->readahead = bytes;
	return 0;
}

static int parse_id(const char *value, uint32_t *ret_id)
{
	uint64_t id;

	/* The largest number means "no change" to chown(2). */
	if (text_parse_u64(value, &id) < 0 || id >= UINT32_MAX)
		return -EINVAL;
	*ret_id = (uint32_t)id;
	return 0;
}

static int set_uid(struct pagerfs_options *o, const char *value)
{
	return parse_id(value, &o->uid);
}

static int set_gid(struct pagerfs_options *o, const char *value)
{
	return parse_id(value, &o->gid);
}

static int set_allow_other(struct pagerfs_options *o, const char *value)
{
	(void)value;
	o->allow_other = true;
	return 0;
}

static int set_rdwr_open(struct pagerfs_options *o, const char *value)
{
	(void)value;
	o->rdwr_open = true;
	return 0;
}

static const struct word {
	const char *name, *argument, *help, *prose;
	int (*set)(struct pagerfs_options *o, const char *value);
} words[] = {
	{"cache", "BYTES", "bound of the block cache (256M)",
	 "The hard bound of the block cache, its own bookkeeping counted. "
	 "Takes the suffixes K, M, G and T. Default: 256M.",
	 set_cache},
	{"threads", "N", "threads that answer (the processors, 4 to 8)",
	 "How many threads answer requests. Default: the processors, at least "
	 "4 and at most 8.",
	 set_threads},
	{"readahead", "BYTES", "how far the kernel reads ahead (1M)",
	 "How far the kernel reads ahead in a file that is read in order. More "
	 "than 128K takes effect only for root. 0 leaves the kernel's own "
	 "bound. Default: 1M.",
	 set_readahead},
	{"rdwr_open", NULL, "let snapshots' files be opened for writing too",
	 "Lets the files of snapshots be opened for reading and writing, for "
	 "programs that do so even for a private mapping, such as QEMU before "
	 "8.2. Every write is still refused, and so are shared mappings of "
	 "files opened so. The kernel then shows the mount as rw.",
	 set_rdwr_open},
	{"allow_other", NULL, "let other users in, by owner and mode",
	 "Lets users other than the one who mounts use the mount, as far as "
	 "owner and mode of the files allow it; see uid and gid. For users "
	 "other than root /etc/fuse.conf has to allow it.",
	 set_allow_other},
	{"uid", "N", "the owner of all files (who mounts)",
	 "The user who owns all files. Default: who mounts.", set_uid},
	{"gid", "N", "the group of all files (who mounts)",
	 "The group of all files. Default: that of who mounts.", set_gid},
};

#define WORDS (sizeof(words) / sizeof(words[0]))

/* What mount(8) passes on, and what is so in any case. */
static const char *const ignored[] = {
	"ro",	      "rw",	    "suid",   "nosuid",	 "dev",
	"nodev",      "exec",	    "noexec", "atime",	 "noatime",
	"relatime",   "norelatime", "auto",   "noauto",	 "user",
	"nouser",     "users",	    "nofail", "_netdev", "defaults",
	"nodiratime", "diratime",
};

static bool is_ignored(const char *name)
{
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (strcmp(name, ignored[i]) == 0)
			return true;
	return false;
}

static int set_word(struct pagerfs_options *o, char *text)
{
	char *value = strchr(text, '=');

	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < WORDS; i++) {
		if (strcmp(text, words[i].name) != 0)
			continue;
		if (!value != !words[i].argument)
			return err_set(-EINVAL, "-o %s: %s value", text,
				       value ? "takes no" : "wants a");
		if (words[i].set(o, value ? value : "") < 0)
			return err_set(-EINVAL, "-o %s: '%s' will not do", text,
				       value);
		return 0;
	}
	if (!value && is_ignored(text))
		return 0;
	return err_set(-EINVAL, "-o %s: no such option; see pagerfs --help",
		       text);
}

static int set_words(struct pagerfs_options *o, char *text)
{
	char *one;

	while ((one = strsep(&text, ","))) {
		int r = *one ? set_word(o, one) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int set_flag(struct pagerfs_options *o, int letter, char **argv)
{
	switch (letter) {
	case 'f':
		o->foreground = true;
		return 0;
	case 'o':
		return set_words(o, optarg);
	case 'h':
		o->help = true;
		return 0;
	case 'V':
		o->version = true;
		return 0;
	case 'M':
		o->manual = true;
		return 0;
	default:
		return err_set(-EINVAL,
			       "%s: no such option, or without its value; see "
			       "pagerfs --help",
			       argv[optind - 1]);
	}
}

static int parse_flags(int argc, char **argv, struct pagerfs_options *o)
{
	struct option longs[FLAGS + 1] = {0};
	size_t count = 0;
	int letter, r = 0;

	for (size_t i = 0; i < FLAGS; i++)
		if (flags[i].name)
			longs[count++] = (struct option){
				.name = flags[i].name, .val = flags[i].letter};
	optind = 0; /* glibc: begin anew, also in a second call */
	while (r == 0 &&
	       (letter = getopt_long(argc, argv, ":fho:V", longs, NULL)) != -1)
		r = set_flag(o, letter, argv);
	return r;
}

int options_parse(int argc, char **argv, struct pagerfs_options *ret_options)
{
	struct pagerfs_options o = {
		.cache_bytes = CACHE_DEFAULT,
		.readahead = READAHEAD_DEFAULT,
		.uid = geteuid(),
		.gid = getegid(),
	};
	int r = parse_flags(argc, argv, &o);

	if (r < 0)
		return r;
	if (!o.help && !o.version && !o.manual) {
		if (argc - optind != 2)
			return err_set(-EINVAL,
				       "wants a STORE and a MOUNTPOINT; see "
				       "pagerfs --help");
		o.store = argv[optind];
		o.path = argv[optind + 1];
	}
	*ret_options = o;
	return 0;
}

static void help_line(FILE *out, const char *left, const char *help)
{
	(void)fprintf(out, "  %-24s %s\n", left, help);
}

void options_print_help(FILE *out)
{
	char left[64];

	(void)fputs("Usage: pagerfs [-f] STORE MOUNTPOINT [-o OPTS]\n"
		    "Shows the snapshots of a store as files, read-only.\n\n",
		    out);
	for (size_t i = 0; i < FLAGS; i++) {
		const struct flag *f = &flags[i];

		if (!f->help)
			continue;
		(void)snprintf(left, sizeof(left), "-%c%s%s%s%s", f->letter,
			       f->name ? ", --" : "", f->name ? f->name : "",
			       f->argument ? " " : "",
			       f->argument ? f->argument : "");
		help_line(out, left, f->help);
	}
	(void)fputs("\nMount options:\n", out);
	for (size_t i = 0; i < WORDS; i++) {
		(void)snprintf(left, sizeof(left), "%s%s%s", words[i].name,
			       words[i].argument ? "=" : "",
			       words[i].argument ? words[i].argument : "");
		help_line(out, left, words[i].help);
	}
	(void)fputs("\nfusermount3 -u MOUNTPOINT or umount ends it. See "
		    "pagerfs(8).\n",
		    out);
}

static void print_escaped(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '-' || *s == '\\')
			(void)fputc('\\', out);
		(void)fputc(*s, out);
	}
}

static void manual_flag(FILE *out, const struct flag *f)
{
	(void)fprintf(out, ".TP\n.B \\-%c", f->letter);
	if (f->name) {
		(void)fputs(", \\-\\-", out);
		print_escaped(out, f->name);
	}
	if (f->argument)
		(void)fprintf(out, " \\fI%s\\fR", f->argument);
	(void)fputc('\n', out);
	print_escaped(out, f->prose);
	(void)fputc('\n', out);
}

static void manual_word(FILE *out, const struct word *w)
{
	(void)fprintf(out, ".TP\n.B %s", w->name);
	if (w->argument)
		(void)fprintf(out, "=\\fI%s\\fR", w->argument);
	(void)fputc('\n', out);
	print_escaped(out, w->prose);
	(void)fputc('\n', out);
}

static const char manual_head[] =
	".TH PAGERFS 8 \"\" \"pagerd " PAGER_VERSION "\"\n"
	".SH NAME\n"
	"pagerfs \\- shows the snapshots of a store as files\n"
	".SH SYNOPSIS\n"
	".B pagerfs\n"
	"[\\fB\\-f\\fR] \\fISTORE MOUNTPOINT\\fR [\\fB\\-o\\fR \\fIOPTS\\fR]\n"
	".br\n"
	".B mount \\-t fuse.pagerfs\n"
	"[\\fB\\-o\\fR \\fIOPTS\\fR] \\fISTORE MOUNTPOINT\\fR\n"
	".SH DESCRIPTION\n"
	"pagerfs mounts a store that pagerctl(1) has made, read\\-only. Every "
	"snapshot is a folder with the memory image, the files that were "
	"published with it and what is known of it. New and removed snapshots "
	"show at once. No daemon is needed.\n"
	".PP\n"
	"A file of a snapshot that is open leases the snapshot: it cannot be "
	"removed meanwhile. Damage in the store gives EIO to who reads the "
	"damaged page, with one line in the log, and never a wrong byte.\n"
	".SH OPTIONS\n";

static const char manual_tail[] =
	".SH FILES\n"
	".TP\n.I snapshots/NAME/memory\n"
	"The image, of its exact size, with holes where pages are zero. May "
	"be mapped.\n"
	".TP\n.I snapshots/NAME/KEY\n"
	"The vmstate and every attached file.\n"
	".TP\n.I snapshots/NAME/manifest.json\n"
	"What pagerctl show \\-\\-json prints.\n"
	".TP\n.I snapshots/NAME/pages\n"
	"A line of 78 bytes for each run of equal pages: the first page, how "
	"many, zero or block, the block's digest, and how many pages of this "
	"image hold the same block. To look at its size takes a walk over the "
	"page table.\n"
	".TP\n.I snapshots/NAME/working\\-set\n"
	"The pages that restores touched first, a page number a line, in their "
	"order. It is there once a restore has recorded it, and changes when "
	"another one does.\n"
	".TP\n.I digests/DIGEST\n"
	"A symlink to the snapshot whose image has the digest; to the first "
	"by name where several have.\n"
	".TP\n.I blocks/AB/DIGEST\n"
	"A block of the store by its digest, which begins with AB; "
	"page\\-table "
	"nodes are blocks too. Nothing leases it.\n"
	".TP\n.I .pager/cache.json\n"
	"The counters of the block cache.\n"
	".PP\n"
	"The attributes user.pager.digest, user.pager.parent and "
	"user.pager.codec tell of a snapshot and its files.\n"
	".SH SIGNALS\n"
	"SIGTERM, SIGINT and SIGHUP unmount and end. Files that are open "
	"fail with ENOTCONN from then on. After SIGKILL a new pagerfs on the "
	"same mount point takes the dead mount away, if it runs as root.\n"
	".SH EXIT STATUS\n"
	"0 when mounted, or in the foreground when unmounted; 1 when something "
	"failed; 2 for wrong options.\n"
	".SH EXAMPLES\n"
	".nf\n"
	"pagerfs /var/lib/pagerd /mnt/snapshots \\-o cache=1G\n"
	"cmp /mnt/snapshots/snapshots/a/memory /mnt/snapshots/snapshots/b/"
	"memory\n"
	"grep \\-c block /mnt/snapshots/snapshots/a/pages\n"
	".fi\n"
	".SH SEE ALSO\n"
	".BR pagerctl (1),\n"
	".BR pagerd (8),\n"
	".BR fusermount3 (1),\n"
	".BR mount (8)\n";

void options_print_manual(FILE *out)
{
	(void)fputs(manual_head, out);
	for (size_t i = 0; i < FLAGS; i++)
		if (flags[i].prose)
			manual_flag(out, &flags[i]);
	(void)fputs(".SH MOUNT OPTIONS\n"
		    "Those that every file system has (ro, nosuid ...) are "
		    "taken and change nothing.\n",
		    out);
	for (size_t i = 0; i < WORDS; i++)
		manual_word(out, &words[i]);
	(void)fputs(manual_tail, out);
}
