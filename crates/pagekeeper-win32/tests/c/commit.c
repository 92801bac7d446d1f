// Committing: rounding, what it does to pages that are committed already, when it is refused.
#include "conform.h"

static const struct row rows[] = {
    {"commit.one-page", "r16", A_B(0, 0x1000, MEM_COMMIT, PAGE_READWRITE, "b1")},
    {"commit.one-byte", "r16", A_(0x2abc, 1, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.two-bytes-two-pages", "r16", A_(0x1fff, 2, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.address-down-to-page", "r16", A_(0x3fff, 0x1000, MEM_COMMIT, PAGE_READONLY)},
    {"commit.not-down-to-64k", "r32", A_(0x11000, 0x1000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.whole", "r16", A_B(0, 0x10000, MEM_COMMIT, PAGE_READWRITE, "b16")},
    {"commit.wider-than-reserved", "r16=na", A_(0, 0x1000, MEM_COMMIT, PAGE_EXECUTE_READWRITE)},
    {"commit.narrower-than-reserved", "r16=rw", A_(0, 0x1000, MEM_COMMIT, PAGE_NOACCESS)},
    {"commit.zero-filled", "r16", A_B(0, 0x4000, MEM_COMMIT, PAGE_READWRITE, "b4")},
    {"commit.again-keeps-contents", "r16 c4 w4", A_B(0, 0x4000, MEM_COMMIT, PAGE_READWRITE, "b4")},
    {"commit.again-sets-protection", "r16 c4 w4", A_B(0x1000, 0x1000, MEM_COMMIT, PAGE_READONLY, "b4")},
    {"commit.again-to-noaccess", "r16 c4", A_(0x1000, 0x1000, MEM_COMMIT, PAGE_NOACCESS)},
    {"commit.mixed-range", "r16 c1@1 w1@1 c1@3=ro", A_B(0, 0x6000, MEM_COMMIT, PAGE_READWRITE, "b6")},
    {"commit.guard", "r16", A_(0, 0x2000, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD)},
    {"commit.again-arms-guard", "r16 c4", A_(0x1000, 0x1000, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD)},
    {"commit.after-decommit-is-zero", "rc16 w16 d16", A_B(0, 0x10000, MEM_COMMIT, PAGE_READWRITE, "b4@6")},
    {"commit.with-top-down", "r16", A_(0, 0x1000, MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE)},
    {"commit.free-space", "", A_(0, 0x1000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.past-the-end", "r16", A_(0xf000, 0x1001, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.begins-before", "r16@16", A_(0xf000, 0x2000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.two-neighbours", "r16 r16@16", A_(0xf000, 0x2000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.tail-of-block", "r3", A_(0x3000, 0x1000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.size-zero", "r16", A_(0, 0, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.below-64k", "", AT(0x1000, 0x1000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.kernel-half", "", AT(0xffff800000000000, 0x1000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.wraps", "r16", A_(0, 0xffffffffffffffff, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.past-user-space", "", AT(0x7ffffffe0000, 0x20000, MEM_COMMIT, PAGE_READWRITE)},
    {"commit.protection-zero", "r16", A_(0, 0x1000, MEM_COMMIT, 0)},
    {"commit.writecopy", "r16", A_(0, 0x1000, MEM_COMMIT, PAGE_WRITECOPY)},
    {"commit.refused-changes-nothing", "r16 c1@14 w1@14 p1@14=ro", A_B(0xe000, 0x3000, MEM_COMMIT, PAGE_READWRITE, "b1@14")},
    {"commit.watch-without-reserve", "r16", A_(0, 0x1000, MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE)},
    {"commit.physical", "r16", A_(0, 0x1000, MEM_COMMIT | MEM_PHYSICAL, PAGE_READWRITE)},
    {"commit.allocation-protect-stays", "r16=ro c2@1=rw c2@2=xr", A_(0x4000, 0x1000, MEM_COMMIT, PAGE_NOACCESS)},
};

/// One page here, one page there: every boundary is kept.
static void alternating(void) {
    enum { PAGES = 2000 };
    window_new();
    char *p = VirtualAlloc(B, PAGES * PG, MEM_RESERVE, PAGE_NOACCESS);
    int all = p == B, shown = 1;
    for (SIZE_T i = 0; i < PAGES; i += 2) {
        all &= VirtualAlloc(p + i * PG, 1, MEM_COMMIT, PAGE_READWRITE) == p + i * PG;
        p[i * PG] = (char)i;
    }
    for (SIZE_T i = 0; i < PAGES; i++) {
        MEMORY_BASIC_INFORMATION m;
        VirtualQuery(p + i * PG, &m, sizeof m);
        shown &= m.BaseAddress == p + i * PG && m.RegionSize == PG && m.State == (i % 2 ? MEM_RESERVE : MEM_COMMIT);
        shown &= i % 2 || p[i * PG] == (char)i;
    }
    say("commit.every-second-page", "all committed: %s, each page its own region: %s", yes(all), yes(shown));
    VirtualFree(p, 0, MEM_RELEASE);
}

/// A commit in a view or an image is refused with 5: our own program is the only image at hand.
static void in_an_image(void) {
    mark_error();
    void *result = VirtualAlloc((void *)(uintptr_t)&alternating, 1, MEM_COMMIT, PAGE_READONLY);
    say("commit.in-an-image", "%s | %s", where_name(result), error_name(GetLastError()));
}

/// More than the system can promise.
static void beyond_the_limit(void) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    GlobalMemoryStatusEx(&status);
    SIZE_T size = (SIZE_T)status.ullTotalPageFile + GR;
    char *p = VirtualAlloc(NULL, size, MEM_RESERVE, PAGE_NOACCESS);
    mark_error();
    char *q = VirtualAlloc(p, size, MEM_COMMIT, PAGE_READWRITE);
    DWORD error = GetLastError();
    MEMORY_BASIC_INFORMATION m;
    VirtualQuery(p, &m, sizeof m);
    say("commit.limit", "reserved: %s | commit %s | %s | still reserved: %s", yes(p != NULL), q ? "done" : "NULL", error_name(error),
        yes(m.State == MEM_RESERVE && m.RegionSize >= size));
    VirtualFree(p, 0, MEM_RELEASE);
    mark_error();
    p = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    error = GetLastError();
    say("commit.limit-at-once", "%s | %s", p ? "done" : "NULL", error_name(error));
    if (p)
        VirtualFree(p, 0, MEM_RELEASE);
}

int main(void) {
    begin();
    RUN(rows);
    alternating();
    in_an_image();
    beyond_the_limit();
    return 0;
}
