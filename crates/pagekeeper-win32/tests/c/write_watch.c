// Write watch: arguments, what counts as a write, and what reset leaves.
#ifndef __MINGW32__
#define _POSIX_C_SOURCE 200809L
#include <unistd.h>
#endif

#include "conform.h"

struct watch_row {
    const char *id, *setup;
    DWORD flags;
    U64 where, size;
    ULONG_PTR capacity;
    /// 0 none; 1 NULL count; 2 NULL granularity; 3 NULL array; 4 NULL base; 5 what is asked about has no write watch.
    int odd;
};

/// "rc16@16" beside it is memory without a watch.
static const struct watch_row rows[] = {
    {"watch.fresh", "watch16", 0, 0, 0x10000, 16, 0},
    {"watch.read-is-no-write", "watch16 t16", 0, 0, 0x10000, 16, 0},
    {"watch.written", "watch16 w1@2 w2@5", 0, 0, 0x10000, 16, 0},
    {"watch.get-again", "watch16 w1@2 w2@5", 0, 0, 0x10000, 16, 0},
    {"watch.get-and-reset", "watch16 w1@2 w2@5", 1, 0, 0x10000, 16, 0},
    {"watch.capacity-too-small", "watch16 w8", 0, 0, 0x10000, 3, 0},
    {"watch.capacity-too-small-reset", "watch16 w8", 1, 0, 0x10000, 3, 0},
    {"watch.capacity-one", "watch16 w3@4", 1, 0, 0x10000, 1, 0},
    {"watch.part", "watch16 w8", 0, 0x2000, 0x3000, 16, 0},
    {"watch.part-reset", "watch16 w8", 1, 0x2000, 0x3000, 16, 0},
    {"watch.part-bytes", "watch16 w8", 1, 0x2fff, 2, 16, 0},
    {"watch.protect-is-no-write", "watch16 p16=ro p16=rw p4=na p4=rw", 0, 0, 0x10000, 16, 0},
    {"watch.protect-keeps-marks", "watch16 w2@3 p16=na", 0, 0, 0x10000, 16, 0},
    {"watch.recommit-is-no-write", "watch16 c16", 0, 0, 0x10000, 16, 0},
    {"watch.recommit-keeps-marks", "watch16 w2@3 c16", 0, 0, 0x10000, 16, 0},
    {"watch.decommit-keeps-marks", "watch16 w2@3 d16", 0, 0, 0x10000, 16, 0},
    {"watch.decommit-keeps-marks-reset", "watch16 w2@3 d16", 1, 0, 0x10000, 16, 0},
    {"watch.decommit-commit", "watch16 w2@3 d16 c16", 0, 0, 0x10000, 16, 0},
    {"watch.reset-memory-keeps-marks", "watch16 w2@3 reset16", 0, 0, 0x10000, 16, 0},
    {"watch.flags-2", "watch16 w1", 2, 0, 0x10000, 16, 0},
    {"watch.flags-3", "watch16 w1", 3, 0, 0x10000, 16, 0},
    {"watch.flags-high", "watch16 w1", 0x80000000, 0, 0x10000, 16, 0},
    {"watch.capacity-zero", "watch16 w1", 0, 0, 0x10000, 0, 0},
    {"watch.capacity-zero-null-array", "watch16 w1", 0, 0, 0x10000, 0, 3},
    {"watch.null-count", "watch16 w1", 0, 0, 0x10000, 16, 1},
    {"watch.null-granularity", "watch16 w1", 0, 0, 0x10000, 16, 2},
    {"watch.null-array", "watch16 w1", 0, 0, 0x10000, 16, 3},
    {"watch.null-base", "watch16 w1", 0, 0, 0x10000, 16, 4},
    {"watch.size-zero", "watch16 w1", 0, 0, 0, 16, 0},
    {"watch.one-byte-past-the-end", "watch16 w1", 0, 0, 0x10001, 16, 0},
    {"watch.past-the-end-from-inside", "watch16 w1", 0, 0xf000, 0x2000, 16, 0},
    {"watch.size-wraps", "watch16 w1", 0, 0x1000, 0xffffffffffffffff, 16, 0},
    {"watch.two-regions", "watch16 watch16@16 w1", 0, 0, 0x20000, 16, 0},
    {"watch.unwatched", "watch16 rc16@16", 0, 0x10000, 0x10000, 16, 0},
    {"watch.free", "watch16", 0, 0x20000, 0x1000, 16, 0},
};

static void one(const struct watch_row *row) {
    row_begin(row->id, row->setup);
    void *pages[16];
    ULONG_PTR count = row->capacity;
    DWORD granularity = 0;
    mark_error();
    UINT result = GetWriteWatch(row->flags, row->odd == 4 ? NULL : B + row->where, row->size, row->odd == 3 ? NULL : pages, row->odd == 1 ? NULL : &count,
                                row->odd == 2 ? NULL : &granularity);
    DWORD error = GetLastError();
    printf("GetWriteWatch(%lu, %s, 0x%llx, capacity %llu%s) | 0x%x | %s |", (unsigned long)row->flags, row->odd == 4 ? "NULL" : where_name(B + row->where), row->size,
           (U64)row->capacity, row->odd ? ", odd pointer" : "", result, error_name(error));
    if (!result) {
        printf(" granularity %lu, %llu:", (unsigned long)granularity, (U64)count);
        for (ULONG_PTR i = 0; i < count && i < 16; i++)
            printf(" %s", where_name(pages[i]));
    } else {
        printf(" -");
    }
    // And what is left afterwards.
    count = 16;
    if (!GetWriteWatch(0, B, GR, pages, &count, &granularity)) {
        printf(" | left %llu:", (U64)count);
        for (ULONG_PTR i = 0; i < count; i++)
            printf(" %s", where_name(pages[i]));
    }
    printf("\n");
    window_clear();
}

struct reset_row {
    const char *id, *setup;
    U64 where, size;
    int null;
};

static const struct reset_row resets[] = {
    {"watch.reset-all", "watch16 w8", 0, 0x10000, 0},
    {"watch.reset-part", "watch16 w8", 0x2000, 0x2000, 0},
    {"watch.reset-bytes", "watch16 w8", 0x2fff, 2, 0},
    {"watch.reset-nothing-written", "watch16", 0, 0x10000, 0},
    {"watch.reset-decommitted", "watch16 w8 d16", 0, 0x4000, 0},
    {"watch.reset-size-zero", "watch16 w2", 0, 0, 0},
    {"watch.reset-null", "watch16 w2", 0, 0x10000, 1},
    {"watch.reset-past-the-end", "watch16 w2", 0, 0x10001, 0},
    {"watch.reset-unwatched", "watch16 w2 rc16@16", 0x10000, 0x10000, 0},
    {"watch.reset-free", "watch16 w2", 0x20000, 0x1000, 0},
};

static void marks_print(void) {
    void *pages[16];
    ULONG_PTR count = 16;
    DWORD granularity;
    if (GetWriteWatch(0, B, GR, pages, &count, &granularity)) {
        printf(" refused");
        return;
    }
    printf(" %llu:", (U64)count);
    for (ULONG_PTR i = 0; i < count; i++)
        printf(" %s", where_name(pages[i]));
}

static void one_reset(const struct reset_row *row) {
    row_begin(row->id, row->setup);
    mark_error();
    UINT result = ResetWriteWatch(row->null ? NULL : B + row->where, row->size);
    DWORD error = GetLastError();
    printf("ResetWriteWatch(%s, 0x%llx) | 0x%x | %s | left", row->null ? "NULL" : where_name(B + row->where), row->size, result, error_name(error));
    marks_print();
    printf("\n");
    window_clear();
}

/// Step by step, with the marks after each.
static void steps(void) {
    window_new();
    B = VirtualAlloc(B, GR, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_NOACCESS);
    printf("watch.reserved-only |");
    marks_print();
    VirtualAlloc(B, GR, MEM_COMMIT, PAGE_READWRITE);
    printf("\nwatch.then-committed |");
    marks_print();
    memset(B + 0xffe, 1, 4);
    printf("\nwatch.write-across-a-boundary |");
    marks_print();
    ResetWriteWatch(B, GR);
    B[0x1000] = 2;
    printf("\nwatch.write-again-after-reset |");
    marks_print();
    ResetWriteWatch(B, GR);
    volatile char value = B[0x1000];
    (void)value;
    printf("\nwatch.read-after-reset |");
    marks_print();
    B[0x1000] = 2; // the same byte once more: a write all the same
    printf("\nwatch.same-value-is-a-write |");
    marks_print();
    ResetWriteWatch(B, GR);
    VirtualLock(B + 0x3000, PG);
    printf("\nwatch.lock-of-an-unwritten-page |");
    marks_print();
    VirtualUnlock(B + 0x3000, PG);
    ResetWriteWatch(B, GR);
    VirtualFree(B + 0x5000, PG, MEM_DECOMMIT);
    VirtualAlloc(B + 0x5000, PG, MEM_COMMIT, PAGE_READWRITE);
    printf("\nwatch.decommit-and-commit-is-no-write |");
    marks_print();
    B[0x5000] = 1;
    printf("\nwatch.write-after-recommit |");
    marks_print();
    printf("\n");
    VirtualFree(B, 0, MEM_RELEASE);
    // The attribute goes with the release.
    VirtualAlloc(B, GR, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    printf("watch.gone-after-release |");
    marks_print();
    printf("\n");
    window_clear();
}

/// A working set that is emptied between writes: neither a false nor a missing mark.
static void trimmed(void) {
    window_new();
    words_run("watch16 w4");
    ResetWriteWatch(B, GR);
    EmptyWorkingSet(GetCurrentProcess());
    printf("watch.trim-is-no-write |");
    marks_print();
    volatile char value = B[0];
    (void)value;
    printf("\nwatch.back-in-is-no-write |");
    marks_print();
    B[0x1000] = 9;
    EmptyWorkingSet(GetCurrentProcess());
    printf("\nwatch.mark-survives-trim |");
    marks_print();
    B[0x2000] = 9;
    printf("\nwatch.write-brings-back-and-marks |");
    marks_print();
    printf("\n");
    window_clear();
}

/// The kernel writes for us: read() of a file into the region.
static void kernel_writes(void) {
    static char bytes[0x3000];
    FILE *file = fopen("watch.tmp", "w+b");
    memset(bytes, 7, sizeof bytes);
    fwrite(bytes, 1, sizeof bytes, file);
    fflush(file);
    rewind(file);
    window_new();
    words_run("watch16");
    long got = read(fileno(file), B + 0x1800, 0x2000);
    printf("watch.kernel-write | read %ld bytes to B+0x1800, byte %d |", got, B[0x2000]);
    marks_print();
    ResetWriteWatch(B, GR);
    EmptyWorkingSet(GetCurrentProcess());
    got = read(fileno(file), B + 0x5000, 0x1000);
    printf("\nwatch.kernel-write-after-trim | read %ld bytes to B+0x5000, byte %d |", got, B[0x5000]);
    marks_print();
    ResetWriteWatch(B, GR);
    got = read(4711, B + 0x7000, 0x1000);
    printf("\nwatch.kernel-write-refused | read %ld bytes |", got);
    marks_print();
    printf("\n");
    window_clear();
    fclose(file);
    remove("watch.tmp");
}

/// Out of order writes come back in ascending order, and none is forgotten.
static void many(void) {
    enum { PAGES = 1000 };
    static void *pages[PAGES];
    window_new();
    char *p = VirtualAlloc(B, PAGES * PG, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    unsigned expected = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        unsigned page = (i * 7919u) % PAGES;
        if (page % 3) {
            p[page * PG + page] = 1;
            expected++;
        }
    }
    ULONG_PTR count = PAGES;
    DWORD granularity;
    GetWriteWatch(1, p, PAGES * PG, pages, &count, &granularity);
    int ascending = 1, right = 1;
    for (ULONG_PTR i = 0; i < count; i++) {
        ascending &= i == 0 || pages[i - 1] < pages[i];
        right &= ((SIZE_T)((char *)pages[i] - p) / PG) % 3 != 0;
    }
    ULONG_PTR left = PAGES;
    GetWriteWatch(0, p, PAGES * PG, pages, &left, &granularity);
    say("watch.a-thousand-pages", "all found: %s, ascending: %s, only those: %s, left after reset: %llu", yes(count == expected), yes(ascending), yes(right), (U64)left);
    VirtualFree(p, 0, MEM_RELEASE);
}

int main(void) {
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one(&rows[i]);
    for (size_t i = 0; i < sizeof resets / sizeof *resets; i++)
        one_reset(&resets[i]);
    steps();
    trimmed();
    kernel_writes();
    many();
    return 0;
}
