/*
 * The store: a folder that holds packs, index runs and manifests.
 *
 *   format             superblock (pager/superblock.h), mode 0600
 *   lock               OFD locks, one byte each, see enum store_lock
 *   sequence           the next pack number and a checksum, fsynced before
 *                      its use; rebuildable
 *   packs/N.pack       N in 16 hex digits
 *   index/N.run        N in 16 hex digits; rebuildable
 *   snapshots/NAME     manifests
 *   tmp/               what is being written; swept when nobody publishes
 *
 * A store is opened once a process and shared by reference count. All calls
 * are safe from any thread.
 */
#pragma once

#include <stdint.h>

#include "fs/store/source.h"
#include "pager/block.h"

struct store;
struct packset;
struct damage;
struct block_index;

/* STORE_READ works on a read-only file system and takes no locks. */
enum store_access { STORE_READ, STORE_WRITE };

enum store_folder {
	STORE_TOP,
	STORE_PACKS,
	STORE_INDEX,
	STORE_SNAPSHOTS,
	STORE_TMP,
	STORE_FOLDER_COUNT
};

/* Bytes of the file `lock`, taken as OFD locks: they die with their holder. */
enum store_lock {
	STORE_LOCK_PUBLISH = 0,	 /* shared by publishers, exclusive to sweep */
	STORE_LOCK_INDEX = 1,	 /* exclusive to swap index runs */
	STORE_LOCK_SEQUENCE = 2, /* exclusive to draw a pack number */
};

struct store_init_options {
	/* PAGER_SECRET_SIZE bytes, for tests of colliding digests; or NULL. */
	const uint8_t *secret;
};

/*
 * Makes an empty store at `path`, which must not exist or be an empty folder
 * of ours; what an init that crashed has left counts as empty. -EEXIST where
 * a store is there already, -ENOTEMPTY where something else is.
 */
int store_init(const char *path, const struct store_init_options *options);

/*
 * -ENOENT: nothing at `path`; -EMEDIUMTYPE: not a store; -ENOTSUP: a newer
 * format; -EBADMSG: a damaged superblock; -EROFS, -EACCES: not writable, or
 * (-EPERM) owned by another user and writable by them.
 */
int store_open(const char *path, enum store_access access,
	       struct store **ret_store);
struct store *store_ref(struct store *s);
void store_unref(struct store *s); /* accepts NULL */

const char *store_path(const struct store *s);
enum store_access store_access(const struct store *s);
int store_folder_fd(const struct store *s, enum store_folder folder);
const uint8_t *store_id(const struct store *s);	    /* 16 bytes */
const uint8_t *store_secret(const struct store *s); /* 192 bytes */
struct packset *store_packs(struct store *s);
struct damage *store_damage(struct store *s);
const struct block_source *store_source(struct store *s);

/* The digest of 4096 bytes as the given kind; see pager/block.h. */
void store_digest(const struct store *s, const uint8_t *page,
		  enum pager_kind kind, struct pager_digest *ret_digest);

/*
 * Takes one byte of the lock file; returns an fd to close for its release.
 * With `wait` it blocks; else -EBUSY where somebody else holds it.
 */
int store_lock(struct store *s, enum store_lock which, bool exclusive,
	       bool wait);

/*
 * Draws a pack number that no pack ever had; durable before it returns. A
 * lost or damaged counter is made again from the packs.
 */
int store_next_pack(struct store *s, uint64_t *ret_pack);

/*
 * Empties tmp/ of what crashed publishers left, unless somebody publishes
 * right now. A publish calls it, then takes STORE_LOCK_PUBLISH shared and
 * keeps that for as long as it has files in tmp/.
 */
int store_sweep_tmp(struct store *s);
