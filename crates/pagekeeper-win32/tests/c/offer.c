// OfferVirtualMemory, ReclaimVirtualMemory, DiscardVirtualMemory (they return their error) and PrefetchVirtualMemory.
#include "faults.h"
#include "late.h"

enum which { OFFER, RECLAIM, DISCARD };

struct offer_row {
    const char *id, *setup;
    enum which which;
    U64 where, size;
    int priority;
    const char *after;
};

/// The setup word "o16" offers, before the row's call.
static const struct offer_row rows[] = {
    {"offer.whole", "rc16 w16", OFFER, 0, 0x10000, 4, NULL},
    {"offer.very-low", "rc16 w16", OFFER, 0, 0x10000, 1, NULL},
    {"offer.priority-0", "rc16 w16", OFFER, 0, 0x10000, 0, "b2"},
    {"offer.priority-5", "rc16 w16", OFFER, 0, 0x10000, 5, "b2"},
    {"offer.part", "rc16 w16", OFFER, 0x2000, 0x2000, 3, "b2 b2@4"},
    {"offer.unaligned-address", "rc16 w16", OFFER, 0x10, 0x1000, 4, "b2"},
    {"offer.unaligned-size", "rc16 w16", OFFER, 0, 0x1001, 4, "b2"},
    {"offer.size-zero", "rc16 w16", OFFER, 0, 0, 4, "b2"},
    {"offer.locked", "rc16 w16 l2", OFFER, 0, 0x2000, 4, NULL},
    {"discard.whole", "rc16 w16", DISCARD, 0, 0x10000, 0, NULL},
    {"discard.part", "rc16 w16", DISCARD, 0x2000, 0x2000, 0, "b2 b2@4"},
    {"discard.readonly", "rc16 w16 p16=ro", DISCARD, 0, 0x1000, 0, "b2"},
    {"discard.unaligned-address", "rc16 w16", DISCARD, 0x10, 0x1000, 0, "b2"},
    {"discard.unaligned-size", "rc16 w16", DISCARD, 0, 0x1001, 0, "b2"},
    {"discard.size-zero", "rc16 w16", DISCARD, 0, 0, 0, "b2"},
    {"discard.runs-into-readonly", "rc16 w16 p1@3=ro", DISCARD, 0x2000, 0x2000, 0, "b4"},
    {"reclaim.unaligned-address", "rc16 w16", RECLAIM, 0x10, 0x1000, 0, "b2"},
    {"reclaim.unaligned-size", "rc16 w16", RECLAIM, 0, 0x1001, 0, "b2"},
};

/// Refused in any way where nothing says which number: "refused".
static const struct offer_row refused[] = {
    {"offer.reserved", "r16", OFFER, 0, 0x1000, 4, NULL},   {"offer.free", "", OFFER, 0, 0x1000, 4, NULL},
    {"discard.reserved", "r16", DISCARD, 0, 0x1000, 0, NULL}, {"discard.free", "", DISCARD, 0, 0x1000, 0, NULL},
    {"discard.noaccess", "rc16 p16=na", DISCARD, 0, 0x1000, 0, NULL}, {"reclaim.free", "", RECLAIM, 0, 0x1000, 0, NULL},
};

static DWORD call(const struct offer_row *row) {
    char *at = B + row->where;
    return row->which == OFFER ? OfferVirtualMemory(at, row->size, row->priority) : row->which == RECLAIM ? ReclaimVirtualMemory(at, row->size) : DiscardVirtualMemory(at, row->size);
}

static const char *const names[] = {"OfferVirtualMemory", "ReclaimVirtualMemory", "DiscardVirtualMemory"};

static void tables(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct offer_row *row = &rows[i];
        row_begin(row->id, row->setup);
        mark_error();
        DWORD result = call(row);
        printf("%s(B+0x%llx, 0x%llx, %d) | %lu | - | ", names[row->which], row->where, row->size, row->priority, (unsigned long)result);
        words_run(row->after ? row->after : "");
        if (!row->after)
            printf("- ");
        row_end(0);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct offer_row *row = &refused[i];
        row_begin(row->id, row->setup);
        printf("%s | %s | - | - ", names[row->which], call(row) ? "refused" : "done");
        row_end(0);
    }
}

/// An offered page is not to be touched; reclaimed it may be, with what it had or, told so, without.
static void offered(void) {
    window_new();
    words_run("rc16");
    memset(B, 0x42, GR);
    OfferVirtualMemory(B, GR, 1);
    printf("offer.touching-is-a-violation | r: %s", access_text('r', B + 0x123, 1));
    printf(", w: %s\n", access_text('w', B + 0x5678, 1));
    DWORD result = ReclaimVirtualMemory(B, GR);
    int whole = 1;
    for (SIZE_T i = 0; i < GR; i++)
        whole &= B[i] == 0x42;
    say("reclaim.keeps-its-word", "%s", yes(result == 0 ? whole : result == 170));
    B[0] = 9;
    say("reclaim.usable", "r: %s, byte %d", access_text('r', B, 1), B[0]);
    say("reclaim.not-offered", "%s", yes(ReclaimVirtualMemory(B, GR) != 1));
    OfferVirtualMemory(B, GR, 4);
    EmptyWorkingSet(GetCurrentProcess());
    result = ReclaimVirtualMemory(B, GR);
    for (SIZE_T i = 0; i < GR; i += PG)
        B[i] = (char)(i / PG);
    int right = 1;
    for (SIZE_T i = 0; i < GR; i += PG)
        right &= B[i] == (char)(i / PG);
    say("reclaim.after-trim", "0 or 170: %s, usable: %s", yes(result == 0 || result == 170), yes(right));
    window_clear();
    // Queries see nothing of an offer.
    row_begin("offer.query", "rc16 w16");
    OfferVirtualMemory(B, GR, 2);
    printf("query while offered | - | - | - ");
    row_end(0);
    // Released while offered.
    window_new();
    words_run("rc16 w16");
    OfferVirtualMemory(B, GR, 2);
    say("offer.release", "%s", VirtualFree(B, 0, MEM_RELEASE) ? "TRUE" : "FALSE");
    window_clear();
}

/// Discarded: old bytes or zeros, still committed, usable.
static void discarded(void) {
    window_new();
    words_run("rc16");
    memset(B, 0x42, GR);
    DWORD result = DiscardVirtualMemory(B, GR);
    int kinds = 1;
    for (SIZE_T i = 0; i < GR; i++)
        kinds &= B[i] == 0x42 || B[i] == 0;
    B[5] = 1;
    say("discard.contents", "%lu | old or zero: %s, usable: %s", (unsigned long)result, yes(kinds), yes(B[5] == 1));
    window_clear();
}

struct prefetch_row {
    const char *id;
    ULONG_PTR count;
    int null;
    ULONG flags;
    /// Up to three entries, in pages from B; size ~0 stands for the address NULL with a page.
    struct {
        U64 where, size;
    } entry[3];
};

static const struct prefetch_row prefetches[] = {
    {"prefetch.one", 1, 0, 0, {{0, 0x10000}}},
    {"prefetch.several", 3, 0, 0, {{0, 0x1000}, {0x4000, 0x2000}, {0x8000, 0x1000}}},
    {"prefetch.unaligned", 2, 0, 0, {{0x123, 0x10}, {0x4fff, 2}}},
    {"prefetch.reserved-and-free", 2, 0, 0, {{0, 0x20000}, {0x80000, 0x1000}}},
    {"prefetch.null-address", 1, 0, 0, {{~0ull, 0x1000}}},
    {"prefetch.count-0", 0, 0, 0, {{0, 0x1000}}},
    {"prefetch.null-array", 1, 1, 0, {{0, 0x1000}}},
    {"prefetch.entry-size-0", 1, 0, 0, {{0, 0}}},
    {"prefetch.second-entry-size-0", 2, 0, 0, {{0, 0x1000}, {0x2000, 0}}},
    {"prefetch.flags-1", 1, 0, 1, {{0, 0x1000}}},
};

static void prefetch(void) {
    for (size_t i = 0; i < sizeof prefetches / sizeof *prefetches; i++) {
        const struct prefetch_row *row = &prefetches[i];
        window_new();
        words_run("rc16 w16");
        WIN32_MEMORY_RANGE_ENTRY entries[3];
        for (int k = 0; k < 3; k++) {
            entries[k].VirtualAddress = row->entry[k].where == ~0ull ? NULL : B + row->entry[k].where;
            entries[k].NumberOfBytes = row->entry[k].size;
        }
        mark_error();
        BOOL ok = PrefetchVirtualMemory(GetCurrentProcess(), row->count, row->null ? NULL : entries, row->flags);
        DWORD error = GetLastError();
        say(row->id, "%s | %s | byte %02x", ok ? "TRUE" : "FALSE", error_name(error), (unsigned)(unsigned char)B[0]);
        window_clear();
    }
    // A hint, that brings data back unharmed.
    window_new();
    words_run("rc16 w16");
    EmptyWorkingSet(GetCurrentProcess());
    WIN32_MEMORY_RANGE_ENTRY entry = {B, GR};
    BOOL ok = PrefetchVirtualMemory(GetCurrentProcess(), 1, &entry, 0);
    int right = 1;
    for (SIZE_T page = 0; page < 16; page++)
        right &= B[page * PG] == 0x5a;
    say("prefetch.after-trim", "%s, contents: %s", ok ? "TRUE" : "FALSE", yes(right));
    window_clear();
}

int main(void) {
    begin();
    faults_begin();
    prefetch();
    tables();
    discarded();
    offered();
    return 0;
}
