/*
 * An array larger than the memory that the program allows itself: a hard maximum of the working set, then an array sixteen times
 * as large is filled, updated at random from two threads, and verified to the last word.
 *
 *     larger_than_ram [MiB of the array [MiB of memory [updates of each thread]]]
 *
 * arguments of the test: 256 32 10000
 */
#include <windows.h>
#include <psapi.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB ((SIZE_T)1 << 20)
#define WORDS 512 /* in a page */
#define THREADS 2

static ULONGLONG *words;
static SIZE_T pages, updates;

/* What each thread added, and the same weighted by page number: an update on a wrong page would show. */
static struct {
    ULONGLONG count, weighted;
} done[THREADS];

/* What word `at` of page `page` holds after the fill: a quarter looks like chance, so that pages compress, but not too well. */
static ULONGLONG content(SIZE_T page, int at)
{
    ULONGLONG word = ((ULONGLONG)page * WORDS + at + 1) * 0x9E3779B97F4A7C15u;

    return at % 4 ? page : word ^ word >> 29;
}

/* Each thread has a word of its own in every page. */
static void update(int thread)
{
    ULONGLONG chance = 88172645463325252u + (ULONGLONG)thread * 977;
    SIZE_T i;

    for (i = 0; i < updates; i++) {
        SIZE_T page;
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        page = (SIZE_T)(chance % pages);
        words[page * WORDS + 1 + thread]++;
        done[thread].count++;
        done[thread].weighted += page;
    }
}

#ifdef PAGEKEEPER_WIN32
#include <pthread.h>
static void *life(void *thread) { update((int)(ULONG_PTR)thread); return NULL; }

static void run(void)
{
    pthread_t threads[THREADS];
    ULONG_PTR i;

    for (i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, life, (void *)i))
            exit(1);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}
#else
static DWORD WINAPI life(LPVOID thread) { update((int)(ULONG_PTR)thread); return 0; }

static void run(void)
{
    HANDLE threads[THREADS];
    ULONG_PTR i;

    for (i = 0; i < THREADS; i++)
        threads[i] = CreateThread(NULL, 0, life, (LPVOID)i, 0, NULL);
    WaitForMultipleObjects(THREADS, threads, TRUE, INFINITE);
}
#endif

int main(int argc, char **argv)
{
    SIZE_T size = (argc > 1 ? strtoul(argv[1], NULL, 10) : 4096) * MIB;
    SIZE_T most = (argc > 2 ? strtoul(argv[2], NULL, 10) : 256) * MIB;
    PROCESS_MEMORY_COUNTERS counters;
    ULONGLONG count[THREADS] = {0}, weighted[THREADS] = {0};
    SIZE_T page, wrong = 0;
    int at, thread, same = 1;

    updates = argc > 3 ? strtoul(argv[3], NULL, 10) : 100000;
    if (!SetProcessWorkingSetSizeEx(GetCurrentProcess(), MIB, most, QUOTA_LIMITS_HARDWS_MIN_DISABLE | QUOTA_LIMITS_HARDWS_MAX_ENABLE)) {
        printf("no hard maximum: error %lu\n", (unsigned long)GetLastError());
        return 1;
    }
    words = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (words == NULL) {
        printf("no memory: error %lu\n", (unsigned long)GetLastError());
        return 1;
    }
    pages = size / (WORDS * sizeof *words);
    for (page = 0; page < pages; page++)
        for (at = 0; at < WORDS; at++)
            words[page * WORDS + at] = content(page, at);
    printf("filled: %lu MiB\n", (unsigned long)(size / MIB));

    run();
    printf("updated: %lu pages by each of %d threads\n", (unsigned long)updates, THREADS);

    for (page = 0; page < pages; page++)
        for (at = 0; at < WORDS; at++) {
            ULONGLONG more = words[page * WORDS + at] - content(page, at);
            if (at >= 1 && at <= THREADS) {
                count[at - 1] += more;
                weighted[at - 1] += more * page;
            } else {
                wrong += more != 0;
            }
        }
    for (thread = 0; thread < THREADS; thread++)
        same &= count[thread] == done[thread].count && weighted[thread] == done[thread].weighted;
    printf("verified: %lu wrong words, updates %s\n", (unsigned long)wrong, same ? "all there" : "lost");
    if (GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters))
        printf("most in memory: %lu MiB\n", (unsigned long)(counters.PeakWorkingSetSize / MIB));
    VirtualFree(words, 0, MEM_RELEASE);
    return wrong || !same;
}
