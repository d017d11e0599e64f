#include "pagerd/control/recover/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/base/cleanup.h"
#include "fs/base/err.h"
#include "fs/base/log.h"
#include "fs/io/inject.h"
#include "pagerd/uffd/recover/journal.h"
#include "pagerd/uffd/recover/overlayfile.h"
#include "pagerd/uffd/recover/resume.h"
#include "pagerd/uffd/recover/vault.h"

struct recovery {
	struct registry *registry;
	struct vault *vault;
	const char *folder;
	struct recovery_result result;
};

/* Of what is kept for a session, beside its userfaultfd. */
static const char kinds[] = {VAULT_LISTENER, VAULT_CONNECTION, VAULT_LEASE};

static char *path_of(const struct recovery *v, const char *id,
		     const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/%s%s", v->folder, id, suffix) < 0 ? NULL
								     : path;
}

/* Nothing depends on it any more. */
static void forget(struct recovery *v, const char *id)
{
	static const char *const suffixes[] = {
		JOURNAL_SUFFIX, OVERLAYFILE_SUFFIX, ".sock", ".pages"};
	char name[VAULT_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		_cleanup_free_ char *path = path_of(v, id, suffixes[i]);

		if (path)
			(void)unlink(path);
	}
	vault_drop(v->vault, id);
	for (size_t i = 0; i < sizeof(kinds); i++) {
		vault_name(kinds[i], id, name);
		vault_drop(v->vault, name);
	}
}

/* Nobody takes what is kept for it out of the vault. */
static void leave_alone(struct recovery *v, const char *id, int error)
{
	char name[VAULT_NAME_MAX + 1];

	close_quietly(vault_take(v->vault, id));
	for (size_t i = 0; i < sizeof(kinds); i++) {
		vault_name(kinds[i], id, name);
		close_quietly(vault_take(v->vault, name));
	}
	log_error("a session is left alone: %s session=%s", err_text(error),
		  id);
	v->result.left++;
}

static void give_up(struct recovery *v, const struct journal *j, int error)
{
	char why[ERR_TEXT_MAX];

	err_copy(error, why);
	if (!resume_give_up(j)) {
		log_error("a session cannot be taken over, and its VM hangs: "
			  "kill it: %s session=%s snapshot=%s vmm=%d "
			  "policy=%s",
			  why, j->id, j->snapshot, (int)j->vmm_pid,
			  session_policy_name(j->policy));
		v->result.left++;
		return;
	}
	log_error("a session cannot be taken over and ends by its policy: %s "
		  "session=%s snapshot=%s vmm=%d policy=%s",
		  why, j->id, j->snapshot, (int)j->vmm_pid,
		  session_policy_name(j->policy));
	forget(v, j->id);
	v->result.ended++;
}

static int take_over(struct recovery *v, const struct journal *j)
{
	const struct registry_request request = {
		.id = j->id,
		.snapshot = j->snapshot,
		.policy = j->policy,
		.uid = j->uid,
		.gid = j->gid,
		.journal = j,
	};
	struct session *s;
	int r;

	if (!j->same_boot)
		return err_set(-ESRCH, "the machine was started since");
	r = registry_create(v->registry, &request, &s);
	if (r == 0)
		session_unref(s);
	return r;
}

static void recover(struct recovery *v, const char *id)
{
	_cleanup_free_ char *path = path_of(v, id, JOURNAL_SUFFIX);
	struct journal j;
	int r = path ? journal_read(path, &j) : -ENOMEM;

	if (r == 0 && strcmp(j.id, id) != 0) {
		journal_release(&j);
		r = err_set(-EBADMSG, "%s: of another session", path);
	}
	if (r < 0) {
		leave_alone(v, id, r);
		return;
	}
	r = take_over(v, &j);
	if (r == 0) {
		v->result.taken_over++;
	} else if (r == -ESRCH) {
		log_info("session over: vmm-gone while no daemon ran: %s "
			 "session=%s snapshot=%s vmm=%d",
			 err_text(r), j.id, j.snapshot, (int)j.vmm_pid);
		forget(v, j.id);
		v->result.gone++;
	} else {
		give_up(v, &j, r);
	}
	journal_release(&j);
}

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

static int is_journal(const struct dirent *entry)
{
	return ends_with(entry->d_name, JOURNAL_SUFFIX) ||
	       ends_with(entry->d_name, JOURNAL_SUFFIX_NEW);
}

/* One that a death kept from getting its name has said nothing. */
static void visit(struct recovery *v, char *name)
{
	if (ends_with(name, JOURNAL_SUFFIX_NEW)) {
		_cleanup_free_ char *path = path_of(v, name, "");

		if (path)
			(void)unlink(path);
		return;
	}
	name[strlen(name) - (sizeof(JOURNAL_SUFFIX) - 1)] = '\0';
	recover(v, name);
}

int recovery_run(struct registry *r, struct vault *vault, const char *folder,
		 struct recovery_result *ret_result)
{
	struct recovery v = {
		.registry = r,
		.vault = vault,
		.folder = folder,
	};
	struct dirent **entries;
	int n = scandir(folder, &entries, is_journal, alphasort);

	if (n < 0)
		return err_set(-errno, "cannot list %s: %m", folder);
	for (int i = 0; i < n; i++) {
		visit(&v, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	(void)inject_pass(INJECT_RESUME, NULL);
	vault_settle(vault);
	(void)inject_pass(INJECT_RESUME, NULL);
	if (n > 0)
		log_info("recovery: %u session(s) taken over, %u gone, %u "
			 "ended by policy, %u left",
			 v.result.taken_over, v.result.gone, v.result.ended,
			 v.result.left);
	*ret_result = v.result;
	return 0;
}
