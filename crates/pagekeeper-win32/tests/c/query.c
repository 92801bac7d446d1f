// VirtualQuery: rounding, where runs end, what each kind of page shows, its own arguments.
#include "conform.h"

struct query_row {
    const char *id, *setup;
    SIZE_T offset;
};

/// One query at an offset: the run from that page upwards.
static const struct query_row rows[] = {
    {"query.reserved-base", "r16", 0},
    {"query.reserved-middle-looks-up-only", "r16", 0x5000},
    {"query.address-down-to-page", "r16", 0x5fff},
    {"query.last-page", "r16", 0xffff},
    {"query.committed", "rc16", 0},
    {"query.committed-middle", "rc16 w16", 0x3000},
    {"query.run-ends-at-state", "r16 c4@2", 0x2000},
    {"query.run-ends-at-state-below", "r16 c4@2", 0},
    {"query.run-ends-at-protection", "rc16 p1@7=ro", 0x1000},
    {"query.run-ends-at-guard", "rc16 p1@7=rw+g", 0x1000},
    {"query.guard", "rc16 p1@7=rw+g", 0x7000},
    {"query.noaccess", "rc16 p2@7=na", 0x7000},
    {"query.run-ends-at-allocation", "r16 r16@16", 0x1000},
    {"query.committed-neighbours-never-merge", "rc16 rc16@16", 0},
    {"query.free-ends-at-allocation", "r16@32", 0x1000},
    {"query.free-behind", "r3 r16@16", 0x3000},
    {"query.free-behind-middle", "r3 r16@16", 0x8123},
    {"query.free-where-something-was", "rc16 w16 f16 r16@16", 0},
    {"query.free-between-merges", "rc16 r16@16 r16@32 f16 f16@16", 0},
    {"query.recommitted-merges", "rc16 d1@3 c1@3", 0},
    {"query.paged-data-or-not-is-not-shown", "rc16 w4", 0},
    {"query.write-watch-splits-nothing", "watch16 w1@3", 0},
    {"query.reset-splits-nothing", "rc16 w16 reset4@4", 0},
    {"query.lock-splits-nothing", "rc16 l2@3", 0},
    {"query.nocache", "rc16=rw+nc", 0},
    {"query.touched-page-splits-nothing", "rc16 w1@5 t1@6", 0},
};

static void one(const struct query_row *row) {
    row_begin(row->id, row->setup);
    MEMORY_BASIC_INFORMATION m;
    memset(&m, 0xee, sizeof m);
    mark_error();
    SIZE_T result = VirtualQuery(B + row->offset, &m, sizeof m);
    DWORD error = GetLastError();
    U64 pages = m.RegionSize / PG;
    printf("VirtualQuery(B+0x%llx) | %llu | %s | base %s allocation %s %s size %s%llu state 0x%lx protect %s type 0x%lx ", (U64)row->offset, (U64)result, error_name(error),
           where_name(m.BaseAddress), where_name(m.AllocationBase), prot_name(m.AllocationProtect), pages > 64 ? ">" : "", pages > 64 ? 64 : pages, (unsigned long)m.State,
           prot_name(m.Protect), (unsigned long)m.Type);
    row_end(0);
}

/// Addresses that are nobody's, and lengths that are too short or too long.
static void arguments(void) {
    static const struct {
        const char *id;
        U64 address;
        SIZE_T length;
    } table[] = {
        {"query.null", 0, 48},
        {"query.first-64k", 0xffff, 48},
        {"query.kernel-half", 0xffff800000000000, 48},
        {"query.all-ones", 0xffffffffffffffff, 48},
        {"query.above-user", 0x7fffffff0000, 48},
        {"query.last-64k", 0x7ffffffef123, 48},
        {"query.at-2-to-47", 0x800000000000, 48},
        {"query.length-0", 0x10000, 0},
        {"query.length-47", 0x10000, 47},
        {"query.length-49", 0x10000, 49},
        {"query.length-huge", 0x10000, 0x100000000},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct {
            MEMORY_BASIC_INFORMATION m;
            unsigned char behind[16];
        } room;
        memset(&room, 0xee, sizeof room);
        mark_error();
        SIZE_T result = VirtualQuery((void *)(uintptr_t)table[i].address, &room.m, table[i].length);
        DWORD error = GetLastError();
        int kept = 1;
        for (int k = 0; k < 16; k++)
            kept &= room.behind[k] == 0xee;
        printf("%s | length %llu | %llu | %s | nothing written behind: %s", table[i].id, (U64)table[i].length, (U64)result, error_name(error), yes(kept));
        if (result && (table[i].address < 0x10000 || table[i].address > 0x7ffffffe0000))
            printf(" | base 0x%llx state 0x%lx protect %s allocation 0x%llx type 0x%lx", (U64)(uintptr_t)room.m.BaseAddress, (unsigned long)room.m.State, prot_name(room.m.Protect),
                   (U64)(uintptr_t)room.m.AllocationBase, (unsigned long)room.m.Type);
        printf("\n");
    }
}

/// The buffer: NULL, not writable.
static void buffers(void) {
    static const char *const ids[] = {"query.buffer-null", "query.buffer-readonly", "query.buffer-noaccess", "query.buffer-reserved"};
    for (int i = 0; i < 4; i++) {
        row_begin(ids[i], "rc16 p1@8=ro p1@9=na d1@10");
        MEMORY_BASIC_INFORMATION *out = i == 0 ? NULL : (MEMORY_BASIC_INFORMATION *)(B + (7 + i) * (int)PG);
        mark_error();
        SIZE_T result = VirtualQuery(B, out, sizeof *out);
        DWORD error = GetLastError();
        printf("VirtualQuery(B, %s) | %llu | %s | - ", where_name(out), (U64)result, error_name(error));
        row_end(0);
    }
}

/// From the first address to the last: no holes, no overlaps, and the walk comes to its end.
static void whole_space(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    char *p = NULL;
    MEMORY_BASIC_INFORMATION m;
    int seamless = 1, whole_pages = 1, sound = 1, regions = 0;
    while (VirtualQuery(p, &m, sizeof m) == sizeof m && regions < 100000) {
        seamless &= m.BaseAddress == p;
        whole_pages &= m.RegionSize % PG == 0 && m.RegionSize > 0;
        sound &= m.State == MEM_FREE ? m.Protect == PAGE_NOACCESS && !m.AllocationBase : m.AllocationBase != NULL && (char *)m.AllocationBase <= p;
        sound &= m.State != MEM_RESERVE || m.Protect == 0;
        p = (char *)m.BaseAddress + m.RegionSize;
        regions++;
    }
    say("query.whole-space", "seamless: %s, whole pages: %s, sound: %s, ends above the highest application address: %s", yes(seamless), yes(whole_pages), yes(sound),
        yes(p > (char *)info.lpMaximumApplicationAddress && p <= (char *)0x800000000000));
}

int main(void) {
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one(&rows[i]);
    arguments();
    buffers();
    whole_space();
    return 0;
}
