// VirtualAlloc2: placeholders, their splitting and merging, and requirements for the address.
#include "late.h"

#define PLACE (MEM_RESERVE | 0x40000)
#define REPLACE 0x4000
#define COALESCE 1
#define PRESERVE 2

enum how { TWO, ONE, FREES };

/// Setup here: "ph16@32" makes a placeholder, "rep16@32" replaces it, "spl2@3" splits, "coa4@3" merges; other words as in conform.h.
static void setup(const char *words) {
    while (words && *words) {
        size_t length = strcspn(words, " ");
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)length, words);
        int ours = !strncmp(word, "ph", 2) && word[2] != 'y';
        int which = ours ? 0 : !strncmp(word, "rep", 3) ? 1 : !strncmp(word, "spl", 3) ? 2 : !strncmp(word, "coa", 3) ? 3 : 4;
        if (which == 4) {
            words_run(word);
        } else {
            char *rest = word + (which == 0 ? 2 : 3);
            SIZE_T size = strtoul(rest, &rest, 10) * PG, first = *rest == '@' ? strtoul(rest + 1, &rest, 10) : 0;
            char *at = B + first * PG;
            int ok = which == 0   ? VirtualAlloc2(NULL, at, size, PLACE, PAGE_NOACCESS, NULL, 0) == at
                     : which == 1 ? VirtualAlloc2(NULL, at, size, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE, NULL, 0) == at
                     : which == 2 ? VirtualFree(at, size, MEM_RELEASE | PRESERVE)
                                  : VirtualFree(at, size, MEM_RELEASE | COALESCE);
            if (!ok) {
                printf("[%s failed, %lu] ", word, (unsigned long)GetLastError());
                return;
            }
        }
        words += length + (words[length] == ' ');
    }
}

struct place_row {
    const char *id, *setup;
    enum how how;
    U64 where, size;
    DWORD type, prot;
};

static const struct place_row rows[] = {
    {"alloc2.reserve", "", TWO, 0, 0x10000, MEM_RESERVE, PAGE_NOACCESS},
    {"alloc2.reserve-commit", "", TWO, 0x1010, 0x1000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE},
    {"alloc2.commit-inside", "r16", TWO, 0x3000, 0x1000, MEM_COMMIT, PAGE_READWRITE},
    {"placeholder.make", "", TWO, 0, 0x10000, PLACE, PAGE_NOACCESS},
    {"placeholder.not-with-readwrite", "", TWO, 0, 0x10000, PLACE, PAGE_READWRITE},
    {"placeholder.not-with-commit", "", TWO, 0, 0x10000, PLACE | MEM_COMMIT, PAGE_NOACCESS},
    {"placeholder.flag-without-reserve", "", TWO, 0, 0x10000, 0x40000, PAGE_NOACCESS},
    {"placeholder.over-placeholder", "ph16", TWO, 0, 0x10000, PLACE, PAGE_NOACCESS},
    {"placeholder.reserve-over-it", "ph16", TWO, 0, 0x10000, MEM_RESERVE, PAGE_NOACCESS},
    {"placeholder.plain-reserve-over-it", "ph16", ONE, 0, 0x10000, MEM_RESERVE, PAGE_NOACCESS},
    {"placeholder.commit-into-it", "ph16", TWO, 0, 0x1000, MEM_COMMIT, PAGE_READWRITE},
    {"placeholder.plain-commit-into-it", "ph16", ONE, 0, 0x1000, MEM_COMMIT, PAGE_READWRITE},
    {"placeholder.replace-reserve", "ph16", TWO, 0, 0x10000, MEM_RESERVE | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-commit", "ph16", TWO, 0, 0x10000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READONLY},
    {"placeholder.replace-smaller", "ph16", TWO, 0, 0x8000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-larger", "ph16", TWO, 0, 0x20000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-from-inside", "ph16", TWO, 0x8000, 0x8000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-nothing", "", TWO, 0, 0x10000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-ordinary", "r16", TWO, 0, 0x10000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-without-reserve", "ph16", TWO, 0, 0x10000, REPLACE, PAGE_READWRITE},
    {"placeholder.replace-commit-without-reserve", "ph16", TWO, 0, 0x10000, MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-write-watch", "ph16", TWO, 0, 0x10000, MEM_RESERVE | REPLACE | MEM_WRITE_WATCH, PAGE_READWRITE},
    {"placeholder.split-front", "ph16", FREES, 0, 0x4000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-middle", "ph16", FREES, 0x4000, 0x4000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-end", "ph16", FREES, 0xc000, 0x4000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-one-page", "ph16", FREES, 0x7000, 0x1000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-whole", "ph16", FREES, 0, 0x10000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-past-the-end", "ph16", FREES, 0x8000, 0x10000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-ordinary", "r16", FREES, 0, 0x4000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.split-size-zero", "ph16", FREES, 0, 0, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.back-from-replaced", "ph16 rep16 w4", FREES, 0, 0x10000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.back-a-part", "ph16 rep16 w16", FREES, 0x4000, 0x4000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.back-past-the-end", "ph16 rep16", FREES, 0x8000, 0x10000, MEM_RELEASE | PRESERVE, 0},
    {"placeholder.replace-with-both-flags", "ph16", TWO, 0, 0x10000, PLACE | REPLACE, PAGE_NOACCESS},
    {"placeholder.replace-guard", "ph16", TWO, 0, 0x10000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE | PAGE_GUARD},
    {"placeholder.replace-writecopy", "ph16", TWO, 0, 0x10000, MEM_RESERVE | REPLACE, PAGE_WRITECOPY},
    {"placeholder.replace-a-part", "ph16 spl4@4", TWO, 0x4000, 0x4000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.replace-two-parts", "ph16 spl4@4", TWO, 0, 0x8000, MEM_RESERVE | MEM_COMMIT | REPLACE, PAGE_READWRITE},
    {"placeholder.merge-two", "ph16 spl4", FREES, 0, 0x10000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-three", "ph16 spl4@4", FREES, 0, 0x10000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-two-of-three", "ph16 spl4@4", FREES, 0, 0x8000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-two-made-apart", "ph16 ph16@16", FREES, 0, 0x20000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-one", "ph16", FREES, 0, 0x10000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-wrong-start", "ph16 spl4@4", FREES, 0x1000, 0xf000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-wrong-length", "ph16 spl4@4", FREES, 0, 0x9000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-over-ordinary", "ph16 spl4@4 rep4@4", FREES, 0, 0x10000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-over-hole", "ph16 ph16@32", FREES, 0, 0x30000, MEM_RELEASE | COALESCE, 0},
    {"placeholder.merge-size-zero", "ph16 spl4", FREES, 0, 0, MEM_RELEASE | COALESCE, 0},
    {"placeholder.both-flags", "ph16 spl4", FREES, 0, 0x10000, MEM_RELEASE | COALESCE | PRESERVE, 0},
    {"placeholder.release", "ph16", FREES, 0, 0, MEM_RELEASE, 0},
    {"placeholder.release-a-part", "ph16 spl4@4", FREES, 0x4000, 0, MEM_RELEASE, 0},
    {"placeholder.release-replaced", "ph16 rep16", FREES, 0, 0, MEM_RELEASE, 0},
    {"placeholder.decommit", "ph16", FREES, 0, 0x1000, MEM_DECOMMIT, 0},
};

static void one(const struct place_row *row) {
    window_new();
    printf("%s | ", row->id);
    setup(row->setup);
    printf("%s | ", *row->setup ? row->setup : "-");
    char *at = B + row->where;
    mark_error();
    if (row->how == FREES) {
        BOOL ok = VirtualFree(at, row->size, row->type);
        DWORD error = GetLastError();
        printf("VirtualFree(%s, 0x%llx, %s) | %s | %s | - ", where_name(at), row->size, free_name(row->type), ok ? "TRUE" : "FALSE", error_name(error));
    } else {
        char *p = row->how == TWO ? VirtualAlloc2(NULL, at, row->size, row->type, row->prot, NULL, 0) : VirtualAlloc(at, row->size, row->type, row->prot);
        DWORD error = GetLastError();
        printf("VirtualAlloc%s(%s, 0x%llx, %s, %s) | %s | %s | - ", row->how == TWO ? "2" : "", where_name(at), row->size, alloc_name(row->type), prot_name(row->prot), where_name(p),
               error_name(error));
    }
    row_end(0);
}

/// Contents of what replaced a placeholder are zero, each time.
static void contents(void) {
    window_new();
    int zero = 0;
    if (VirtualAlloc2(NULL, B, GR, PLACE, PAGE_NOACCESS, NULL, 0)) {
        setup("rep16");
        zero = B[0] == 0 && B[0xffff] == 0;
        memset(B, 7, GR);
        setup("spl16 rep16");
        zero &= B[0] == 0 && B[0xffff] == 0;
    }
    say("placeholder.contents-zero", "%s", yes(zero));
    window_clear();
}

/// What lies beside pages that are split off, replaced and merged stays as it is.
static void neighbours(void) {
    window_new();
    int kept = 0;
    if (VirtualAlloc2(NULL, B, GR, PLACE, PAGE_NOACCESS, NULL, 0)) {
        setup("rep16");
        for (int i = 0; i < 16; i++)
            memset(B + (SIZE_T)i * PG, 'a' + i, PG);
        setup("spl6@5 spl2@7 coa6@5 spl3@8 rep3@8 spl3@8 coa6@5 rep6@5");
        kept = 1;
        for (int i = 0; i < 16; i++) {
            char wanted = i >= 5 && i < 11 ? 0 : (char)('a' + i);
            kept &= B[(SIZE_T)i * PG] == wanted && B[(SIZE_T)i * PG + PG - 1] == wanted;
        }
    }
    say("placeholder.neighbours-keep-contents", "%s", yes(kept));
    window_clear();
}

/// Two placeholders at addresses of their own, side by side, and merged.
static void far_away(void) {
    char *at = (char *)(uintptr_t)0x300000000000;
    int made = VirtualAlloc2(NULL, at, GR, PLACE, PAGE_NOACCESS, NULL, 0) == at && VirtualAlloc2(NULL, at + GR, GR, PLACE, PAGE_NOACCESS, NULL, 0) == at + GR;
    mark_error();
    BOOL ok = VirtualFree(at, 2 * GR, MEM_RELEASE | COALESCE);
    DWORD error = GetLastError();
    say("placeholder.merge-at-addresses", "%s | %s | %s", made ? "made" : "not made", ok ? "TRUE" : "FALSE", error_name(error));
    VirtualFree(at, 0, MEM_RELEASE);
    VirtualFree(at + GR, 0, MEM_RELEASE);
}

struct need_row {
    const char *id;
    /// Offsets from B where `relative`; `base` too.
    U64 lowest, highest, alignment, base;
    int relative;
    SIZE_T size;
    DWORD type;
};

static const struct need_row needs[] = {
    {"requirements.all-zero", 0, 0, 0, 0, 0, 0x10000, MEM_RESERVE},
    {"requirements.alignment-64k", 0, 0, 0x10000, 0, 0, 0x1000, MEM_RESERVE},
    {"requirements.alignment-2m", 0, 0, 0x200000, 0, 0, 0x1000, MEM_RESERVE},
    {"requirements.alignment-1g", 0, 0, 0x40000000, 0, 0, 0x1000, MEM_RESERVE | MEM_COMMIT},
    {"requirements.alignment-4k", 0, 0, 0x1000, 0, 0, 0x1000, MEM_RESERVE},
    {"requirements.alignment-no-power", 0, 0, 0x30000, 0, 0, 0x1000, MEM_RESERVE},
    {"requirements.alignment-one", 0, 0, 1, 0, 0, 0x1000, MEM_RESERVE},
    {"requirements.below-4g", 0, 0xffffffff, 0, 0, 0, 0x10000, MEM_RESERVE},
    {"requirements.between", 0x20000, 0x4ffff, 0, 0, 1, 0x10000, MEM_RESERVE},
    {"requirements.exactly-that", 0x20000, 0x2ffff, 0, 0, 1, 0x10000, MEM_RESERVE},
    {"requirements.no-room", 0x20000, 0x2ffff, 0, 0, 1, 0x11000, MEM_RESERVE},
    {"requirements.no-room-for-alignment", 0x20000, 0x2ffff, 0x100000, 0, 1, 0x10000, MEM_RESERVE},
    {"requirements.highest-not-an-end", 0, 0x30000, 0, 0, 1, 0x10000, MEM_RESERVE},
    {"requirements.highest-off-by-one", 0, 0x2fffe, 0, 0, 1, 0x10000, MEM_RESERVE},
    {"requirements.highest-above-user", 0, 0x7fffffffffff, 0, 0, 0, 0x10000, MEM_RESERVE},
    {"requirements.highest-of-user", 0, 0x7ffffffeffff, 0, 0, 0, 0x10000, MEM_RESERVE},
    {"requirements.with-base", 0, 0, 0x10000, 0x10000, 1, 0x10000, MEM_RESERVE},
    {"requirements.commit-alone", 0, 0, 0x10000, 0, 0, 0x10000, MEM_COMMIT},
    {"requirements.top-down", 0, 0xffffffff, 0, 0, 0, 0x10000, MEM_RESERVE | MEM_TOP_DOWN},
};

static void one_need(const struct need_row *row) {
    window_new();
    char *base = row->relative ? B : NULL;
    MEM_ADDRESS_REQUIREMENTS need = {row->lowest || base ? base + row->lowest : NULL, row->highest ? base + row->highest : NULL, row->alignment};
    MEM_EXTENDED_PARAMETER parameter;
    memset(&parameter, 0, sizeof parameter);
    parameter.Type = 1;
    parameter.Pointer = &need;
    mark_error();
    char *at = row->base ? B + row->base : NULL;
    char *p = VirtualAlloc2(NULL, at, row->size, row->type, PAGE_READWRITE, &parameter, 1);
    DWORD error = GetLastError();
    U64 value = (U64)(uintptr_t)p, multiple = row->alignment > GR ? row->alignment : GR;
    printf("%s | %s | %s", row->id, p ? "new" : "NULL", error_name(error));
    if (p)
        printf(" | aligned: %s, within: %s", yes(value % multiple == 0), yes(p >= (char *)need.LowestStartingAddress && (!row->highest || p + row->size - 1 <= (char *)need.HighestEndingAddress)));
    printf("\n");
    if (p)
        VirtualFree(p, 0, MEM_RELEASE);
    window_clear();
}

/// The array of parameters itself.
static void parameters(void) {
    MEM_ADDRESS_REQUIREMENTS need = {NULL, NULL, 0x10000};
    MEM_EXTENDED_PARAMETER two[2];
    memset(two, 0, sizeof two);
    two[0].Type = two[1].Type = 1;
    two[0].Pointer = two[1].Pointer = &need;
    static const struct {
        const char *id;
        int null, count, type;
    } table[] = {{"parameters.same-twice", 0, 2, 1}, {"parameters.type-0", 0, 1, 0}, {"parameters.type-200", 0, 1, 200}, {"parameters.null-array", 1, 1, 1}, {"parameters.array-with-count-0", 0, 0, 1}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        two[0].Type = (DWORD64)table[i].type & 0xff;
        mark_error();
        char *p = VirtualAlloc2(GetCurrentProcess(), NULL, GR, MEM_RESERVE, PAGE_READWRITE, table[i].null ? NULL : two, (ULONG)table[i].count);
        say(table[i].id, "%s | %s", p ? "new" : "NULL", error_name(GetLastError()));
        if (p)
            VirtualFree(p, 0, MEM_RELEASE);
    }
    mark_error();
    char *p = VirtualAlloc2(NULL, NULL, GR, MEM_COMMIT, PAGE_READWRITE, NULL, 0);
    say("alloc2.commit-at-null", "%s | %s | byte %d", p ? "new" : "NULL", error_name(GetLastError()), p ? p[0] : -1);
    VirtualFree(p, 0, MEM_RELEASE);
    mark_error();
    p = VirtualAlloc2(GetCurrentProcess(), NULL, 0, MEM_RESERVE, PAGE_READWRITE, NULL, 0);
    say("alloc2.size-zero", "%s | %s", p ? "new" : "NULL", error_name(GetLastError()));
}

int main(void) {
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        one(&rows[i]);
    contents();
    neighbours();
    far_away();
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        one_need(&needs[i]);
    parameters();
    return 0;
}
