#ifndef PAGEKEEPER_PAGEKEEPER_H
#define PAGEKEEPER_PAGEKEEPER_H

/*
 * Looking at memory: a process at one moment, this one or another. Nothing here exists on Windows.
 *
 *     PAGEKEEPER_OBSERVER *observer = PagekeeperSnapshotOpen(0);
 *     const PAGEKEEPER_SNAPSHOT *now = PagekeeperSnapshotTake(observer, PAGEKEEPER_SNAPSHOT_ALL);
 *     printf("%llu bytes in RAM\n", (unsigned long long)now->totals.working_set_bytes);
 *     PagekeeperSnapshotClose(observer);
 *
 * Fields mean what docs/monitor.md says of those of the same name in the JSON. Sizes are bytes, pages have 4096 bytes, texts are
 * UTF-8 and never NULL.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Looks at one process again and again. */
typedef struct PAGEKEEPER_OBSERVER PAGEKEEPER_OBSERVER;

/* Where pages are, in pages. */
typedef struct PAGEKEEPER_PAGES {
    uint64_t resident;
    uint64_t modified;
    uint64_t standby;
    uint64_t compressed;
    uint64_t page_file;
    uint64_t swapped;
    uint64_t untouched;
    uint64_t lost;
} PAGEKEEPER_PAGES;

/* Sums over the process, in bytes. */
typedef struct PAGEKEEPER_TOTALS {
    uint64_t reserved_bytes;
    uint64_t committed_bytes;
    uint64_t private_bytes;
    uint64_t shared_bytes;
    uint64_t working_set_bytes;
    uint64_t working_set_private_bytes;
    uint64_t working_set_shared_bytes;
    uint64_t modified_bytes;
    uint64_t standby_bytes;
    uint64_t compressed_bytes;
    uint64_t page_file_bytes;
    uint64_t swapped_bytes;
    uint64_t pool_bytes;
    uint64_t locked_bytes;
    uint64_t budget_bytes;
    uint64_t overhead_bytes;
    uint64_t commit_charge_bytes;
    uint64_t commit_limit_bytes;
    uint64_t commit_peak_bytes;
    uint64_t page_file_allocated_bytes;
    uint64_t page_file_maximum_bytes;
    uint64_t page_table_bytes;
} PAGEKEEPER_TOTALS;

/* What happened since the process began. */
typedef struct PAGEKEEPER_COUNTERS {
    uint64_t soft_faults;
    uint64_t hard_faults;
    uint64_t zero_faults;
    uint64_t transition_faults;
    uint64_t pool_faults;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t clean_drops;
    uint64_t packed_in_place;
    uint64_t lost;
    uint64_t refused;
    uint64_t process_minor_faults;
    uint64_t process_major_faults;
} PAGEKEEPER_COUNTERS;

/* An engine of a space. */
typedef struct PAGEKEEPER_ENGINE {
    uint64_t space;
    const char *engine;
    uint64_t budget_bytes;
    uint64_t resident_bytes;
    uint64_t modified_bytes;
    uint64_t standby_bytes;
    uint64_t compressed_bytes;
    uint64_t pool_bytes;
    uint64_t page_file_bytes;
    uint64_t peak_bytes;
    uint32_t is_sampled;
    uint32_t unused;
} PAGEKEEPER_ENGINE;

/* Values of PAGEKEEPER_REGION.usage */
#define PAGEKEEPER_USAGE_RESERVED 0u
#define PAGEKEEPER_USAGE_COMMITTED 1u
#define PAGEKEEPER_USAGE_MERGED 2u

/* Values of PAGEKEEPER_REGION.kind */
#define PAGEKEEPER_KIND_MANAGED 0u
#define PAGEKEEPER_KIND_SECTION 1u
#define PAGEKEEPER_KIND_IMAGE 2u
#define PAGEKEEPER_KIND_MAPPED 3u
#define PAGEKEEPER_KIND_HEAP 4u
#define PAGEKEEPER_KIND_STACK 5u
#define PAGEKEEPER_KIND_PRIVATE 6u
#define PAGEKEEPER_KIND_PAGEKEEPER 7u
#define PAGEKEEPER_KIND_KERNEL 8u

/* A stretch of address space whose pages are alike; protections are PAGE_* bits. */
typedef struct PAGEKEEPER_REGION {
    uint64_t base;
    uint64_t size_bytes;
    uint64_t allocation_base;
    uint32_t allocation_protection;
    uint32_t protection;
    uint32_t usage;
    uint32_t kind;
    uint32_t is_shared;
    uint32_t is_sampled;
    const char *engine;
    const char *name;
    uint64_t file_offset;
    uint64_t committed_bytes;
    PAGEKEEPER_PAGES pages;
    const uint8_t *heat;
    size_t heat_count;
} PAGEKEEPER_REGION;

/* Code that faults. */
typedef struct PAGEKEEPER_FAULT_SITE {
    uint64_t address;
    uint64_t faults;
    const char *module;
    uint64_t offset;
} PAGEKEEPER_FAULT_SITE;

/* A process at one moment. */
typedef struct PAGEKEEPER_SNAPSHOT {
    uint64_t taken_at_ms;
    uint64_t age_ms;
    uint32_t pid;
    uint32_t user;
    /* 1: the process tells of itself; 0: the kernel tells. */
    uint32_t is_pagekeeper;
    uint32_t is_residence_sampled;
    uint32_t are_faults_sampled;
    uint32_t unused;
    const char *name;
    const char *command;
    PAGEKEEPER_TOTALS totals;
    PAGEKEEPER_COUNTERS counters;
    const PAGEKEEPER_REGION *regions;
    size_t region_count;
    const PAGEKEEPER_ENGINE *engines;
    size_t engine_count;
    /* Cell i counts faults of 2^i up to 2^(i+1) nanoseconds. */
    const uint64_t *latency;
    size_t latency_count;
    const PAGEKEEPER_FAULT_SITE *fault_sites;
    size_t fault_site_count;
    const char *const *notes;
    size_t note_count;
} PAGEKEEPER_SNAPSHOT;

/* What PagekeeperSnapshotTake looks at: everything, or everything but regions, which costs less. */
#define PAGEKEEPER_SNAPSHOT_ALL 0u
#define PAGEKEEPER_SNAPSHOT_NO_REGIONS 1u

/*
 * Begins to look at a process; 0 is this one. NULL when that is not possible: GetLastError gives ERROR_INVALID_PARAMETER (no such
 * process, or one without memory), ERROR_ACCESS_DENIED (somebody else's), ERROR_NOT_SUPPORTED (another version of Pagekeeper), and
 * PagekeeperSnapshotProblem says it in a line.
 */
PAGEKEEPER_OBSERVER *PagekeeperSnapshotOpen(uint32_t pid);

/*
 * The process now. What is returned, and all that it points to, stays as it is until the next call with the same observer. NULL as
 * above; ERROR_PARTIAL_COPY when the process has ended. One thread at a time for one observer.
 */
const PAGEKEEPER_SNAPSHOT *PagekeeperSnapshotTake(PAGEKEEPER_OBSERVER *observer, uint32_t flags);

/* Ends looking, and takes the last snapshot away. 0, with ERROR_INVALID_HANDLE, when there is no such observer. */
int PagekeeperSnapshotClose(PAGEKEEPER_OBSERVER *observer);

/* Why the last of these calls that failed in this thread did: one line that says what to do. Stays until the next that fails. */
const char *PagekeeperSnapshotProblem(void);

#ifdef __cplusplus
}
#endif

#endif
