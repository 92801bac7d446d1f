// Address windowing: frames that are mapped into a MEM_PHYSICAL region and out again, keeping their contents.
#include "faults.h"

#include <psapi.h>

static char *region(SIZE_T pages) { return VirtualAlloc(NULL, pages * PG, MEM_RESERVE | MEM_PHYSICAL, PAGE_READWRITE); }

/// Whether a page is in the list that QueryWorkingSet gives.
static int listed(void *page) {
    static ULONG_PTR list[1 << 16];
    if (!QueryWorkingSet(GetCurrentProcess(), list, sizeof list))
        return -1;
    for (ULONG_PTR i = 1; i <= list[0]; i++)
        if (list[i] >> 12 == (ULONG_PTR)page >> 12)
            return 1;
    return 0;
}

int main(void) {
    begin();
    faults_begin();
    HANDLE me = GetCurrentProcess();
    ULONG_PTR frames[16], none[1] = {0}, count = 16;
    memset(frames, 0, sizeof frames);
    mark_error();
    BOOL ok = AllocateUserPhysicalPages(me, &count, frames);
    say("awe.allocate", "%s | %s | %llu", ok ? "TRUE" : "FALSE", error_name(GetLastError()), (U64)count);
    if (!ok)
        return 0;
    int different = 1;
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < i; k++)
            different &= frames[i] != frames[k] && frames[i] != 0;
    say("awe.frames-differ", "%s", yes(different));
    B = region(16);
    say("awe.region", "%s", B ? "new" : "NULL");
    say("awe.unmapped-faults", "r: %s", access_text('r', B, 1));
    mark_error();
    ok = MapUserPhysicalPages(B, 4, frames);
    say("awe.map", "%s | %s | w: %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()), access_text('w', B + 3 * PG, 1));
    say("awe.fresh-frames-zero", "%d %d", B[0], B[2 * PG + 77]);
    say("awe.beside-still-faults", "r: %s", access_text('r', B + 4 * PG, 1));
    for (int i = 0; i < 4; i++)
        B[(SIZE_T)i * PG] = (char)(i + 1);
    say("awe.not-in-the-working-set", "%d", listed(B));
    ok = MapUserPhysicalPages(B, 4, NULL);
    say("awe.unmap", "%s | r: %s", ok ? "TRUE" : "FALSE", access_text('r', B, 1));
    ok = MapUserPhysicalPages(B + 8 * PG, 4, frames);
    say("awe.contents-stay-with-the-frame", "%s | %d %d %d %d", ok ? "TRUE" : "FALSE", B[8 * PG], B[9 * PG], B[10 * PG], B[11 * PG]);
    ok = MapUserPhysicalPages(B + 8 * PG, 2, frames + 4);
    say("awe.map-replaces", "%s | %d %d %d %d", ok ? "TRUE" : "FALSE", B[8 * PG], B[9 * PG], B[10 * PG], B[11 * PG]);
    mark_error();
    ok = MapUserPhysicalPages(B, 1, frames + 2);
    say("awe.one-address-at-a-time", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    void *places[3] = {B + 1 * PG, B + 5 * PG, B + 8 * PG};
    ULONG_PTR scattered[3] = {frames[0], frames[1], 0};
    mark_error();
    ok = MapUserPhysicalPagesScatter(places, 3, scattered);
    say("awe.scatter", "%s | %s | %d %d, zero unmaps: %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()), ok ? B[1 * PG] : -1, ok ? B[5 * PG] : -1, access_text('r', B + 8 * PG, 1));
    mark_error();
    ok = MapUserPhysicalPages(B + 14 * PG, 4, frames + 8);
    say("awe.past-the-end", "%s | mapped: %s", ok ? "TRUE" : "FALSE", access_text('r', B + 14 * PG, 1));
    ULONG_PTR wrong[2] = {frames[8], 0x123456789};
    ok = MapUserPhysicalPages(B + 12 * PG, 2, wrong);
    say("awe.all-or-nothing", "%s | %s", ok ? "TRUE" : "FALSE", access_text('r', B + 12 * PG, 1));
    char *plain = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ok = MapUserPhysicalPages(plain, 1, frames + 8);
    say("awe.ordinary-memory", "%s", ok ? "TRUE" : "FALSE");
    VirtualFree(plain, 0, MEM_RELEASE);
    DWORD old;
    ok = VirtualProtect(B + PG, PG, PAGE_READONLY, &old);
    say("awe.protect", "%s | w: %s", ok ? "TRUE" : "FALSE", access_text('w', B + PG, 1));
    ok = VirtualFree(B + PG, PG, MEM_DECOMMIT);
    say("awe.decommit", "%s", ok ? "TRUE" : "FALSE");
    ok = VirtualAlloc(B + 6 * PG, PG, MEM_COMMIT, PAGE_READWRITE) != NULL;
    say("awe.commit", "%s", ok ? "TRUE" : "FALSE");
    // The frames outlive the region.
    B[5 * PG] = 77;
    ok = VirtualFree(B, 0, MEM_RELEASE);
    say("awe.release", "%s", ok ? "TRUE" : "FALSE");
    B = region(16);
    ok = MapUserPhysicalPages(B, 1, frames + 1);
    say("awe.frames-outlive-the-region", "%s | %d", ok ? "TRUE" : "FALSE", B[0]);
    count = 16;
    mark_error();
    ok = FreeUserPhysicalPages(me, &count, frames);
    say("awe.free", "%s | %s | %llu | r: %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()), (U64)count, access_text('r', B, 1));
    count = 1;
    ok = FreeUserPhysicalPages(me, &count, none);
    say("awe.free-nonsense", "%s | %llu", ok ? "TRUE" : "FALSE", (U64)count);
    count = 1;
    ok = FreeUserPhysicalPages(me, &count, frames);
    say("awe.free-twice", "%s | %llu", ok ? "TRUE" : "FALSE", (U64)count);
    VirtualFree(B, 0, MEM_RELEASE);
    return 0;
}
