// Every bit of VirtualAlloc's two flag words, alone and in pairs: which are accepted, which number refuses the others.
#include "conform.h"

/// What a call at an occupied, committed place says: "ok", or the error. 487 means that the flags were fine and the place was taken.
static const char *try_type(DWORD type) {
    mark_error();
    if (VirtualAlloc(B, PG, type, PAGE_READWRITE))
        return "ok";
    return error_name(GetLastError());
}

static void types_alone(void) {
    for (int bit = 0; bit < 32; bit++) {
        DWORD type = 1u << bit;
        // What a reset's undoing says without a reset before is nowhere defined.
        if (type == 0x1000000)
            continue;
        window_new();
        words_run("rc16");
        printf("flags.type-alone-%d | %s | %s\n", bit, alloc_name(type), try_type(type));
        window_clear();
    }
    window_new();
    words_run("rc16");
    printf("flags.type-zero | 0 | %s\n", try_type(0));
    printf("flags.type-all | all bits | %s\n", try_type(0xffffffff));
    window_clear();
}

static void types_in_pairs(void) {
    for (int low = 0; low < 32; low++) {
        int refused = 0;
        printf("flags.type-pairs-%d | %s with", low, alloc_name(1u << low));
        for (int high = 0; high < 32; high++) {
            if (high == low)
                continue;
            window_new();
            words_run("rc16");
            const char *answer = try_type((1u << low) | (1u << high));
            if (strcmp(answer, "87"))
                printf(" %s: %s,", alloc_name(1u << high), answer);
            else
                refused++;
            window_clear();
        }
        printf(" others refused with 87: %d\n", refused);
    }
}

struct type_row {
    const char *id;
    U64 size;
    DWORD type, prot;
};

/// Without an address; "ok" leaves an allocation, which is released.
static const struct type_row at_null[] = {
    {"flags.reserve", 0x10000, MEM_RESERVE, PAGE_READWRITE},
    {"flags.commit", 0x10000, MEM_COMMIT, PAGE_READWRITE},
    {"flags.both", 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE},
    {"flags.top-down-alone", 0x10000, MEM_TOP_DOWN, PAGE_READWRITE},
    {"flags.top-down-reserve", 0x10000, MEM_TOP_DOWN | MEM_RESERVE, PAGE_READWRITE},
    {"flags.top-down-commit", 0x10000, MEM_TOP_DOWN | MEM_COMMIT, PAGE_READWRITE},
    {"flags.top-down-both", 0x10000, MEM_TOP_DOWN | MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE},
    {"flags.watch-alone", 0x10000, MEM_WRITE_WATCH, PAGE_READWRITE},
    {"flags.watch-reserve", 0x10000, MEM_WRITE_WATCH | MEM_RESERVE, PAGE_READWRITE},
    {"flags.watch-both", 0x10000, MEM_WRITE_WATCH | MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE},
    {"flags.watch-commit", 0x10000, MEM_WRITE_WATCH | MEM_COMMIT, PAGE_READWRITE},
    {"flags.watch-top-down", 0x10000, MEM_WRITE_WATCH | MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE},
    {"flags.physical-alone", 0x10000, MEM_PHYSICAL, PAGE_READWRITE},
    {"flags.physical-reserve", 0x10000, MEM_PHYSICAL | MEM_RESERVE, PAGE_READWRITE},
    {"flags.physical-commit", 0x10000, MEM_PHYSICAL | MEM_COMMIT, PAGE_READWRITE},
    {"flags.physical-both", 0x10000, MEM_PHYSICAL | MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE},
    {"flags.physical-watch", 0x10000, MEM_PHYSICAL | MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE},
    {"flags.physical-noaccess", 0x10000, MEM_PHYSICAL | MEM_RESERVE, PAGE_NOACCESS},
    {"flags.physical-readonly", 0x10000, MEM_PHYSICAL | MEM_RESERVE, PAGE_READONLY},
    {"flags.physical-execute", 0x10000, MEM_PHYSICAL | MEM_RESERVE, PAGE_EXECUTE_READWRITE},
    {"flags.physical-guard", 0x10000, MEM_PHYSICAL | MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD},
    {"flags.large-reserve", 0x200000, 0x20000000 | MEM_RESERVE, PAGE_READWRITE},
    {"flags.large-commit", 0x200000, 0x20000000 | MEM_COMMIT, PAGE_READWRITE},
    {"flags.large-alone", 0x200000, 0x20000000, PAGE_READWRITE},
    {"flags.unknown-with-reserve", 0x10000, MEM_RESERVE | 0x40000000, PAGE_READWRITE},
    {"flags.decommit-with-reserve", 0x10000, MEM_RESERVE | 0x8000, PAGE_READWRITE},
    {"flags.placeholder-reserve", 0x10000, MEM_RESERVE | 0x40000, PAGE_NOACCESS},
    {"flags.placeholder-replace", 0x10000, MEM_RESERVE | MEM_COMMIT | 0x4000, PAGE_READWRITE},
    {"flags.reset-reserve", 0x10000, MEM_RESERVE | MEM_RESET, PAGE_READWRITE},
    {"flags.reset-commit", 0x10000, MEM_COMMIT | MEM_RESET, PAGE_READWRITE},
    {"flags.reset-top-down", 0x10000, MEM_TOP_DOWN | MEM_RESET, PAGE_READWRITE},
    {"flags.reset-undo-reset", 0x10000, MEM_RESET | 0x1000000, PAGE_READWRITE},
    {"flags.reset-undo-commit", 0x10000, MEM_COMMIT | 0x1000000, PAGE_READWRITE},
};

static void types_at_null(void) {
    for (size_t i = 0; i < sizeof at_null / sizeof *at_null; i++) {
        const struct type_row *row = &at_null[i];
        mark_error();
        char *p = VirtualAlloc(NULL, row->size, row->type, row->prot);
        DWORD error = GetLastError();
        say(row->id, "%s, %s | %s | %s", alloc_name(row->type), prot_name(row->prot), p ? "new" : "NULL", error_name(error));
        if (p)
            VirtualFree(p, 0, MEM_RELEASE);
    }
}

// -------------------------------------------------------------------------------------------------- protections

static const DWORD bases[] = {PAGE_NOACCESS, PAGE_READONLY,     PAGE_READWRITE,         PAGE_WRITECOPY,
                              PAGE_EXECUTE,  PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY};
static const DWORD modifiers[] = {0, PAGE_GUARD, PAGE_NOCACHE, PAGE_WRITECOMBINE, PAGE_GUARD | PAGE_NOCACHE, PAGE_GUARD | PAGE_WRITECOMBINE, PAGE_NOCACHE | PAGE_WRITECOMBINE};

enum way { BY_RESERVE, BY_COMMIT, BY_RESET, BY_PROTECT };
static const char *const way_name[] = {"reserve", "commit", "reset", "protect"};

static const char *try_prot(enum way way, DWORD prot) {
    DWORD old;
    void *p = NULL;
    window_new();
    if (way != BY_RESERVE)
        words_run(way == BY_COMMIT ? "r16" : "rc16");
    mark_error();
    switch (way) {
    case BY_RESERVE:
        p = VirtualAlloc(B, GR, MEM_RESERVE, prot);
        break;
    case BY_COMMIT:
        p = VirtualAlloc(B, PG, MEM_COMMIT, prot);
        break;
    case BY_RESET:
        p = VirtualAlloc(B, PG, MEM_RESET, prot);
        break;
    case BY_PROTECT:
        p = VirtualProtect(B, PG, prot, &old) ? B : NULL;
        break;
    }
    DWORD error = GetLastError();
    MEMORY_BASIC_INFORMATION m;
    VirtualQuery(B, &m, sizeof m);
    DWORD now = way == BY_RESERVE ? m.AllocationProtect : m.Protect;
    window_clear();
    return !p ? error_name(error) : now == prot || way == BY_RESET ? "ok" : prot_name(now);
}

static void protections(enum way way) {
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        printf("flags.%s-%s |", way_name[way], prot_name(bases[i]));
        for (size_t k = 0; k < sizeof modifiers / sizeof *modifiers; k++) {
            // VirtualProtect drops the cache modifiers: they belong to the allocation (see protect.c).
            if (way == BY_PROTECT && (modifiers[k] & (PAGE_NOCACHE | PAGE_WRITECOMBINE)))
                continue;
            printf(" %s: %s%s", prot_name(bases[i] | modifiers[k]), try_prot(way, bases[i] | modifiers[k]), k == 6 ? "" : ",");
        }
        printf("\n");
    }
    int refused = 0, others = 0;
    for (int low = 0; low < 8; low++)
        for (int high = low + 1; high < 8; high++) {
            const char *answer = try_prot(way, (1u << low) | (1u << high));
            *(strcmp(answer, "87") ? &others : &refused) += 1;
        }
    printf("flags.%s-two-bases | refused with 87: %d, others: %d\n", way_name[way], refused, others);
    printf("flags.%s-no-base | 0: %s,", way_name[way], try_prot(way, 0));
    for (size_t k = 1; k < sizeof modifiers / sizeof *modifiers; k++)
        printf(" %s: %s%s", prot_name(modifiers[k]), try_prot(way, modifiers[k]), k == 6 ? "" : ",");
    printf("\n");
    refused = others = 0;
    for (int bit = 11; bit < 30; bit++) {
        const char *answer = try_prot(way, (1u << bit) | PAGE_READWRITE);
        *(strcmp(answer, "87") ? &others : &refused) += 1;
    }
    printf("flags.%s-unknown-bits | refused with 87: %d, others: %d\n", way_name[way], refused, others);
}

/// Accepted with an execute protection, and not seen again.
static void targets_invalid(void) {
    static const DWORD execute[] = {PAGE_EXECUTE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE};
    static const char *const ids[] = {"flags.targets-invalid-execute", "flags.targets-invalid-execute-read", "flags.targets-invalid-all"};
    for (size_t i = 0; i < 3; i++)
        say(ids[i], "%s | commit %s, protect %s", prot_name(execute[i]), try_prot(BY_COMMIT, execute[i] | 0x40000000),
            try_prot(BY_PROTECT, execute[i] | 0x40000000));
}

int main(void) {
    begin();
    types_at_null();
    types_alone();
    types_in_pairs();
    for (int way = BY_RESERVE; way <= BY_PROTECT; way++)
        protections((enum way)way);
    targets_invalid();
    return 0;
}
