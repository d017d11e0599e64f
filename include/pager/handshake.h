/*
 * The handshake: what a VMM says on a session's socket.
 *
 * One SOCK_STREAM unix connection. The VMM sends one JSON text, an array of
 * regions (or an object whose "mappings" is that array), with one userfaultfd
 * as SCM_RIGHTS, and reads nothing back. Source: Firecracker's
 * docs/snapshotting/handling-page-faults-on-snapshot-resume.md, 1.1 to 1.12.
 *
 *   base_host_virt_addr  u64, where the region is mapped in the VMM
 *   size                 u64, bytes
 *   offset               u64, the region's place in the memory file
 *   page_size            u64, bytes (1.12 and later)
 *   page_size_kib        u64, BYTES in spite of its name (1.7 and later)
 *
 * Unknown keys are ignored; page_size wins over page_size_kib; neither means
 * 4096. Page sizes are 4096 and 2 MiB.
 */
#pragma once

#define PAGER_HANDSHAKE_BODY_MAX    (256u << 10)
#define PAGER_HANDSHAKE_REGIONS_MAX 1024u
#define PAGER_HANDSHAKE_FDS_MAX	    8u /* received, so as to be closed */
#define PAGER_HUGE_PAGE_SIZE	    (2u << 20)
