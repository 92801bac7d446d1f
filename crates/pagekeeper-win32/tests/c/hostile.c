// Arguments that nobody should pass: every call answers with an error, nothing crashes, nothing is left behind, nothing changes.
#include "conform.h"

/// Addresses that are nobody's on Windows either: what lies between may belong to the system.
static const U64 odd_addresses[] = {0, 1, 0xfff, 0xffff, 0x7fffffff0000, 0x7fffffffffff, 0x800000000000, 0x8000000000000000, 0xffff800000000000, 0xfffffffffffff000, 0xffffffffffffffff};
static const U64 odd_sizes[] = {0, 1, 0xfff, 0x1001, 0x7fffffff, 0x100000000, 0x7ffffffeffff, 0x7fffffffffff, 0x800000000000, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff};
#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

/// What the window looks like, as one number.
static U64 state(void) {
    U64 sum = 1469598103934665603u;
    for (char *p = B; p < B + WINDOW;) {
        MEMORY_BASIC_INFORMATION m;
        if (!VirtualQuery(p, &m, sizeof m))
            return 0;
        U64 parts[4] = {(U64)((char *)m.BaseAddress - B), m.State, m.Protect, m.AllocationProtect};
        for (int i = 0; i < 4; i++)
            sum = (sum ^ parts[i]) * 1099511628211u;
        p = (char *)m.BaseAddress + m.RegionSize;
    }
    return sum;
}

static int failures, wrong, changed;

/// One call that must fail with one of the numbers that are known here.
static void failed(int ok, U64 before) {
    DWORD error = GetLastError();
    failures += !ok;
    wrong += !ok && error != 87 && error != 487 && error != 998 && error != 8 && error != 5 && error != 158 && error != 1453 && error != 1455 && error != 24;
    changed += !ok && state() != before;
}

int main(void) {
    begin();
    window_new();
    words_run("r16 c8 w8");
    U64 before = state();
    DWORD old;
    MEMORY_BASIC_INFORMATION m;

    for (int a = 0; a < COUNT(odd_addresses); a++)
        for (int s = 0; s < COUNT(odd_sizes); s++) {
            void *at = (void *)(uintptr_t)odd_addresses[a];
            SIZE_T size = odd_sizes[s];
            if (at) { // NULL means "anywhere": it has rows of its own
                mark_error();
                failed(VirtualAlloc(at, size, MEM_COMMIT, PAGE_READWRITE) != NULL, before);
            }
            mark_error();
            failed(VirtualFree(at, size, MEM_DECOMMIT), before);
            mark_error();
            failed(VirtualFree(at, size, MEM_RELEASE), before);
            mark_error();
            failed(VirtualAlloc((char *)at + (at == NULL), size, MEM_RESET, PAGE_READWRITE) != NULL, before);
        }
    say("hostile.odd-addresses", "calls that failed: %d, with a strange error: %d, with a change: %d", failures, wrong, changed);

    failures = wrong = changed = 0;
    for (int s = 5; s < COUNT(odd_sizes); s++) {
        SIZE_T size = odd_sizes[s];
        mark_error();
        failed(VirtualAlloc(B, size, MEM_COMMIT, PAGE_READWRITE) != NULL, before);
        mark_error();
        failed(VirtualAlloc(B, size, MEM_RESERVE, PAGE_READWRITE) != NULL, before);
        mark_error();
        failed(VirtualAlloc(B, size, MEM_RESET, PAGE_READWRITE) != NULL, before);
        mark_error();
        failed(VirtualFree(B, size, MEM_DECOMMIT), before);
        mark_error();
        failed(VirtualFree(B, size, MEM_RELEASE), before);
        mark_error();
        failed(VirtualProtect(B, size, PAGE_READONLY, &old), before);
        mark_error();
        failed(VirtualLock(B, size), before);
        mark_error();
        failed(VirtualUnlock(B, size), before);
    }
    say("hostile.odd-sizes", "calls that failed: %d, with a strange error: %d, with a change: %d", failures, wrong, changed);

    // Out pointers that cannot be written.
    failures = wrong = changed = 0;
    int reached = 0;
    for (int a = 0; a < COUNT(odd_addresses); a++) {
        void *out = (void *)(uintptr_t)odd_addresses[a];
        mark_error();
        reached += VirtualQuery(B, out, sizeof m) != 0;
        wrong += GetLastError() != 998;
        mark_error();
        reached += VirtualProtect(B, PG, PAGE_READWRITE, out) != 0;
        wrong += GetLastError() != 998;
        changed += state() != before;
    }
    say("hostile.odd-out-pointers", "calls that succeeded: %d, with another error than 998: %d, with a change: %d", reached, wrong, changed);
    int kept = state() == before;
    for (SIZE_T page = 0; page < 8 && state() == before; page++)
        kept &= B[page * PG] == 0x5a;
    say("hostile.contents", "%s", yes(kept));
    window_clear();
    return 0;
}
