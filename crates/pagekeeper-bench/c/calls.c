/*
 * What one call costs: the same loops for Pagekeeper (cc, any engine), for Wine (mingw) and for the kernel's own calls (cc -DKERNEL).
 *
 *     calls [regions [threads [calls]]]
 *
 * One line for each call: its name, regions alive, threads, median of rounds in nanoseconds for each call. compare.sh puts them side by
 * side.
 */
#ifdef KERNEL
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
typedef size_t SIZE_T;
#else
#include <windows.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE ((SIZE_T)4096)
#define GRANULE ((SIZE_T)65536)
#define ROUNDS 7
#define MOST_THREADS 8

/* ------------------------------------------------------------------------------------------------- the calls */

#ifdef KERNEL
/* A reservation is PROT_NONE, a commit is mprotect, a decommit is what gives memory back: MADV_DONTNEED (the page stays readable). */
static char *reserve(SIZE_T size, int commit)
{
    char *p = mmap(NULL, size, commit ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static int release(char *p, SIZE_T size) { return munmap(p, size) == 0; }
static int commit(char *p, SIZE_T size) { return mprotect(p, size, PROT_READ | PROT_WRITE) == 0; }
static int decommit(char *p, SIZE_T size) { return madvise(p, size, MADV_DONTNEED) == 0; }
static int protect(char *p, SIZE_T size) { return mprotect(p, size, PROT_READ) == 0; }
#define HAS_QUERY 0
static int query(char *p) { return p != NULL; }
#else
static char *reserve(SIZE_T size, int commit) { return VirtualAlloc(NULL, size, commit ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE, PAGE_READWRITE); }
static int release(char *p, SIZE_T size) { (void)size; return VirtualFree(p, 0, MEM_RELEASE); }
static int commit(char *p, SIZE_T size) { return VirtualAlloc(p, size, MEM_COMMIT, PAGE_READWRITE) == p; }
static int decommit(char *p, SIZE_T size) { return VirtualFree(p, size, MEM_DECOMMIT); }
static int protect(char *p, SIZE_T size)
{
    DWORD old;
    return VirtualProtect(p, size, PAGE_READONLY, &old);
}
#define HAS_QUERY 1
static int query(char *p)
{
    MEMORY_BASIC_INFORMATION info;
    return VirtualQuery(p, &info, sizeof info) == sizeof info;
}
#endif

/* --------------------------------------------------------------------------------------- the clock and threads */

#if defined(KERNEL) || defined(PAGEKEEPER_WIN32)
#include <pthread.h>
#include <time.h>
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
typedef pthread_t thread_t;
static void *start(void *work);
static void begin(thread_t *thread, void *work)
{
    if (pthread_create(thread, NULL, start, work))
        exit(1);
}
static void end(thread_t thread) { pthread_join(thread, NULL); }
#define THREAD_RESULT void *
#define THREAD_CALL
#else
static double now(void)
{
    LARGE_INTEGER count, frequency;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&frequency);
    return (double)count.QuadPart * 1e9 / (double)frequency.QuadPart;
}
typedef HANDLE thread_t;
static DWORD WINAPI start(LPVOID work);
static void begin(thread_t *thread, void *work) { *thread = CreateThread(NULL, 0, start, work, 0, NULL); }
static void end(thread_t thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
#define THREAD_RESULT DWORD
#define THREAD_CALL WINAPI
#endif

/* ------------------------------------------------------------------------------------------------ the measuring */

/* One kind of call, made `calls` times a round by each thread; each call is about another page, in another region where there are many. */
struct kind {
    const char *name;
    int (*call)(SIZE_T number, int thread);
    /* Made before a round, unmeasured, once for each call. */
    int (*before)(SIZE_T number, int thread);
};

static char **regions, *large;
static SIZE_T alive, calls, pages;
static int threads;

/* The page that call `number` of a thread is about. */
static char *target(SIZE_T number, int thread)
{
    SIZE_T all = number * (SIZE_T)threads + (SIZE_T)thread;
    return regions[all * 700001 % alive] + all / alive % pages * PAGE;
}

static int call_reserve(SIZE_T n, int t) { char *p = reserve(GRANULE, 0); (void)n; (void)t; return p && release(p, GRANULE); }
static int call_both(SIZE_T n, int t) { char *p = reserve(GRANULE, 1); (void)n; (void)t; return p && release(p, GRANULE); }
static int call_both_used(SIZE_T n, int t) { char *p = reserve(GRANULE, 1); (void)n; (void)t; if (p) p[0] = p[PAGE] = 1; return p && release(p, GRANULE); }
static int call_commit(SIZE_T n, int t) { return commit(target(n, t), PAGE); }
static int call_protect(SIZE_T n, int t) { return protect(target(n, t), PAGE); }
static int call_query(SIZE_T n, int t) { return query(target(n, t)); }
static int call_query_large(SIZE_T n, int t) { return query(large + n % 1000 * PAGE + (SIZE_T)t * PAGE); }
static int call_query_stack(SIZE_T n, int t) { char here; (void)n; (void)t; return query(&here); }
static int call_query_text(SIZE_T n, int t) { (void)n; (void)t; return query((char *)(uintptr_t)&query); }
static int call_decommit(SIZE_T n, int t) { return decommit(target(n, t), PAGE); }
static int use(SIZE_T n, int t) { char *p = target(n, t); int ok = commit(p, PAGE); if (ok) *p = 1; return ok; }

static const struct kind kinds[] = {
    {"reserve-release", call_reserve, NULL},
    {"reserve-commit-release", call_both, NULL},
    {"reserve-commit-touch-release", call_both_used, NULL},
    {"commit", call_commit, call_decommit},
    {"query", call_query, NULL},
    {"query-1GiB", call_query_large, NULL},
    {"query-stack", call_query_stack, NULL},
    {"query-text", call_query_text, NULL},
    {"protect", call_protect, call_commit},
    {"decommit-untouched", call_decommit, call_commit},
    {"decommit-touched", call_decommit, use},
};

struct work {
    const struct kind *kind;
    int thread, measured, failed;
    double ns;
};

static THREAD_RESULT THREAD_CALL start(void *argument)
{
    struct work *work = argument;
    int (*call)(SIZE_T, int) = work->measured ? work->kind->call : work->kind->before;
    double began = now();
    SIZE_T i;

    for (i = 0; i < calls && !work->failed; i++)
        work->failed = !call(i, work->thread);
    work->ns = (now() - began) / (double)calls;
    return 0;
}

/* One round of all threads; their mean, or less than nothing where a call failed. */
static double round_of(const struct kind *kind, int measured)
{
    struct work work[MOST_THREADS];
    thread_t ids[MOST_THREADS];
    double sum = 0;
    int i, failed = 0;

    for (i = 0; i < threads; i++) {
        work[i] = (struct work){kind, i, measured, 0, 0};
        if (i > 0)
            begin(&ids[i], &work[i]);
    }
    start(&work[0]);
    for (i = 0; i < threads; i++) {
        if (i > 0)
            end(ids[i]);
        sum += work[i].ns;
        failed |= work[i].failed;
    }
    return failed ? -1 : sum / threads;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const struct kind *kind)
{
    double ns[ROUNDS];
    int i;

    for (i = 0; i < ROUNDS; i++) {
        if (kind->before && round_of(kind, 0) < 0)
            break;
        ns[i] = round_of(kind, 1);
        if (ns[i] < 0)
            break;
    }
    if (i < ROUNDS) {
        printf("%s %lu %d refused\n", kind->name, (unsigned long)alive, threads);
        return;
    }
    qsort(ns, ROUNDS, sizeof *ns, ascending);
    printf("%s %lu %d %.0f\n", kind->name, (unsigned long)alive, threads, ns[ROUNDS / 2]);
    fflush(stdout);
}

/* Every other page of one reservation, up to a million: how many before the first refusal. */
static void alternate(void)
{
    SIZE_T most = 1000000, i;
    char *p = reserve(most * 2 * PAGE, 0);
    double began = now();

    for (i = 0; p && i < most && commit(p + i * 2 * PAGE, PAGE); i++)
        ;
    printf("alternating-commits 0 1 %lu\n", (unsigned long)i);
    if (i)
        printf("alternating-commit-ns 0 1 %.0f\n", (now() - began) / (double)i);
    if (p)
        release(p, most * 2 * PAGE);
}

int main(int argc, char **argv)
{
    SIZE_T wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    SIZE_T size, i;

    threads = argc > 2 ? atoi(argv[2]) : 1;
    calls = argc > 3 ? strtoul(argv[3], NULL, 10) : 2000;
    if (wanted == 0) {
        alternate();
        return 0;
    }
    if (threads < 1 || threads > MOST_THREADS || calls == 0)
        return 1;
    /* So many pages that no round meets one twice. */
    pages = calls * (SIZE_T)threads / wanted + 1;
    size = (pages * PAGE + GRANULE - 1) / GRANULE * GRANULE;
    pages = size / PAGE;
    regions = malloc(wanted * sizeof *regions);
    large = reserve((SIZE_T)1 << 30, 0);
    for (alive = 0; regions && alive < wanted; alive++) {
        regions[alive] = reserve(size, 0);
        if (!regions[alive])
            break;
    }
    if (alive < wanted) {
        printf("stopped-at %lu %d %lu\n", (unsigned long)wanted, threads, (unsigned long)alive);
        return 0;
    }
    for (i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (HAS_QUERY || strncmp(kinds[i].name, "query", 5))
            measure(&kinds[i]);
    return 0;
}
