// MEM_LARGE_PAGES: both flags, multiples of the large page, read and write.
#include "conform.h"

int main(void) {
    begin();
    SIZE_T large = GetLargePageMinimum();
    say("large.minimum", "0x%llx", (U64)large);
    static const struct {
        const char *id;
        U64 size;
        DWORD type;
    } table[] = {{"large.reserve-only", 0x200000, MEM_RESERVE | 0x20000000}, {"large.commit-only", 0x200000, MEM_COMMIT | 0x20000000}, {"large.size-not-a-multiple", 0x201000, MEM_RESERVE | MEM_COMMIT | 0x20000000}, {"large.small", 0x1000, MEM_RESERVE | MEM_COMMIT | 0x20000000}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        mark_error();
        void *p = VirtualAlloc(NULL, table[i].size, table[i].type, PAGE_READWRITE);
        say(table[i].id, "%s | %s", p ? "new" : "NULL", error_name(GetLastError()));
    }
    window_new();
    mark_error();
    void *odd = VirtualAlloc(B + 0x10000, large, MEM_RESERVE | MEM_COMMIT | 0x20000000, PAGE_READWRITE);
    say("large.address-not-a-multiple", "%s | %s", odd ? "new" : "NULL", error_name(GetLastError()));
    // With the privilege it works; without, 1314; without contiguous memory, 1450 or 8.
    mark_error();
    char *p = VirtualAlloc(NULL, 2 * large, MEM_RESERVE | MEM_COMMIT | 0x20000000, PAGE_READWRITE);
    DWORD error = GetLastError();
    say("large.works-or-says-why", "%s", yes(p ? error == MARK && (uintptr_t)p % large == 0 : error == 1314 || error == 1450 || error == 8));
    if (p) {
        MEMORY_BASIC_INFORMATION m;
        int zero = p[0] == 0 && p[2 * large - 1] == 0;
        memset(p, 5, 2 * large);
        VirtualQuery(p, &m, sizeof m);
        zero &= m.State == MEM_COMMIT && m.RegionSize == 2 * large && VirtualFree(p, 0, MEM_RELEASE);
        say("large.use", "%s", yes(zero));
    } else {
        say("large.use", "yes");
    }
    return 0;
}
