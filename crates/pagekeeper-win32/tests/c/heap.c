// Private heaps: HeapCreate, HeapAlloc, HeapReAlloc, HeapFree, HeapSize, HeapValidate, HeapWalk, HeapLock, information, exceptions.
#include "conform.h"

static const char *truth(BOOL is) { return is ? "TRUE" : "FALSE"; }

/// What a pointer is, without its value.
static const char *got(const void *p) { return p ? "a block" : "NULL"; }

#define SAY_CALL(id, format, ...)                                                                                                      \
    do {                                                                                                                               \
        mark_error();                                                                                                                  \
        const char *shown_ = (__VA_ARGS__);                                                                                            \
        DWORD error_ = GetLastError();                                                                                                 \
        say(id, format " | %s", shown_, error_name(error_));                                                                           \
    } while (0)

// ---------------------------------------------------------------------------------------------------------------- create

static void create(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    say("heap.handle-is-64k", "%s", yes(heap && (ULONG_PTR)heap % GR == 0));
    MEMORY_BASIC_INFORMATION info;
    VirtualQuery(heap, &info, sizeof info);
    say("heap.handle-is-base", "%s", yes(info.AllocationBase == heap));
    say("heap.initial-commit", "0x%llx", (U64)info.RegionSize);
    char *end = (char *)heap;
    while (VirtualQuery(end, &info, sizeof info) && info.AllocationBase == heap)
        end += info.RegionSize;
    say("heap.reservation", "0x%llx", (U64)(end - (char *)heap));
    SAY_CALL("heap.destroy", "%s", truth(HeapDestroy(heap)));
    VirtualQuery(heap, &info, sizeof info);
    say("heap.destroy-releases", "%s", yes(info.State == MEM_FREE || info.AllocationBase != heap));

    heap = HeapCreate(0, 0, 0x12345);
    end = (char *)heap;
    while (VirtualQuery(end, &info, sizeof info) && info.AllocationBase == heap)
        end += info.RegionSize;
    say("heap.fixed-reservation", "0x%llx", (U64)(end - (char *)heap));
    HeapDestroy(heap);
    heap = HeapCreate(0, 0x30000, 0x1000);
    say("heap.initial-above-maximum", "%s, 0x20000 bytes: %s", got(heap), got(HeapAlloc(heap, 0, 0x20000)));
    HeapDestroy(heap);

    SAY_CALL("heap.create-too-large", "%s", got(HeapCreate(0, 0, (SIZE_T)1 << 60)));
    SAY_CALL("heap.destroy-process-heap", "%s", truth(HeapDestroy(GetProcessHeap())));
    SAY_CALL("heap.destroy-null", "%s", truth(HeapDestroy(NULL)));
}

static void process_heaps(void) {
    HANDLE all[64], one[1] = {0};
    DWORD before = GetProcessHeaps(64, all);
    say("heaps.process-heap-first", "%s", yes(all[0] == GetProcessHeap()));
    HANDLE heap = HeapCreate(0, 0, 0);
    say("heaps.one-more", "%ld", (long)GetProcessHeaps(64, all) - (long)before);
    say("heaps.no-room", "%s", yes(GetProcessHeaps(0, NULL) == before + 1));
    say("heaps.too-little-room", "%s", yes(GetProcessHeaps(1, one) == before + 1));
    HeapDestroy(heap);
    say("heaps.one-less", "%ld", (long)GetProcessHeaps(64, all) - (long)before);
}

// ---------------------------------------------------------------------------------------------------------------- blocks

static void blocks(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    BOOL aligned = TRUE, exact = TRUE, zero = TRUE;
    for (SIZE_T size = 0; size < 3000; size += 7) {
        unsigned char *p = HeapAlloc(heap, HEAP_ZERO_MEMORY, size);
        aligned = aligned && p && (ULONG_PTR)p % 16 == 0;
        exact = exact && HeapSize(heap, 0, p) == size;
        for (SIZE_T i = 0; i < size; i++)
            zero = zero && p[i] == 0;
        memset(p, 0x77, size);
        if (size % 3)
            HeapFree(heap, 0, p);
    }
    say("heap.aligned-16", "%s", yes(aligned));
    say("heap.size-is-exact", "%s", yes(exact));
    say("heap.zero-memory", "%s", yes(zero));

    char *p = HeapAlloc(heap, 0, 0);
    say("heap.size-zero", "%s, size %llu", got(p), (U64)HeapSize(heap, 0, p));
    p = HeapAlloc(heap, 0, 100);
    memset(p, 0x41, 100);
    p = HeapReAlloc(heap, HEAP_ZERO_MEMORY, p, 300);
    BOOL kept = TRUE, added = TRUE;
    for (int i = 0; i < 300; i++)
        if (i < 100)
            kept = kept && p[i] == 0x41;
        else
            added = added && p[i] == 0;
    say("heap-realloc.keeps-contents", "%s", yes(kept));
    say("heap-realloc.zeroes-what-was-added", "%s", yes(added));
    p = HeapReAlloc(heap, 0, p, 0);
    say("heap-realloc.to-zero", "%s, size %llu", got(p), (U64)HeapSize(heap, 0, p));
    SAY_CALL("heap-realloc.null", "%s", got(HeapReAlloc(heap, 0, NULL, 10)));
    p = HeapAlloc(heap, 0, 100);
    SAY_CALL("heap-realloc.far-too-large", "%s", got(HeapReAlloc(heap, 0, p, ~(SIZE_T)0)));
    say("heap-realloc.failed-leaves-block", "%llu", (U64)HeapSize(heap, 0, p));
    SAY_CALL("heap-alloc.far-too-large", "%s", got(HeapAlloc(heap, 0, ~(SIZE_T)0)));
    SAY_CALL("heap-alloc.nearly-2-to-64", "%s", got(HeapAlloc(heap, 0, ~(SIZE_T)0 - 0x20)));
    SAY_CALL("heap-alloc.success", "%s", got(HeapAlloc(heap, 0, 10)));
    SAY_CALL("heap-free.success", "%s", truth(HeapFree(heap, 0, p)));
    SAY_CALL("heap-free.null", "%s", truth(HeapFree(heap, 0, NULL)));
    SAY_CALL("heap-free.null-of-null-heap", "%s", truth(HeapFree(NULL, 0, NULL)));
    HeapDestroy(heap);
}

static void in_place(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    char *p = HeapAlloc(heap, 0, 100000);
    HeapAlloc(heap, 0, 16);
    say("heap-in-place.shrink", "%s", yes(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, p, 1000) == p));
    say("heap-in-place.grow-back", "%s", yes(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, p, 100000) == p));
    SAY_CALL("heap-in-place.no-room", "%s", got(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, p, 500000)));
    say("heap-in-place.failed-leaves-block", "%llu", (U64)HeapSize(heap, 0, p));
    char *large = HeapAlloc(heap, 0, 0x200000);
    say("heap-in-place.large-shrink", "%s", yes(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, large, 1000) == large));
    SAY_CALL("heap-in-place.large-does-not-grow-back", "%s", got(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, large, 0x200000)));
    say("heap-in-place.large-as-it-was", "%llu", (U64)HeapSize(heap, 0, large));
    HeapDestroy(heap);
}

static void large(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    char *p = HeapAlloc(heap, 0, 0x100000);
    MEMORY_BASIC_INFORMATION info;
    VirtualQuery(p, &info, sizeof info);
    say("heap-large.own-address-space", "%s", yes(info.AllocationBase != heap));
    say("heap-large.offset", "0x%llx", (U64)(p - (char *)info.AllocationBase));
    say("heap-large.size", "0x%llx", (U64)HeapSize(heap, 0, p));
    BOOL zero = TRUE;
    char *z = HeapAlloc(heap, HEAP_ZERO_MEMORY, 0x180000);
    for (SIZE_T i = 0; i < 0x180000; i++)
        zero = zero && z[i] == 0;
    say("heap-large.zero", "%s", yes(zero));
    SAY_CALL("heap-large.free", "%s", truth(HeapFree(heap, 0, p)));
    VirtualQuery(p, &info, sizeof info);
    say("heap-large.free-gives-back", "%s", yes(info.State == MEM_FREE));
    HeapDestroy(heap);
    VirtualQuery(z, &info, sizeof info);
    say("heap-large.destroy-gives-back", "%s", yes(info.State == MEM_FREE));
}

static void fixed(void) {
    HANDLE heap = HeapCreate(0, 0, 0x400000);
    SAY_CALL("heap-fixed.no-large-block", "%s", got(HeapAlloc(heap, 0, 0x100000)));
    SAY_CALL("heap-fixed.below", "%s", got(HeapAlloc(heap, 0, 0xfe000)));
    HeapDestroy(heap);
    heap = HeapCreate(0, 0, 0x40000);
    SAY_CALL("heap-fixed.control-data", "%s", got(HeapAlloc(heap, 0, 0x3fa00)));
    SAY_CALL("heap-fixed.nearly-all", "%s", got(HeapAlloc(heap, 0, 0x3f400)));
    SAY_CALL("heap-fixed.full", "%s", got(HeapAlloc(heap, 0, 0x1000)));
    HeapDestroy(heap);
}

// ---------------------------------------------------------------------------------------------------------------- misuse

static void misuse(void) {
    HANDLE heap = HeapCreate(0, 0, 0), other = HeapCreate(0, 0, 0);
    char *p = HeapAlloc(heap, 0, 100), *q = HeapAlloc(other, 0, 100);
    char here[64];
    SAY_CALL("heap-validate.heap", "%s", truth(HeapValidate(heap, 0, NULL)));
    SAY_CALL("heap-validate.block", "%s", truth(HeapValidate(heap, 0, p)));
    SAY_CALL("heap-validate.foreign", "%s", truth(HeapValidate(heap, 0, q)));
    SAY_CALL("heap-validate.inside", "%s", truth(HeapValidate(heap, 0, p + 16)));
    SAY_CALL("heap-free.other-heap", "%s", truth(HeapFree(heap, 0, q)));
    SAY_CALL("heap-free.stack", "%s", truth(HeapFree(heap, 0, here + 16)));
    SAY_CALL("heap-free.inside", "%s", truth(HeapFree(heap, 0, p + 16)));
    SAY_CALL("heap-size.other-heap", "%s", HeapSize(heap, 0, q) == ~(SIZE_T)0 ? "-1" : "a size");
    SAY_CALL("heap-realloc.other-heap", "%s", got(HeapReAlloc(heap, 0, q, 200)));
    HeapFree(heap, 0, p);
    SAY_CALL("heap-validate.freed", "%s", truth(HeapValidate(heap, 0, p)));
    SAY_CALL("heap-free.twice", "%s", truth(HeapFree(heap, 0, p)));
    SAY_CALL("heap-size.freed", "%s", HeapSize(heap, 0, p) == ~(SIZE_T)0 ? "-1" : "a size");
    say("heap-misuse.does-no-harm", "%s", yes(HeapValidate(heap, 0, NULL) && HeapValidate(other, 0, NULL) && HeapSize(other, 0, q) == 100));
    HeapAlloc(heap, 0, 100);
    p = HeapAlloc(heap, 0, 100);
    HeapAlloc(heap, 0, 100);
    memset(p, 0x55, 120);
    SAY_CALL("heap-validate.overrun", "%s", truth(HeapValidate(heap, 0, NULL)));
    say("heap-validate.overrun-of-another-heap", "%s", truth(HeapValidate(other, 0, NULL)));
    HeapDestroy(other);
}

// ------------------------------------------------------------------------------------------------------------------ walk

static void walk(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    PROCESS_HEAP_ENTRY entry;
    char text[200] = "";
    entry.lpData = NULL;
    mark_error();
    while (HeapWalk(heap, &entry)) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? ", " : "",
                 entry.wFlags & PROCESS_HEAP_REGION              ? "region"
                 : entry.wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE ? "uncommitted"
                 : entry.wFlags & PROCESS_HEAP_ENTRY_BUSY        ? "busy"
                                                                 : "free");
        if (entry.wFlags & PROCESS_HEAP_REGION) {
            say("heap-walk.region-is-the-heap", "%s, index %d", yes(entry.lpData == heap), entry.iRegionIndex);
            say("heap-walk.region-sums-up", "0x%lx", (unsigned long)(entry.Region.dwCommittedSize + entry.Region.dwUnCommittedSize));
        }
    }
    DWORD error = GetLastError();
    say("heap-walk.fresh-heap", "%s", text);
    say("heap-walk.end", "%s", error_name(error));

    static const SIZE_T sizes[] = {100, 0, 33, 5000, 300};
    char *p[5];
    for (int i = 0; i < 5; i++)
        p[i] = HeapAlloc(heap, 0, sizes[i]);
    char *big = HeapAlloc(heap, 0, 0x123456);
    HeapFree(heap, 0, p[2]);
    int found = 0, order = 1, large_last = 0, freed_is_free = 1;
    void *last = NULL;
    entry.lpData = NULL;
    while (HeapWalk(heap, &entry)) {
        if (!(entry.wFlags & PROCESS_HEAP_ENTRY_BUSY))
            continue;
        large_last = entry.lpData == big && entry.iRegionIndex == 64 && entry.cbData == 0x123456;
        if (entry.lpData == big)
            continue;
        order = order && (char *)entry.lpData > (char *)last;
        last = entry.lpData;
        freed_is_free = freed_is_free && entry.lpData != p[2];
        for (int i = 0; i < 5; i++)
            found += entry.lpData == p[i] && entry.cbData == sizes[i];
    }
    say("heap-walk.busy-blocks", "%d of 4 with their sizes", found);
    say("heap-walk.by-address", "%s", yes(order));
    say("heap-walk.freed-is-not-busy", "%s", yes(freed_is_free));
    say("heap-walk.large-blocks-last", "%s", yes(large_last));
    SIZE_T largest = HeapCompact(heap, 0);
    say("heap.compact", "%s", yes(largest > 0 && largest < 0x200000));
    HeapDestroy(heap);
}

// ------------------------------------------------------------------------------------------------------------ information

static void information(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    ULONG value = 9;
    SIZE_T length = 0;
    BOOL ok = HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof value, &length);
    say("heap-information.fresh", "%s %lu length %llu", truth(ok), (unsigned long)value, (U64)length);
    length = 0;
    SAY_CALL("heap-information.small-buffer", "%s", truth(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, 1, &length)));
    say("heap-information.small-buffer-length", "%llu", (U64)length);
    SAY_CALL("heap-information.null-heap", "%s", truth(HeapQueryInformation(NULL, HeapCompatibilityInformation, &value, sizeof value, &length)));
    for (int i = 0; i < 17; i++)
        HeapAlloc(heap, 0, 24);
    HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof value, NULL);
    say("heap-information.seventeen-blocks", "%lu", (unsigned long)value);
    HeapAlloc(heap, 0, 24);
    HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof value, NULL);
    say("heap-information.eighteen-blocks", "%lu", (unsigned long)value);
    HeapDestroy(heap);
    heap = HeapCreate(0, 0, 0);
    value = 2;
    SAY_CALL("heap-information.set-2", "%s", truth(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value)));
    HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof value, NULL);
    say("heap-information.then-says", "%lu", (unsigned long)value);
    value = 0;
    SAY_CALL("heap-information.set-back-0", "%s", truth(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value)));
    value = 1;
    SAY_CALL("heap-information.set-back-1", "%s", truth(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value)));
    HeapDestroy(heap);
    heap = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    value = 2;
    SAY_CALL("heap-information.unserialised", "%s", truth(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof value)));
    HeapDestroy(heap);
}

// -------------------------------------------------------------------------------------------------------------- exceptions

static volatile DWORD raised;
static void *volatile landing[5];

static LONG CALLBACK on_exception(PEXCEPTION_POINTERS info) {
    raised = info->ExceptionRecord->ExceptionCode;
    __builtin_longjmp((void **)landing, 1);
}

/// Allocates and says what was raised.
__attribute__((noinline)) static void raising(const char *id, HANDLE heap, DWORD flags, SIZE_T size) {
    raised = 0;
    void *volatile block = NULL;
    if (!__builtin_setjmp((void **)landing))
        block = HeapAlloc(heap, flags, size);
    say(id, "%s, raised 0x%lx", got(block), (unsigned long)raised);
}

/// The same for resizing what is no block of the heap.
__attribute__((noinline)) static void raising_for_pointer(const char *id, HANDLE heap, DWORD flags, void *pointer) {
    raised = 0;
    void *volatile block = NULL;
    if (!__builtin_setjmp((void **)landing))
        block = HeapReAlloc(heap, flags, pointer, 200);
    say(id, "%s, raised 0x%lx", got(block), (unsigned long)raised);
}

static void exceptions(void) {
    PVOID handler = AddVectoredExceptionHandler(1, on_exception);
    HANDLE heap = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 0x40000), plain = HeapCreate(0, 0, 0x40000);
    raising("heap-exceptions.heap", heap, 0, 0x80000);
    raising("heap-exceptions.call", plain, HEAP_GENERATE_EXCEPTIONS, 0x80000);
    raising("heap-exceptions.not-asked-for", plain, 0, 0x80000);
    raising("heap-exceptions.success", heap, 0, 0x100);
    HANDLE other = HeapCreate(0, 0, 0);
    void *foreign = HeapAlloc(other, 0, 100);
    raising_for_pointer("heap-exceptions.heap-bad-pointer", heap, 0, foreign);
    raising_for_pointer("heap-exceptions.call-bad-pointer", plain, HEAP_GENERATE_EXCEPTIONS, foreign);
    raising_for_pointer("heap-exceptions.bad-pointer-not-asked-for", plain, 0, foreign);
    say("heap-exceptions.harmless", "%s", yes(HeapValidate(other, 0, NULL) && HeapSize(other, 0, foreign) == 100));
    HeapDestroy(other);
    HeapDestroy(heap);
    HeapDestroy(plain);
    RemoveVectoredExceptionHandler(handler);
}

// -------------------------------------------------------------------------------------------------------------------- lock

static void lock(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    SAY_CALL("heap-lock.heap", "%s", truth(HeapLock(heap)));
    SAY_CALL("heap-lock.heap-again", "%s", truth(HeapLock(heap)));
    SAY_CALL("heap-lock.owner-allocates", "%s", got(HeapAlloc(heap, 0, 100)));
    SAY_CALL("heap-unlock.heap", "%s", truth(HeapUnlock(heap)));
    SAY_CALL("heap-unlock.heap-again", "%s", truth(HeapUnlock(heap)));
    HeapDestroy(heap);
    heap = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    SAY_CALL("heap-lock.unserialised", "%s", truth(HeapLock(heap)));
    SAY_CALL("heap-unlock.unserialised", "%s", truth(HeapUnlock(heap)));
    HeapDestroy(heap);
}

/// Comes last: Wine 8.0 has no such call, and ends the program.
static void summary(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    HeapAlloc(heap, 0, 0x123456);
    HeapAlloc(heap, 0, 5000);
    HEAP_SUMMARY sums = {sizeof sums, 0, 0, 0, 0};
    BOOL ok = HeapSummary(heap, 0, &sums);
    say("heap-summary.sums", "%s, %s", truth(ok),
        yes(sums.cbAllocated >= 0x123456 + 5000 && sums.cbAllocated <= sums.cbCommitted && sums.cbCommitted <= sums.cbReserved));
    sums.cb = 1;
    SAY_CALL("heap-summary.wrong-size", "%s", truth(HeapSummary(heap, 0, &sums)));
    HeapDestroy(heap);
}

int main(void) {
    begin();
    create();
    process_heaps();
    blocks();
    in_place();
    large();
    fixed();
    walk();
    information();
    exceptions();
    lock();
    misuse();
    summary();
    return 0;
}
