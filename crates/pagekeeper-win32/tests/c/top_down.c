// MEM_TOP_DOWN: from the highest free place down; of no effect where an address is given.
#include "conform.h"

int main(void) {
    begin();
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    char *low = VirtualAlloc(NULL, GR, MEM_RESERVE, PAGE_NOACCESS);
    char *high = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    char *next = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    char *commit = VirtualAlloc(NULL, 3 * PG, MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE);
    char *both = VirtualAlloc(NULL, 5 * PG, MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, PAGE_READONLY);
    say("top-down.above-the-others", "%s", yes(high > low));
    say("top-down.each-below-the-last", "%s %s %s", yes(next < high), yes(commit < next), yes(both < commit));
    say("top-down.aligned", "%s", yes(((uintptr_t)high | (uintptr_t)next | (uintptr_t)commit | (uintptr_t)both) % GR == 0));
    say("top-down.below-the-limit", "%s", yes(high + GR - 1 <= (char *)info.lpMaximumApplicationAddress));
    MEMORY_BASIC_INFORMATION m;
    VirtualQuery(commit, &m, sizeof m);
    say("top-down.commit-alone-reserves-too", "state 0x%lx size 0x%llx", (unsigned long)m.State, (U64)m.RegionSize);
    VirtualFree(next, 0, MEM_RELEASE);
    char *again = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    say("top-down.takes-the-hole-again", "%s", yes(again == next));
    window_new();
    mark_error();
    char *asked = VirtualAlloc(B + 0x20000, GR, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    say("top-down.address-counts", "%s | %s", where_name(asked), error_name(GetLastError()));
    mark_error();
    void *taken = VirtualAlloc(B + 0x20000, GR, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    say("top-down.address-taken", "%s | %s", where_name(taken), error_name(GetLastError()));
    window_clear();
    mark_error();
    void *zero = VirtualAlloc(NULL, 0, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    say("top-down.size-zero", "%s | %s", where_name(zero), error_name(GetLastError()));
    mark_error();
    void *huge = VirtualAlloc(NULL, 0x7ffffffe0000, MEM_RESERVE | MEM_TOP_DOWN, PAGE_NOACCESS);
    say("top-down.no-room", "%s | %s", where_name(huge), error_name(GetLastError()));
    BOOL all = VirtualFree(low, 0, MEM_RELEASE) && VirtualFree(high, 0, MEM_RELEASE) && VirtualFree(again, 0, MEM_RELEASE) && VirtualFree(commit, 0, MEM_RELEASE) &&
               VirtualFree(both, 0, MEM_RELEASE);
    say("top-down.released", "%s", yes(all));
    return 0;
}
