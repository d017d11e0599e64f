#include "pagerd/ctl/cli/command.h"

#include <limits.h>
#include <string.h>

#include "pagerd/ctl/look/look.h"
#include "pagerd/ctl/run/cachectl.h"
#include "pagerd/ctl/run/service.h"
#include "pagerd/ctl/session/sessions.h"
#include "pagerd/ctl/run/snapshots.h"

const struct command_option command_globals[] = {
	{OPTION_STORE, VALUE_FOLDER, "store", "DIR", false, false,
	 "the store that snapshots are in",
	 "The store. Default: $PAGERD_STORE, else /var/lib/pagerd."},
	{OPTION_RUNTIME, VALUE_FOLDER, "runtime", "DIR", false, false,
	 "the daemon's runtime directory",
	 "Where the daemon's control socket is. Default: $PAGERD_RUNTIME, else "
	 "/run/pagerd."},
	{OPTION_JSON, VALUE_NONE, "json", NULL, false, false,
	 "print one JSON document",
	 "Prints one JSON document on stdout in place of text. When the "
	 "command fails, the line on stderr is the same, and a command that "
	 "did nothing prints no document."},
	{OPTION_QUIET, VALUE_NONE, "quiet", NULL, false, false,
	 "no progress, no summaries; lists: names only",
	 "No progress bar, and no summary of what was done. Lists are names "
	 "only, one a line."},
	{OPTION_HELP, VALUE_NONE, "help", NULL, false, false,
	 "print this, or a command's help, and exit",
	 "Prints the commands, or a command's options, and exits."},
	{OPTION_VERSION, VALUE_NONE, "version", NULL, false, false,
	 "print the version and exit", "Prints the version and exits."},
	{.name = NULL},
};

static const struct command_option no_options[] = {{.name = NULL}};

static const struct command_option publish_options[] = {
	{OPTION_MEMORY, VALUE_FILE, "memory", "FILE", true, false,
	 "the guest's memory; - reads a pipe",
	 "The file of the guest's memory. Its size need not be a multiple of "
	 "4 KiB and is kept. - reads standard input to its end."},
	{OPTION_VMSTATE, VALUE_FILE, "vmstate", "FILE", false, false,
	 "the VMM's state file",
	 "The state that the VMM saved beside the memory."},
	{OPTION_ATTACH, VALUE_FILE_PAIR, "attach", "KEY=FILE", false, true,
	 "keep a further file under KEY",
	 "Keeps a further file, for example a VM's configuration, under KEY."},
	{OPTION_BASE, VALUE_SNAPSHOT, "base", "NAME", false, false,
	 "note NAME as the parent",
	 "Notes that the new snapshot descends from NAME. Blocks are shared "
	 "with every snapshot of the store in any case."},
	{OPTION_CODEC, VALUE_WORD, "codec", "zstd|lz4|none", false, false,
	 "compression of new blocks (default: zstd)",
	 "How new blocks are compressed. zstd is the smallest, lz4 is faster "
	 "to read, none is for data that is compressed already. A block that "
	 "does not shrink is stored as it is. Default: zstd."},
	{OPTION_LABEL, VALUE_PAIR, "label", "K=V", false, true,
	 "note V under K", "Notes a text V under K, for people and programs."},
	{OPTION_THREADS, VALUE_NUMBER, "threads", "N", false, false,
	 "threads that hash and compress",
	 "How many threads hash and compress. Default: as many as there are "
	 "processors, at most 8."},
	{.name = NULL},
};

static const struct command_option export_options[] = {
	{OPTION_MEMORY, VALUE_FILE, "memory", "FILE", false, false,
	 "write the guest's memory; - is stdout",
	 "Writes the memory to FILE. - writes it to standard output, zeros "
	 "included."},
	{OPTION_VMSTATE, VALUE_FILE, "vmstate", "FILE", false, false,
	 "write the VMM's state file",
	 "Writes the state that was published with --vmstate to FILE."},
	{.name = NULL},
};

static const struct command_option map_options[] = {
	{OPTION_SVG, VALUE_FILE, "svg", "FILE", false, false,
	 "draw it as SVG into FILE; - is stdout",
	 "Draws the picture as SVG into FILE, with more cells than fit a "
	 "terminal. - writes it to standard output."},
	{.name = NULL},
};

static const struct command_option rm_options[] = {
	{OPTION_WHEN_UNUSED, VALUE_NONE, "when-unused", NULL, false, false,
	 "hide it now, free it after its last reader",
	 "Takes a snapshot that is read out of sight at once, and frees it "
	 "when its last reader is done. A session's snapshot is refused all "
	 "the same."},
	{.name = NULL},
};

static const struct command_option create_options[] = {
	{OPTION_ID, VALUE_TEXT, "id", "ID", false, false,
	 "the session's id (default: a random one)",
	 "The session's id: 1 to 64 of A-Z a-z 0-9 . _ -, the first no dot. "
	 "Default: 16 random hex digits."},
	{OPTION_POLICY, VALUE_WORD, "policy", "kill|poison|stall", false, false,
	 "when a page cannot be had (default: kill)",
	 "What happens to the VM when a page cannot be had after retries: kill "
	 "ends the VMM, poison gives SIGBUS to whoever touches that page, "
	 "stall tries again for ever. A VM never gets a wrong page. Default: "
	 "kill."},
	{OPTION_UID, VALUE_NUMBER, "uid", "U", false, false,
	 "the user that may connect, beside root",
	 "Gives the session's socket to user U, whose VMM may then connect."},
	{OPTION_GID, VALUE_NUMBER, "gid", "G", false, false,
	 "the group of the socket", "Gives the socket to group G."},
	{OPTION_OVERLAY, VALUE_FILE_PAIR, "overlay", "OFFSET=FILE", false, true,
	 "lay FILE's bytes over the memory",
	 "Lays the bytes of FILE over the guest's memory at OFFSET, for this "
	 "session alone: a host name, a key, a seed. The snapshot stays as it "
	 "is. OFFSET takes the suffixes K, M, G and T. What is over 700 KiB in "
	 "all the daemon reads itself, for which FILE must lie below a folder "
	 "that pagerd --import names."},
	{OPTION_NO_PREFETCH, VALUE_NONE, "no-prefetch", NULL, false, false,
	 "install only what the guest asks for",
	 "Does not install the snapshot's working set ahead of the guest."},
	{OPTION_RECORD, VALUE_NONE, "record", NULL, false, false,
	 "record the working set anew",
	 "Notes what the guest touches first, and merges it into the "
	 "snapshot's working set; nothing is installed ahead of it. Without "
	 "this, a snapshot that has no working set yet has one recorded."},
	{.name = NULL},
};

static const struct command_option cache_stats_options[] = {
	{OPTION_SNAPSHOTS, VALUE_NONE, "snapshots", NULL, false, false,
	 "tell which snapshots use most of it",
	 "Tells too which snapshots use most of the cache. This reads the page "
	 "tables of all snapshots, which takes time in a large store."},
	{.name = NULL},
};

static const struct command_option evict_options[] = {
	{OPTION_ALL, VALUE_NONE, "all", NULL, false, false, "all that can go",
	 "Evicts all that can go."},
	{OPTION_SNAPSHOT, VALUE_SNAPSHOT, "snapshot", "NAME", false, false,
	 "the blocks of snapshot NAME",
	 "Evicts the blocks of a snapshot, but for those that it shares with a "
	 "pinned one."},
	{OPTION_FORCE, VALUE_NONE, "force", NULL, false, false,
	 "with --snapshot: pinned ones too",
	 "With --snapshot: evicts those blocks too that pinned snapshots hold. "
	 "They are no longer held until the snapshot is pinned anew."},
	{OPTION_BLOCK, VALUE_TEXT, "block", "DIGEST", false, false,
	 "the block of that digest",
	 "Evicts the block that has the digest, 32 hex digits."},
	{OPTION_BYTES, VALUE_SIZE, "bytes", "N", false, false,
	 "N bytes, the coldest first",
	 "Evicts so many bytes, of the blocks that would go next. Takes the "
	 "suffixes K, M, G and T."},
	{OPTION_IDLE, VALUE_NUMBER, "idle", "SECONDS", false, false,
	 "what was not used for so long",
	 "Evicts what was not used for so many seconds."},
	{.name = NULL},
};

#define RATE_OPTION                                                        \
	{                                                                  \
		OPTION_RATE, VALUE_SIZE, "rate", "BYTES", false, false,    \
			"read at most so much a second",                   \
			"Reads at most so many bytes a second. Takes the " \
			"suffixes K, M, G "                                \
			"and T. Default: as fast as it goes."              \
	}

static const struct command_option pin_options[] = {
	RATE_OPTION,
	{.name = NULL},
};

static const struct command_option warm_options[] = {
	{OPTION_WORKING_SET, VALUE_NONE, "working-set", NULL, false, false,
	 "only what restores touch first",
	 "Reads the recorded working set only: the pages that restored VMs "
	 "touched first."},
	RATE_OPTION,
	{.name = NULL},
};

const struct command commands[] = {
	{"init", "", VALUE_NONE, 0, 0, no_options, "make an empty store",
	 "Makes an empty store. Its folder must be empty or not there yet, and "
	 "is for its owner alone: snapshots hold all of a guest's secrets.",
	 snapshots_init},
	{"publish", "NAME", VALUE_NAME, 1, 1, publish_options,
	 "put a guest's memory into the store",
	 "Puts a guest's memory into the store under NAME. Zero pages and "
	 "holes take no space, and nor does what any other snapshot has "
	 "already.\n\n"
	 "A publish is done wholly or not at all: when it fails, is "
	 "interrupted or the machine dies, there is no snapshot NAME.",
	 snapshots_publish},
	{"list", "", VALUE_NONE, 0, 0, no_options, "list the snapshots",
	 "Lists the snapshots of the store by name.", snapshots_list},
	{"show", "NAME", VALUE_SNAPSHOT, 1, 1, no_options,
	 "show what a snapshot is and holds",
	 "Shows a snapshot's size, digest, files, labels and counts.",
	 snapshots_show},
	{"export", "NAME", VALUE_SNAPSHOT, 1, 1, export_options,
	 "write a snapshot's files, byte for byte",
	 "Writes files of a snapshot, byte for byte as they were published and "
	 "with holes where they are zero. At least one of the options is "
	 "needed. Each block is checked. A file appears when it is complete, "
	 "in place of what was there before.",
	 snapshots_export},
	{"diff", "A B", VALUE_SNAPSHOT, 2, 2, no_options,
	 "tell which pages of two snapshots differ",
	 "Tells which runs of pages differ between snapshots A and B, in the "
	 "memory and in the attached files that both have; which files only "
	 "one has; and sizes that differ. A run is changed, to-zero, "
	 "from-zero, "
	 "or only-a and only-b where one file is longer. With --quiet only the "
	 "names of what differs are printed.\n\n"
	 "Page tables are compared, and what A and B share is passed over: the "
	 "time follows the difference, not the size. Pages are told to be the "
	 "same where one stored block serves both, which is then true byte for "
	 "byte. The same bytes stored twice, as by two publishers at the very "
	 "same time, are told to differ.\n\n"
	 "The exit status is 0 whether they differ or not; look at what is "
	 "printed, or at \"same\" with --json.",
	 look_diff},
	{"map", "NAME", VALUE_SNAPSHOT, 1, 1, map_options,
	 "draw a picture of a snapshot's memory",
	 "Draws the memory as cells, each for so many pages and drawn as most "
	 "of them are: zero, own, shared within the image, or shared with "
	 "other "
	 "snapshots, whose page tables are read for that, each part once. "
	 "Capitals mark cells of which at least half is in the recorded "
	 "working "
	 "set. Colours are used on a terminal, unless NO_COLOR is set. --json "
	 "prints the counts, and the runs of pages.\n\n"
	 "A snapshot whose tables are damaged is told of and passed over; the "
	 "exit status is 5 then.",
	 look_map},
	{"rm", "NAME...", VALUE_SNAPSHOT, 1, UINT_MAX, rm_options,
	 "remove snapshots",
	 "Removes snapshots. One that a session, a mount or an export reads is "
	 "refused, and the line says who reads it. All names are tried; the "
	 "exit status is that of the first failure.",
	 snapshots_rm},
	{"rename", "A B", VALUE_SNAPSHOT, 2, 2, no_options,
	 "give a snapshot another name",
	 "Renames snapshot A to B, which must be free. Files of it that are "
	 "open in a mount work on. Refused while a session serves it, which "
	 "needs the name. Snapshots that have A as their parent keep that "
	 "note.",
	 snapshots_rename},
	{"session create", "NAME", VALUE_SNAPSHOT, 1, 1, create_options,
	 "begin to serve a snapshot to one VM",
	 "Makes a session for one VM that is to be restored from snapshot "
	 "NAME, and prints the socket that its VMM is to connect to.",
	 sessions_create},
	{"session list", "", VALUE_NONE, 0, 0, no_options, "list the sessions",
	 "Lists the sessions of the daemon.", sessions_list},
	{"session show", "ID", VALUE_SESSION, 1, 1, no_options,
	 "show a session's state and figures",
	 "Shows a session's state, its pages, its faults and their latencies.",
	 sessions_show},
	{"session close", "ID", VALUE_SESSION, 1, 1, no_options,
	 "end a session that no live VM depends on",
	 "Ends a session. It is refused while a live VM depends on the "
	 "session.",
	 sessions_close},
	{"session complete", "ID", VALUE_SESSION, 1, 1, no_options,
	 "install all that is absent, let the VM go",
	 "Installs all pages that the VM has not got yet, verifies every one, "
	 "and ends the session: the VM goes on without the daemon. Waits for "
	 "that. When it fails or is interrupted, the VM is served on as "
	 "before.",
	 sessions_complete},
	{"cache stats", "", VALUE_NONE, 0, 0, cache_stats_options,
	 "show the block cache's figures",
	 "Shows the block cache: its size, what is in it, and lookups by the "
	 "class of who asked.",
	 cachectl_stats},
	{"cache curve", "", VALUE_NONE, 0, 0, no_options,
	 "predict hit ratios for other sizes",
	 "Shows the hit ratio that the cache would have at 1/4, 1/2, 1, 2 and "
	 "4 times its size, estimated from a sample of the lookups since the "
	 "daemon's start or the last resize.",
	 cachectl_curve},
	{"cache resize", "BYTES", VALUE_SIZE, 1, 1, no_options,
	 "change the cache's bound",
	 "Changes the bound of the block cache while VMs run. Takes the "
	 "suffixes K, M, G and T. What does not fit is evicted, the coldest "
	 "first, and its memory given back. A size that is too small to work, "
	 "0 too, means the least that works. Refused where pinned snapshots "
	 "would not fit.",
	 cachectl_resize},
	{"cache evict", "", VALUE_NONE, 0, 0, evict_options,
	 "evict blocks from the cache",
	 "Evicts blocks, gives their memory back and prints the bytes freed "
	 "and what was passed over: blocks that pinned snapshots hold, that a "
	 "VM is being given just now, or that are being read. Exactly one of "
	 "--all, --snapshot, --block, --bytes and --idle is needed.",
	 cachectl_evict},
	{"cache pin", "NAME", VALUE_SNAPSHOT, 1, 1, pin_options,
	 "read a snapshot and keep it in the cache",
	 "Reads all blocks of a snapshot into the cache and keeps them there "
	 "until it is unpinned or the daemon ends. Refused where they do not "
	 "fit: a quarter of the cache is kept for the others. A pinned "
	 "snapshot cannot be removed from the store. Interrupted before all "
	 "is there, it is not pinned.",
	 cachectl_pin},
	{"cache unpin", "NAME", VALUE_SNAPSHOT, 1, 1, no_options,
	 "let a pinned snapshot go",
	 "Lets a pinned snapshot go. Its blocks stay until their room is "
	 "needed.",
	 cachectl_unpin},
	{"cache warm", "NAME", VALUE_SNAPSHOT, 1, 1, warm_options,
	 "read a snapshot into the cache",
	 "Reads all blocks of a snapshot into the cache. They count as used "
	 "once. Interrupted, it ends; what was read stays.",
	 cachectl_warm},
	{"cache cancel", "JOB", VALUE_NUMBER, 1, 1, no_options,
	 "end a warm or a pin of somebody else's",
	 "Ends a job of the cache, by its number in 'cache stats': a warm, or "
	 "a "
	 "pin whose blocks are being loaded, which is taken away.",
	 cachectl_cancel},
	{"health", "", VALUE_NONE, 0, 0, no_options,
	 "ask the daemon whether it is well",
	 "Prints the daemon's health; the exit status is 0 when it is well.",
	 service_health},
	{"stats", "", VALUE_NONE, 0, 0, no_options,
	 "print the daemon's figures",
	 "Prints the daemon's figures: sessions, faults, latencies, cache.",
	 service_stats},
	{"drain", "", VALUE_NONE, 0, 0, no_options,
	 "have the daemon take no new sessions",
	 "The daemon takes no new sessions from now on and serves those that "
	 "it has. Prints how many these are. With pagerd's "
	 "--exit-when-drained it ends when the last is over.",
	 service_drain},
	{"undrain", "", VALUE_NONE, 0, 0, no_options,
	 "have the daemon take new sessions again",
	 "Takes a drain back. It is refused where the daemon is ending.",
	 service_undrain},
	{.name = NULL},
};

const struct command_status command_statuses[COMMAND_STATUS_COUNT] = {
	{STATUS_DONE, "done"},
	{STATUS_FAILED, "failed"},
	{STATUS_USAGE, "wrong usage; nothing was done"},
	{STATUS_NOT_FOUND, "not found"},
	{STATUS_IN_USE, "refused because it is in use"},
	{STATUS_DAMAGED, "damaged data found"},
};

static bool is_named(const struct command *c, const char *first,
		     const char *second)
{
	size_t length = strlen(first);

	if (strncmp(c->name, first, length) != 0)
		return false;
	if (!second)
		return c->name[length] == '\0';
	return c->name[length] == ' ' &&
	       strcmp(c->name + length + 1, second) == 0;
}

const struct command *command_find(const char *first, const char *second)
{
	for (const struct command *c = commands; c->name; c++)
		if (is_named(c, first, second))
			return c;
	return NULL;
}

bool command_is_group(const char *word)
{
	size_t length = strlen(word);

	for (const struct command *c = commands; c->name; c++)
		if (strncmp(c->name, word, length) == 0 &&
		    c->name[length] == ' ')
			return true;
	return false;
}

static const struct command_option *find_in(const struct command_option *list,
					    const char *name)
{
	for (; list->name; list++)
		if (strcmp(list->name, name) == 0)
			return list;
	return NULL;
}

const struct command_option *command_option_find(const struct command *c,
						 const char *name)
{
	const struct command_option *o = NULL;

	if (c)
		o = find_in(c->options, name);
	return o ?: find_in(command_globals, name);
}
