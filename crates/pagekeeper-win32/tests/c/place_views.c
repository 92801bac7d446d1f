// Views in the place of placeholders: MapViewOfFile3 with MEM_REPLACE_PLACEHOLDER, UnmapViewOfFileEx with MEM_PRESERVE_PLACEHOLDER.
#include "late.h"

#ifdef __MINGW32__
LATE(PVOID, MapViewOfFile3, NULL,
    (HANDLE section, HANDLE process, PVOID base, ULONG64 offset, SIZE_T size, ULONG type, ULONG prot, MEM_EXTENDED_PARAMETER *more, ULONG count),
    (section, process, base, offset, size, type, prot, more, count))
#define MapViewOfFile3 late_MapViewOfFile3
#endif

#define PLACE (MEM_RESERVE | 0x40000)
#define REPLACE 0x4000
#define COALESCE 1
#define PRESERVE 2

/// Three granules of memory, the first byte of each page its number.
static HANDLE section;

static void place(SIZE_T pages) {
    if (VirtualAlloc2(NULL, B, pages * PG, PLACE, PAGE_NOACCESS, NULL, 0) != B)
        printf("[no placeholder, %lu] ", (unsigned long)GetLastError());
}

static void cut(SIZE_T first, SIZE_T pages) {
    if (!VirtualFree(B + first * PG, pages * PG, MEM_RELEASE | PRESERVE))
        printf("[no cut, %lu] ", (unsigned long)GetLastError());
}

static char *private_at(SIZE_T first, SIZE_T pages) {
    char *p = VirtualAlloc2(NULL, B + first * PG, pages * PG, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE, NULL, 0);
    if (!p)
        printf("[no memory, %lu] ", (unsigned long)GetLastError());
    return p;
}

static char *view_at(SIZE_T first, SIZE_T pages, SIZE_T from, DWORD prot) { return MapViewOfFile3(section, NULL, B + first * PG, from * PG, pages * PG, REPLACE, prot, NULL, 0); }

static void clear(void) {
    for (char *p = B; p < B + WINDOW;) {
        MEMORY_BASIC_INFORMATION m;
        if (!VirtualQuery(p, &m, sizeof m))
            break;
        if (m.Type == MEM_MAPPED)
            UnmapViewOfFile(p);
        p = (char *)m.BaseAddress + m.RegionSize;
    }
    window_clear();
}

static void result(const char *id, int ok) {
    DWORD error = GetLastError();
    printf("%s | %s | %s | ", id, ok ? "done" : "refused", error_name(error));
    map_print(0);
    printf("\n");
}

/// A placeholder of 16 pages, or what `pages` says; then the call.
#define MAP(id, pages, call)                                                                                                                                                       \
    do {                                                                                                                                                                           \
        window_new();                                                                                                                                                              \
        if (pages)                                                                                                                                                                 \
            place(pages);                                                                                                                                                          \
        mark_error();                                                                                                                                                              \
        result(id, (call) != 0);                                                                                                                                                   \
        clear();                                                                                                                                                                   \
    } while (0)

/// The call on a view in the place of 16 pages between two placeholders of as many.
#define AFTER(id, call)                                                                                                                                                            \
    do {                                                                                                                                                                           \
        window_new();                                                                                                                                                              \
        place(48);                                                                                                                                                                 \
        cut(16, 16);                                                                                                                                                               \
        if (!view_at(16, 16, 0, PAGE_READWRITE))                                                                                                                                   \
            printf("[no view, %lu] ", (unsigned long)GetLastError());                                                                                                              \
        mark_error();                                                                                                                                                              \
        result(id, (call) != 0);                                                                                                                                                   \
        clear();                                                                                                                                                                   \
    } while (0)

static void calls(void) {
    HANDLE no = INVALID_HANDLE_VALUE, late = CreateFileMappingA(no, NULL, PAGE_READWRITE | SEC_RESERVE, 0, 3 * GR, NULL);
    MEM_ADDRESS_REQUIREMENTS needs = {.HighestEndingAddress = B + 16 * GR - 1};
    MEM_EXTENDED_PARAMETER more = {.Type = MemExtendedParameterAddressRequirements, .Pointer = &needs};
    MAP("place.view", 16, view_at(0, 16, 0, PAGE_READWRITE));
    MAP("place.view-with-reserve", 16, MapViewOfFile3(section, NULL, B, 0, GR, MEM_RESERVE | REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.view-of-reserved", 16, MapViewOfFile3(late, NULL, B, 0, GR, REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.view-read-only", 16, view_at(0, 16, 16, PAGE_READONLY));
    MAP("place.view-writecopy", 16, view_at(0, 16, 16, PAGE_WRITECOPY));
    MAP("place.odd-size", 16, MapViewOfFile3(section, NULL, B, 0, GR - 100, REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.page-offset", 16, view_at(0, 16, 3, PAGE_READWRITE));
    MAP("place.smaller", 16, view_at(0, 8, 0, PAGE_READWRITE));
    MAP("place.larger", 16, view_at(0, 32, 0, PAGE_READWRITE));
    MAP("place.from-inside", 16, view_at(8, 8, 0, PAGE_READWRITE));
    MAP("place.past-the-section", 64, view_at(0, 64, 0, PAGE_READWRITE));
    MAP("place.nothing-there", 0, view_at(0, 16, 0, PAGE_READWRITE));
    MAP("place.no-base", 16, MapViewOfFile3(section, NULL, NULL, 0, GR, REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.unaligned-base", 16, MapViewOfFile3(section, NULL, B + 8, 0, GR, REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.unaligned-offset", 16, MapViewOfFile3(section, NULL, B, 0x800, GR, REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.with-commit", 16, MapViewOfFile3(section, NULL, B, 0, GR, MEM_COMMIT | REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.as-placeholder", 16, MapViewOfFile3(section, NULL, B, 0, GR, PLACE | REPLACE, PAGE_READWRITE, NULL, 0));
    MAP("place.with-requirements", 16, MapViewOfFile3(section, NULL, B, 0, GR, REPLACE, PAGE_READWRITE, &more, 1));
    MAP("place.without-the-flag", 16, MapViewOfFile3(section, NULL, B, 0, GR, 0, PAGE_READWRITE, NULL, 0));
    MAP("place.over-ordinary", 0, (VirtualAlloc(B, GR, MEM_RESERVE, PAGE_NOACCESS), mark_error(), view_at(0, 16, 0, PAGE_READWRITE)));
    MAP("place.over-private", 16, (private_at(0, 16), mark_error(), view_at(0, 16, 0, PAGE_READWRITE)));
    MAP("place.a-part", 16, (cut(4, 4), mark_error(), view_at(4, 4, 5, PAGE_READWRITE)));
    MAP("place.two-parts", 16, (cut(0, 8), mark_error(), view_at(0, 16, 0, PAGE_READWRITE)));
    CloseHandle(late);

    AFTER("place.over-a-view", view_at(16, 16, 16, PAGE_READWRITE));
    AFTER("place.unmap", UnmapViewOfFile(B + GR));
    AFTER("place.unmap-from-inside", UnmapViewOfFileEx(B + GR + 5 * PG, 0));
    AFTER("place.unmap-preserve", UnmapViewOfFileEx(B + GR, PRESERVE));
    AFTER("place.unmap-preserve-from-inside", UnmapViewOfFileEx(B + GR + 5 * PG, PRESERVE | 1));
    AFTER("place.unmap-beside", UnmapViewOfFileEx(B, PRESERVE));
    AFTER("place.free", VirtualFree(B + GR, 0, MEM_RELEASE));
    AFTER("place.free-preserve", VirtualFree(B + GR, GR, MEM_RELEASE | PRESERVE));
    AFTER("place.merge-over-it", VirtualFree(B, 3 * GR, MEM_RELEASE | COALESCE));
    AFTER("place.merge-again", (UnmapViewOfFileEx(B + GR, PRESERVE), mark_error(), VirtualFree(B, 3 * GR, MEM_RELEASE | COALESCE)));
    AFTER("place.private-again", (UnmapViewOfFileEx(B + GR, PRESERVE), mark_error(), private_at(16, 16)));
    AFTER("place.view-again", (UnmapViewOfFileEx(B + GR, PRESERVE), mark_error(), view_at(16, 16, 32, PAGE_READONLY)));
    AFTER("place.reserve-again", (UnmapViewOfFile(B + GR), mark_error(), VirtualAlloc(B + GR, GR, MEM_RESERVE, PAGE_READWRITE)));
}

/// The same memory twice, side by side: what is written over the end of one is at the start of the other.
static void ring(void) {
    window_new();
    place(32);
    cut(0, 16);
    char *one = view_at(0, 16, 16, PAGE_READWRITE), *two = view_at(16, 16, 16, PAGE_READWRITE);
    int right = 0;
    if (one == B && two == B + GR) {
        memcpy(B + GR - 3, "across", 6);
        right = !memcmp(B, "oss", 3) && !memcmp(B + 2 * GR - 3, "acr", 3);
        B[0] = 16;
    }
    say("place.ring", "%s", yes(right));
    clear();
}

static int all_are(const char *p, SIZE_T size, int value) {
    for (SIZE_T i = 0; i < size; i++)
        if (p[i] != value)
            return 0;
    return 1;
}

/// Private memory on both sides within the same 2 MiB, written, protected, decommitted, taken out of the working set and given up,
/// while a view between them keeps copies of its own; then the place is private memory, a view and a placeholder by turns.
static void neighbours(void) {
    window_new();
    place(48);
    cut(16, 16);
    char *left = private_at(0, 16), *right = private_at(32, 16), *view = view_at(16, 16, 0, PAGE_WRITECOPY);
    if (!left || !right || !view) {
        say("place.neighbours", "not there");
        return;
    }
    memset(left, 1, GR);
    memset(right, 2, GR);
    int numbers = 1;
    for (int i = 0; i < 16; i++) {
        numbers &= view[i * PG] == i;
        if (i % 3 == 0)
            memset(view + i * PG, 0x40 + i, PG);
    }
    say("place.numbers", "%s", yes(numbers));
    DWORD old;
    VirtualProtect(left, GR, PAGE_READONLY, &old);
    VirtualFree(right + 4 * PG, 4 * PG, MEM_DECOMMIT);
    EmptyWorkingSet(GetCurrentProcess());
    VirtualAlloc(right + 4 * PG, 4 * PG, MEM_COMMIT, PAGE_READWRITE);
    say("place.neighbours", "%s %s %s", yes(all_are(left, GR, 1)), yes(all_are(right, 4 * PG, 2) && all_are(right + 4 * PG, 4 * PG, 0)), yes(all_are(right + 8 * PG, 8 * PG, 2)));
    VirtualFree(left, 0, MEM_RELEASE);
    VirtualFree(right, GR, MEM_DECOMMIT);
    VirtualFree(right, 0, MEM_RELEASE);
    int copies = 1;
    for (int i = 0; i < 16; i++)
        copies &= i % 3 ? view[i * PG] == i : all_are(view + i * PG, PG, 0x40 + i);
    say("place.copies-of-a-view-alone", "%s", yes(copies));
    UnmapViewOfFileEx(view, PRESERVE);
    int right_each_time = 1;
    for (int i = 0; i < 20; i++) {
        char *p = private_at(16, 16);
        right_each_time &= p && all_are(p, GR, 0);
        if (p)
            memset(p, 9, GR);
        VirtualFree(B + GR, GR, MEM_RELEASE | PRESERVE);
        p = view_at(16, 16, 16, PAGE_READWRITE);
        right_each_time &= p && p[0] == 16 && p[15 * PG] == 31;
        UnmapViewOfFileEx(B + GR, PRESERVE);
    }
    say("place.by-turns", "%s", yes(right_each_time));
    clear();
}

int main(void) {
    begin();
    section = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 3 * GR, NULL);
    char *all = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    for (int i = 0; all && i < 48; i++)
        all[i * PG] = (char)i;
    UnmapViewOfFile(all);
    calls();
    ring();
    neighbours();
    CloseHandle(section);
    return 0;
}
