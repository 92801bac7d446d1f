/*
 * The snapshot call: a process looks at itself and at another one. Prints what does not hold, and "done" at the end.
 * With the argument "cost" it prints what a snapshot costs with 10,000 regions.
 */
#include <pagekeeper.h>
#include <windows.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((SIZE_T)1 << 20)

static void check(int holds, const char *what)
{
    if (!holds)
        printf("does not hold: %s (last error %u, %s)\n", what, GetLastError(), PagekeeperSnapshotProblem());
}

static const PAGEKEEPER_REGION *region_at(const PAGEKEEPER_SNAPSHOT *shown, const void *address)
{
    for (size_t i = 0; i < shown->region_count; i++) {
        const PAGEKEEPER_REGION *region = &shown->regions[i];
        if ((uint64_t)(ULONG_PTR)address - region->base < region->size_bytes)
            return region;
    }
    return NULL;
}

static void check_sums(const PAGEKEEPER_SNAPSHOT *shown)
{
    uint64_t reserved = 0, committed = 0, resident = 0, end = 0, is_sorted = 1, is_whole = 1;
    for (size_t i = 0; i < shown->region_count; i++) {
        const PAGEKEEPER_REGION *region = &shown->regions[i];
        const PAGEKEEPER_PAGES *pages = &region->pages;
        is_sorted &= region->base >= end;
        end = region->base + region->size_bytes;
        reserved += region->size_bytes;
        committed += region->committed_bytes;
        resident += pages->resident * 4096;
        is_whole &= 4096 * (pages->resident + pages->modified + pages->standby + pages->compressed + pages->page_file +
                            pages->swapped + pages->untouched + pages->lost) == region->committed_bytes;
        is_whole &= region->name != NULL && region->engine != NULL && region->heat_count <= 32 &&
                    region->kind <= PAGEKEEPER_KIND_KERNEL;
    }
    check(is_sorted, "regions lie upwards");
    check(is_whole, "every region tells where its pages are");
    check(reserved == shown->totals.reserved_bytes, "the sum of the regions is what is reserved");
    check(committed == shown->totals.committed_bytes, "the sum of the regions is what is committed");
    check(resident == shown->totals.working_set_bytes, "the sum of the regions is the working set");
}

static void look_at_this_process(void)
{
    char *data = VirtualAlloc(NULL, 64 * MIB, MEM_RESERVE, PAGE_READWRITE);
    check(data != NULL && VirtualAlloc(data, 8 * MIB, MEM_COMMIT, PAGE_READWRITE) != NULL, "memory");
    for (SIZE_T at = 0; at < 4 * MIB; at += 4096)
        data[at] = 1;
    HANDLE section = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 65536, "Local\\shown");
    char *view = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    check(view != NULL, "a view");

    PAGEKEEPER_OBSERVER *observer = PagekeeperSnapshotOpen(0);
    const PAGEKEEPER_SNAPSHOT *shown = PagekeeperSnapshotTake(observer, PAGEKEEPER_SNAPSHOT_ALL);
    check(shown != NULL, "a snapshot");
    if (shown == NULL)
        return;
    check(shown->pid == (uint32_t)getpid() && shown->user == geteuid() && shown->is_pagekeeper, "who it is");
    check(strstr(shown->command, shown->name) != NULL, "its name is in its command line");
    check_sums(shown);
    const PAGEKEEPER_REGION *region = region_at(shown, data);
    check(region != NULL && region->base == (uint64_t)(ULONG_PTR)data && region->size_bytes == 8 * MIB, "the region");
    if (region != NULL) {
        check(region->usage == PAGEKEEPER_USAGE_COMMITTED && region->protection == PAGE_READWRITE, "is committed");
        check(region->kind == PAGEKEEPER_KIND_MANAGED && region->allocation_base == region->base, "is managed");
        check(region->pages.resident >= 1024, "what was written is there");
        check(region->heat_count == 32 && region->heat[0] == 255, "its lower part is hot");
        check(region->engine[0] != 0, "an engine pages it");
    }
    region = region_at(shown, data + 8 * MIB);
    check(region != NULL && region->usage == PAGEKEEPER_USAGE_RESERVED && region->size_bytes == 56 * MIB, "the rest");
    region = region_at(shown, view);
    check(region != NULL && region->kind == PAGEKEEPER_KIND_SECTION && region->is_shared, "the view");
    check(region != NULL && strcmp(region->name, "Local\\shown") == 0, "the view's name");
    check(shown->engine_count >= 1 && shown->engines[0].space >= 1, "engines");
    uint64_t held = 0;
    for (size_t i = 0; i < shown->region_count; i++)
        held += shown->regions[i].kind == PAGEKEEPER_KIND_PAGEKEEPER;
    check(held > 0, "what the library holds for itself");

    uint64_t before = shown->totals.committed_bytes, commit = shown->totals.commit_charge_bytes;
    check(VirtualAlloc(data + 8 * MIB, MIB, MEM_COMMIT, PAGE_READONLY) != NULL, "more memory");
    shown = PagekeeperSnapshotTake(observer, PAGEKEEPER_SNAPSHOT_NO_REGIONS);
    check(shown != NULL && shown->region_count == 0, "no regions");
    check(shown != NULL && shown->totals.commit_charge_bytes == commit + MIB, "the charge is that of now");
    struct timespec pause = {0, 20000000};
    /* A look at regions may take a twentieth of the time: it is old for a while. */
    for (int tries = 0; tries < 1000; tries++) {
        shown = PagekeeperSnapshotTake(observer, PAGEKEEPER_SNAPSHOT_ALL);
        if (shown == NULL || shown->totals.committed_bytes >= before + MIB)
            break;
        nanosleep(&pause, NULL);
    }
    region = shown == NULL ? NULL : region_at(shown, data + 8 * MIB);
    check(region != NULL && region->size_bytes == MIB && region->protection == PAGE_READONLY, "the new region");
    check(region != NULL && region->pages.untouched == 256 && region->heat[0] == 0, "nobody has touched it");
    check(PagekeeperSnapshotTake(observer, 2) == NULL && GetLastError() == ERROR_INVALID_PARAMETER, "unknown flags");
    check(PagekeeperSnapshotClose(observer), "the end");
    SetLastError(0);
    check(!PagekeeperSnapshotClose(observer) && GetLastError() == ERROR_INVALID_HANDLE, "no second end");
    check(PagekeeperSnapshotTake(observer, 0) == NULL && GetLastError() == ERROR_INVALID_HANDLE, "nor a look");
    check(PagekeeperSnapshotTake(NULL, 0) == NULL && GetLastError() == ERROR_INVALID_HANDLE, "NULL is none");
    check(strstr(PagekeeperSnapshotProblem(), "no such observer") != NULL, "the line says it");
}

static void look_at_another_process(void)
{
    check(PagekeeperSnapshotOpen(0x7FFFFFFF) == NULL && GetLastError() == ERROR_INVALID_PARAMETER, "no process");
    check(strcmp(PagekeeperSnapshotProblem(), "there is no process 2147483647") == 0, "the line names it");
    pid_t child = fork();
    if (child == 0) {
        execlp("sleep", "sleep", "1000", (char *)NULL);
        _exit(1);
    }
    PAGEKEEPER_OBSERVER *observer = NULL;
    const PAGEKEEPER_SNAPSHOT *shown = NULL;
    /* In the middle of an exec a process has no memory for a moment. */
    for (int round = 0; round < 500 && shown == NULL; round++) {
        const struct timespec pause = { 0, 10000000 };
        PagekeeperSnapshotClose(observer);
        observer = PagekeeperSnapshotOpen((uint32_t)child);
        shown = observer == NULL ? NULL : PagekeeperSnapshotTake(observer, PAGEKEEPER_SNAPSHOT_ALL);
        if (shown == NULL)
            nanosleep(&pause, NULL);
    }
    check(shown != NULL && shown->pid == (uint32_t)child && shown->region_count > 0, "a child");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    shown = PagekeeperSnapshotTake(observer, PAGEKEEPER_SNAPSHOT_ALL);
    check(shown == NULL && GetLastError() == ERROR_PARTIAL_COPY, "it has ended");
    check(strstr(PagekeeperSnapshotProblem(), "has ended") != NULL, "the line says so");
    PagekeeperSnapshotClose(observer);
    if (geteuid() != 0) {
        check(PagekeeperSnapshotOpen(1) == NULL && GetLastError() == ERROR_ACCESS_DENIED, "somebody else's");
        check(strstr(PagekeeperSnapshotProblem(), "belongs to user") != NULL, "the line says whose");
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void measure(void)
{
    char *data = VirtualAlloc(NULL, 20000 * (SIZE_T)4096, MEM_RESERVE, PAGE_READWRITE);
    for (SIZE_T page = 0; page < 20000; page += 2) {
        VirtualAlloc(data + page * 4096, 4096, MEM_COMMIT, PAGE_READWRITE);
        data[page * 4096] = 1;
    }
    for (int flags = 0; flags < 2; flags++) {
        double best = 1e9;
        size_t regions = 0;
        for (int turn = 0; turn < 20; turn++) {
            PAGEKEEPER_OBSERVER *observer = PagekeeperSnapshotOpen(0);
            double start = seconds();
            const PAGEKEEPER_SNAPSHOT *shown = PagekeeperSnapshotTake(observer, (uint32_t)flags);
            double took = seconds() - start;
            regions = shown == NULL ? 0 : shown->region_count;
            best = took < best ? took : best;
            PagekeeperSnapshotClose(observer);
        }
        printf("%zu regions: %.3f ms\n", regions, best * 1e3);
    }
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "cost") == 0) {
        measure();
        return 0;
    }
    look_at_this_process();
    look_at_another_process();
    puts("done");
    return 0;
}
