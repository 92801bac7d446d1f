// The working set: its limits, trimming, and what belongs to it.
#include "conform.h"

static void sizes(const char *id) {
    SIZE_T low = 0, high = 0;
    DWORD flags = 0;
    BOOL ok = GetProcessWorkingSetSizeEx(GetCurrentProcess(), &low, &high, &flags);
    say(id, "%s | minimum %llu maximum %llu flags 0x%lx", ok ? "TRUE" : "FALSE", (U64)low, (U64)high, (unsigned long)flags);
}

struct set_row {
    const char *id;
    SIZE_T low, high;
    /// 0xffff: the call without flags.
    DWORD flags;
};

#define ALL_ONES ((SIZE_T)-1)
#define MIB ((SIZE_T)1 << 20)

/// Each row starts from 1 MiB to 2 MiB, soft; what is in force afterwards is printed.
static const struct set_row rows[] = {
    {"working-set.set", 2 * MIB, 4 * MIB, 0xffff},
    {"working-set.set-whole-pages", 2 * MIB + 1, 4 * MIB + 1, 0xffff},
    {"working-set.minimum-raised", 1, 4 * MIB, 0xffff},
    {"working-set.minimum-above-maximum", 4 * MIB, 2 * MIB, 0xffff},
    {"working-set.both-zero", 0, 0, 0xffff},
    {"working-set.minimum-zero", 0, 4 * MIB, 0xffff},
    {"working-set.maximum-below-13-pages", 0x1000, 0x4000, 0xffff},
    {"working-set.maximum-beyond-memory", MIB, (SIZE_T)1 << 50, 0xffff},
    {"working-set.trim", ALL_ONES, ALL_ONES, 0xffff},
    {"working-set.only-minimum-all-ones", ALL_ONES, 4 * MIB, 0xffff},
    {"working-set.only-maximum-all-ones", MIB, ALL_ONES, 0xffff},
    {"working-set.ex-flags-0", 2 * MIB, 4 * MIB, 0},
    {"working-set.ex-soft", 2 * MIB, 4 * MIB, QUOTA_LIMITS_HARDWS_MIN_DISABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE},
    {"working-set.ex-hard-maximum", 2 * MIB, 64 * MIB, QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MIN_DISABLE},
    {"working-set.ex-hard-minimum", 2 * MIB, 64 * MIB, QUOTA_LIMITS_HARDWS_MIN_ENABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE},
    {"working-set.ex-hard-both", 2 * MIB, 64 * MIB, QUOTA_LIMITS_HARDWS_MIN_ENABLE | QUOTA_LIMITS_HARDWS_MAX_ENABLE},
    {"working-set.ex-maximum-on-and-off", 2 * MIB, 64 * MIB, QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE},
    {"working-set.ex-minimum-on-and-off", 2 * MIB, 64 * MIB, QUOTA_LIMITS_HARDWS_MIN_ENABLE | QUOTA_LIMITS_HARDWS_MIN_DISABLE},
    {"working-set.ex-trim", ALL_ONES, ALL_ONES, 0},
};

static void one(const struct set_row *row) {
    SetProcessWorkingSetSizeEx(GetCurrentProcess(), MIB, 2 * MIB, QUOTA_LIMITS_HARDWS_MIN_DISABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE);
    mark_error();
    BOOL ok = row->flags == 0xffff ? SetProcessWorkingSetSize(GetCurrentProcess(), row->low, row->high) : SetProcessWorkingSetSizeEx(GetCurrentProcess(), row->low, row->high, row->flags);
    DWORD error = GetLastError();
    SIZE_T low = 0, high = 0;
    DWORD flags = 0;
    GetProcessWorkingSetSizeEx(GetCurrentProcess(), &low, &high, &flags);
    say(row->id, "%s | %s | minimum %llu maximum %llu flags 0x%lx", ok ? "TRUE" : "FALSE", error_name(error), (U64)low, (U64)high, (unsigned long)flags);
}

/// The attributes of one page as "valid protection shared locked".
static void attributes(const void *at) {
    PSAPI_WORKING_SET_EX_INFORMATION entry;
    memset(&entry, 0xee, sizeof entry);
    entry.VirtualAddress = (void *)(uintptr_t)at;
    if (!QueryWorkingSetEx(GetCurrentProcess(), &entry, sizeof entry)) {
        printf("refused %lu", (unsigned long)GetLastError());
        return;
    }
    U64 bits = entry.VirtualAttributes.Flags;
    if (bits & 1)
        printf("valid share %llu protection 0x%llx shared %llu locked %llu large %llu bad %llu", bits >> 1 & 7, bits >> 4 & 0x7ff, bits >> 15 & 1, bits >> 22 & 1, bits >> 23 & 1,
               bits >> 31 & 1);
    else
        printf("0x%llx", bits);
}

/// Word by word: the first page's attributes after each.
static void one_page(const char *id, const char *setup) {
    row_begin(id, setup);
    attributes(B);
    printf("\n");
    window_clear();
}

static void pages(void) {
    one_page("residency.free", "");
    one_page("residency.reserved", "r16");
    one_page("residency.never-touched", "rc16");
    one_page("residency.read", "rc16 t1");
    one_page("residency.written", "rc16 w1");
    one_page("residency.readonly-read", "rc16 p16=ro t1");
    one_page("residency.execute-read", "rc16 p16=xr t1");
    one_page("residency.to-readonly", "rc16 w1 p1=ro t1");
    one_page("residency.to-noaccess", "rc16 w1 p1=na");
    one_page("residency.noaccess-and-back", "rc16 w1 p1=na p1=rw");
    one_page("residency.noaccess-back-touched", "rc16 w1 p1=na p1=rw t1");
    one_page("residency.locked", "rc16 w1 l1");
    one_page("residency.locked-untouched", "rc16 l1");
    one_page("residency.unlocked", "rc16 w1 l1 u1");
    one_page("residency.unlock-without-lock-trims", "rc16 w1 u1");
    one_page("residency.decommitted", "rc16 w1 d1");
    one_page("residency.released", "rc16 w1 f16");
    row_begin("residency.trimmed", "rc16 w1");
    EmptyWorkingSet(GetCurrentProcess());
    attributes(B);
    B[1]++;
    printf(" | touched again: ");
    attributes(B);
    printf("\n");
    window_clear();
    printf("residency.code | - |");
    PSAPI_WORKING_SET_EX_INFORMATION entry = {.VirtualAddress = (void *)(uintptr_t)&pages};
    BOOL ok = QueryWorkingSetEx(GetCurrentProcess(), &entry, sizeof entry);
    printf(" %s valid %llu shared %llu\n", ok ? "TRUE" : "FALSE", (U64)entry.VirtualAttributes.Flags & 1, (U64)entry.VirtualAttributes.Flags >> 15 & 1);
}

/// Lengths, order and odd entries.
static void query_ex_arguments(void) {
    row_begin("residency.many-in-any-order", "rc16 w1 w1@2");
    PSAPI_WORKING_SET_EX_INFORMATION entries[5];
    memset(entries, 0, sizeof entries);
    static const int pages_asked[5] = {2, 40, 0, 1, 2};
    for (int i = 0; i < 5; i++)
        entries[i].VirtualAddress = B + pages_asked[i] * (int)PG + i;
    mark_error();
    BOOL ok = QueryWorkingSetEx(GetCurrentProcess(), entries, sizeof entries);
    printf("%s | %s |", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    for (int i = 0; i < 5; i++)
        printf(" %llu", (U64)entries[i].VirtualAttributes.Flags & 1);
    printf("\n");
    window_clear();
    static const DWORD lengths[] = {0, 1, 15, 16, 17, 31};
    for (int i = 0; i < 6; i++) {
        PSAPI_WORKING_SET_EX_INFORMATION two[2];
        memset(two, 0, sizeof two);
        two[0].VirtualAddress = two[1].VirtualAddress = (void *)(uintptr_t)&pages;
        mark_error();
        ok = QueryWorkingSetEx(GetCurrentProcess(), two, lengths[i]);
        DWORD error = GetLastError();
        char id[40];
        snprintf(id, sizeof id, "residency.length-%lu", (unsigned long)lengths[i]);
        say(id, "%s | %s | entries answered: %llu", ok ? "TRUE" : "FALSE", error_name(error),
            ok ? (U64)(two[0].VirtualAttributes.Flags & 1) + (two[1].VirtualAttributes.Flags & 1) : 0);
    }
}

/// Trimmed pages keep their contents, at once and after many rounds.
static void trimming(void) {
    window_new();
    words_run("rc16 w16");
    int all = 1;
    for (int round = 0; round < 20; round++) {
        BOOL ok = round % 2 ? EmptyWorkingSet(GetCurrentProcess()) : SetProcessWorkingSetSize(GetCurrentProcess(), ALL_ONES, ALL_ONES);
        all &= ok != 0;
        for (SIZE_T page = 0; page < 16; page++) {
            all &= B[page * PG] == (char)(0x5a + round);
            B[page * PG]++;
        }
    }
    say("working-set.contents-survive-trims", "%s", yes(all));
    window_clear();
    mark_error();
    BOOL ok = EmptyWorkingSet(NULL);
    say("working-set.empty-null-process", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = SetProcessWorkingSetSize(NULL, MIB, 2 * MIB);
    say("working-set.set-null-process", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
}

/// QueryWorkingSet: the count, then the pages; too small a buffer says how many.
static void query_working_set(void) {
    window_new();
    words_run("rc16 w16");
    static ULONG_PTR buffer[1 << 18];
    mark_error();
    BOOL ok = QueryWorkingSet(GetCurrentProcess(), buffer, sizeof buffer);
    DWORD error = GetLastError();
    int found = 0;
    for (ULONG_PTR i = 1; ok && i <= buffer[0] && i < sizeof buffer / sizeof *buffer; i++) {
        U64 page = buffer[i] & ~(ULONG_PTR)0xfff;
        found += page >= (U64)(uintptr_t)B && page < (U64)(uintptr_t)B + GR;
    }
    say("working-set.query", "%s | %s | of our sixteen pages: %d", ok ? "TRUE" : "FALSE", error_name(error), found);
    mark_error();
    buffer[0] = 0;
    ok = QueryWorkingSet(GetCurrentProcess(), buffer, 16);
    error = GetLastError();
    say("working-set.query-small-buffer", "%s | %s | count given: %s", ok ? "TRUE" : "FALSE", error_name(error), yes(buffer[0] >= 16));
    window_clear();
}

int main(void) {
    begin();
    sizes("working-set.default");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one(&rows[i]);
    SetProcessWorkingSetSizeEx(GetCurrentProcess(), MIB, 2 * MIB, QUOTA_LIMITS_HARDWS_MIN_DISABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE);
    trimming();
    pages();
    query_ex_arguments();
    query_working_set();
    return 0;
}
