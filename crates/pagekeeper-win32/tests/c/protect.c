// VirtualProtect: ranges, the old value, refusals, and the cache modifiers, which belong to the allocation.
#include "conform.h"

static const struct row rows[] = {
    {"protect.one-page", "rc16", P_(0x3000, 0x1000, PAGE_READONLY)},
    {"protect.one-byte", "rc16", P_(0x3abc, 1, PAGE_READONLY)},
    {"protect.two-bytes-two-pages", "rc16", P_(0x3fff, 2, PAGE_NOACCESS)},
    {"protect.whole", "rc16", P_(0, 0x10000, PAGE_EXECUTE_READ)},
    {"protect.to-noaccess", "rc16 w1", P_(0, 0x1000, PAGE_NOACCESS)},
    {"protect.to-execute", "rc16", P_(0, 0x1000, PAGE_EXECUTE)},
    {"protect.to-execute-read", "rc16", P_(0, 0x1000, PAGE_EXECUTE_READ)},
    {"protect.to-execute-readwrite", "rc16", P_(0, 0x1000, PAGE_EXECUTE_READWRITE)},
    {"protect.wider-than-allocation", "r16=na c2=ro", P_(0, 0x1000, PAGE_READWRITE)},
    {"protect.old-of-first-page", "rc16 p1@2=ro p1@3=na", P_(0x2000, 0x3000, PAGE_READWRITE)},
    {"protect.old-with-guard", "rc16 p1@2=ro+g", P_(0x2000, 0x2000, PAGE_READWRITE)},
    {"protect.same-again", "rc16", P_(0x2000, 0x1000, PAGE_READWRITE)},
    {"protect.same-again-readonly", "rc16 p1@2=ro", P_(0x2000, 0x1000, PAGE_READONLY)},
    {"protect.restored-merges", "rc16 p1@5=ro", P_(0x5000, 0x1000, PAGE_READWRITE)},
    {"protect.middle-makes-three", "rc16", P_(0x5000, 0x1000, PAGE_READONLY)},
    {"protect.keeps-contents", "rc16 w16 p4=na", P_B(0, 0x4000, PAGE_READONLY, "b5")},
    {"protect.guard", "rc16", P_(0x2000, 0x3000, PAGE_READWRITE | PAGE_GUARD)},
    {"protect.guard-readonly", "rc16", P_(0x2000, 0x1000, PAGE_READONLY | PAGE_GUARD)},
    {"protect.guard-noaccess", "rc16", P_(0x2000, 0x1000, PAGE_NOACCESS | PAGE_GUARD)},
    {"protect.guard-removed", "rc16 p1@2=rw+g", P_(0x2000, 0x1000, PAGE_READWRITE)},
    {"protect.writecopy", "rc16", P_(0x2000, 0x1000, PAGE_WRITECOPY)},
    {"protect.execute-writecopy", "rc16", P_(0x2000, 0x1000, PAGE_EXECUTE_WRITECOPY)},
    {"protect.zero", "rc16", P_(0x2000, 0x1000, 0)},
    {"protect.two-bits", "rc16", P_(0x2000, 0x1000, PAGE_READONLY | PAGE_READWRITE)},
    {"protect.size-zero", "rc16", P_(0x2000, 0, PAGE_READONLY)},
    {"protect.reserved-page", "r16", P_(0x2000, 0x1000, PAGE_READONLY)},
    {"protect.runs-into-reserved", "r16 c4", P_(0x2000, 0x3000, PAGE_READONLY)},
    {"protect.begins-in-reserved", "r16 c4@4", P_(0x3000, 0x2000, PAGE_READONLY)},
    {"protect.runs-past-the-end", "rc16", P_(0xf000, 0x1001, PAGE_READONLY)},
    {"protect.two-neighbours", "rc16 rc16@16", P_(0xf000, 0x2000, PAGE_READONLY)},
    {"protect.free-address", "", P_(0, 0x1000, PAGE_READONLY)},
    {"protect.null", "", PT(0, 0x1000, PAGE_READONLY)},
    {"protect.kernel-half", "", PT(0xffff800000000000, 0x1000, PAGE_READONLY)},
    {"protect.wraps", "rc16", P_(0x1000, 0xffffffffffffffff, PAGE_READONLY)},
    {"protect.after-decommit", "rc16 d1@2", P_(0x2000, 0x1000, PAGE_READONLY)},
    {"protect.refused-changes-nothing", "rc16 d1@8 p1@3=ro", P_(0, 0x10000, PAGE_NOACCESS)},
    {"protect.nocache-stays", "rc16=rw+nc", P_(0x2000, 0x1000, PAGE_READWRITE)},
    {"protect.nocache-stays-readonly", "rc16=rw+nc", P_(0x2000, 0x1000, PAGE_READONLY)},
    {"protect.nocache-not-added", "rc16", P_(0x2000, 0x1000, PAGE_READONLY | PAGE_NOCACHE)},
    {"protect.nocache-not-added-same", "rc16", P_(0x2000, 0x1000, PAGE_READWRITE | PAGE_NOCACHE)},
    {"protect.nocache-old", "rc16=rw+nc p1@2=ro", P_(0x2000, 0x1000, PAGE_READWRITE)},
    {"protect.wcomb-stays", "rc16=rw+wcomb", P_(0x2000, 0x1000, PAGE_READONLY)},
    {"protect.wcomb-not-added", "rc16", P_(0x2000, 0x1000, PAGE_READONLY | PAGE_WRITECOMBINE)},
    {"protect.write-watch", "watch16", P_(0x2000, 0x1000, PAGE_READONLY)},
};

/// The out pointer: NULL, not writable, freed; refused with 998, and nothing has changed.
static void old_pointers(void) {
    static const char *const ids[] = {"protect.old-null", "protect.old-readonly", "protect.old-noaccess", "protect.old-reserved"};
    for (int i = 0; i < 4; i++) {
        row_begin(ids[i], "rc16 p1@8=ro p1@9=na d1@10");
        DWORD *old = i == 0 ? NULL : (DWORD *)(B + (7 + i) * (int)PG);
        mark_error();
        BOOL ok = VirtualProtect(B, PG, PAGE_READONLY, old);
        DWORD error = GetLastError();
        printf("VirtualProtect(B, 0x1000, ro, %s) | %s | %s | - ", where_name(old), ok ? "TRUE" : "FALSE", error_name(error));
        row_end(0);
    }
    // A pointer that no page boundary and no alignment suits.
    row_begin("protect.old-unaligned", "rc16 w1@9");
    mark_error();
    char *at = B + 9 * PG - 2;
    DWORD *odd;
    memcpy(&odd, &at, sizeof odd);
    BOOL ok = VirtualProtect(B, PG, PAGE_READONLY, odd);
    DWORD error = GetLastError(), value;
    memcpy(&value, at, sizeof value);
    printf("VirtualProtect(B, 0x1000, ro, B+0x8ffe) | %s old %s | %s | - ", ok ? "TRUE" : "FALSE", prot_name(value), error_name(error));
    row_end(0);
}

/// What VirtualProtect gives to an access is in access.c; here: contents survive every value, one after the other.
static void contents_survive(void) {
    static const DWORD order[] = {PAGE_NOACCESS, PAGE_READONLY, PAGE_NOACCESS, PAGE_EXECUTE, PAGE_EXECUTE_READ, PAGE_NOACCESS, PAGE_EXECUTE_READWRITE, PAGE_READWRITE};
    window_new();
    words_run("rc16");
    memset(B, 0xa5, GR);
    DWORD old, before = PAGE_READWRITE;
    int all = 1;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        all &= VirtualProtect(B, GR, order[i], &old) && old == before;
        before = order[i];
    }
    for (SIZE_T i = 0; i < GR; i++)
        all &= (unsigned char)B[i] == 0xa5;
    say("protect.contents-survive-all", "every change done, old values right, every byte as before: %s", yes(all));
    window_clear();
}

int main(void) {
    begin();
    RUN(rows);
    old_pointers();
    contents_survive();
    return 0;
}
