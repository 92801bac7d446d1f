// Reserving: where it goes, how it is rounded, when it is refused.
#include "conform.h"

static const struct row rows[] = {
    {"reserve.null-64k", "", AT(0, 0x10000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.null-one-byte", "", AT(0, 1, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.null-size-to-pages", "", AT(0, 0xfffc, MEM_RESERVE, PAGE_READWRITE)},
    {"reserve.null-page-and-a-byte", "", AT(0, 0x1001, MEM_RESERVE, PAGE_READONLY)},
    {"reserve.null-size-zero", "", AT(0, 0, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.address-kept", "", A_(0x10000, 0x2000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.address-down-to-64k", "", A_(0x1010, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.address-down-from-last-byte", "", A_(0x1ffff, 1, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.end-up-to-page", "", A_(0x10fff, 2, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.size-not-to-64k", "", A_(0, 0x3000, MEM_RESERVE, PAGE_READWRITE)},
    {"reserve.tail-is-free", "r3", A_(0x10000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.tail-cannot-be-reserved", "r3", A_(0x4000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.tail-last-page", "r3", A_(0xf000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.same-place", "r16", A_(0, 0x10000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.inside-another", "r64", A_(0x10000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.end-overlaps", "r16@16", A_(0, 0x10001, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.end-touches", "r16@16", A_(0, 0x10000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.around-another", "r16@16", A_(0, 0x40000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.over-committed", "rc16", A_(0, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)},
    {"reserve.beside-never-merges", "r16", A_(0x10000, 0x10000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.again-after-release", "rc16 w1 f16", A_(0, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)},
    {"reserve.at-1", "", AT(1, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.at-0xffff", "", AT(0xffff, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.at-kernel-half", "", AT(0xffff800000000000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.at-first-above-user", "", AT(0x7fffffff0000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.at-2-to-47", "", AT(0x800000000000, 0x1000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.runs-past-user", "", AT(0x7ffffffd0000, 0x30000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.address-wraps", "", A_(0, 0xffffffffffffffff, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.null-size-of-space", "", AT(0, 0x7ffffffe0000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.null-larger-than-space", "", AT(0, 0x800000000000, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.null-all-ones", "", AT(0, 0xffffffffffffffff, MEM_RESERVE, PAGE_NOACCESS)},
    {"reserve.commit-at-once", "", A_B(0x1234, 0x1800, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, "b3")},
    {"reserve.commit-at-once-null", "", AT(0, 0x1800, MEM_RESERVE | MEM_COMMIT, PAGE_READONLY)},
    {"reserve.commit-alone-null", "", AT(0, 0x2800, MEM_COMMIT, PAGE_READWRITE)},
    {"reserve.commit-alone-null-size-zero", "", AT(0, 0, MEM_COMMIT, PAGE_READWRITE)},
    {"reserve.guarded", "", A_(0, 0x2000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD)},
    {"reserve.protection-kept", "", A_(0, 0x10000, MEM_RESERVE, PAGE_EXECUTE_READWRITE)},
    {"reserve.refused-changes-nothing", "r16 c2@1 w2@1", A_B(0x8000, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READONLY, "b2@1")},
};

/// Far more than any machine has: reserving costs nothing.
static void terabytes(void) {
    SIZE_T size = (SIZE_T)1 << 44;
    char *p = VirtualAlloc(NULL, size, MEM_RESERVE, PAGE_NOACCESS);
    MEMORY_BASIC_INFORMATION m;
    VirtualQuery(p + size / 2, &m, sizeof m);
    say("reserve.16-tib", "%s | half of it reserved as one region: %s", p ? "new" : "NULL", yes(m.State == MEM_RESERVE && m.RegionSize == size / 2));
    VirtualFree(p, 0, MEM_RELEASE);
}

/// Every allocation asked for without an address starts on 64 KiB and overlaps no other.
static void many(void) {
    enum { COUNT = 1000 };
    static char *at[COUNT];
    int aligned = 1, apart = 1;
    for (int i = 0; i < COUNT; i++) {
        at[i] = VirtualAlloc(NULL, 0x1000 + (SIZE_T)(i % 7) * 0x9000, MEM_RESERVE, PAGE_NOACCESS);
        aligned &= (uintptr_t)at[i] % GR == 0;
    }
    for (int i = 0; i < COUNT; i++) {
        MEMORY_BASIC_INFORMATION m;
        VirtualQuery(at[i], &m, sizeof m);
        apart &= m.AllocationBase == at[i] && m.RegionSize == 0x1000 + (SIZE_T)(i % 7) * 0x9000;
    }
    for (int i = 0; i < COUNT; i++)
        apart &= VirtualFree(at[i], 0, MEM_RELEASE) != 0;
    say("reserve.a-thousand", "all aligned to 64 KiB: %s, each its own: %s", yes(aligned), yes(apart));
}

int main(void) {
    begin();
    RUN(rows);
    terabytes();
    many();
    return 0;
}
