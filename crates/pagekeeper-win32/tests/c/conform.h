// What the conformance programs share: rows of a table, a small language for what is set up before a call, and the printing of
// results in a form that does not depend on where memory happens to lie.
//
// A program prints one line per row:
//
//     row-id | setup | call | result | last error | bytes | pages after
//
// Addresses are written relative to B, the start of a window of 256 free pages that every row gets afresh. The last error is set to
// a mark before the call and printed as "kept" when the mark is still there. Pages after: runs as VirtualQuery reports them,
// "first-last state protection (allocation protection@page of the allocation base)"; free pages at the end are left out.
//
// The setup language, words separated by spaces, pages counted from B, the default page is 0 and the default protection rw (na for r):
//
//     r16@32=ro    reserve 16 pages at page 32       c2@3=rw    commit          d2@3    decommit      f@32     release
//     rc16=rw      reserve and commit                p1@3=ro    protect         l2@3    VirtualLock   u2@3     VirtualUnlock
//     watch16=rw   reserve and commit, write watch   phys16     MEM_PHYSICAL    reset2  MEM_RESET
//     w2@3         write 5a into the first byte of 2 pages from page 3 on       t2@3    read them     b2@3     print these bytes
//
// The same sources are built with mingw and run under Wine: plain C11 and plain Win32 only.
#ifndef CONFORM_H
#define CONFORM_H

#ifdef __MINGW32__
#define __USE_MINGW_ANSI_STDIO 1
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#undef NTDDI_VERSION
#define NTDDI_VERSION 0x0A000008
#endif

#include <windows.h>
#include <psapi.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __MINGW32__
#include <fcntl.h>
#include <io.h>
#endif

#define PG ((SIZE_T)0x1000)
#define GR ((SIZE_T)0x10000)
#define WINDOW ((SIZE_T)0x100000)
#define MARK 0xE1E1E1u

typedef unsigned long long U64;

/// The window of the row that runs.
static char *B;

// ---------------------------------------------------------------------------------------------------------------- names

struct name {
    U64 bits;
    const char *text;
};

/// Base protections by value; modifiers are appended.
static inline const char *prot_name(DWORD prot) {
    static char buffer[4][64];
    static int turn;
    char *out = buffer[turn++ & 3];
    static const struct name base[] = {{0, "0"},    {PAGE_NOACCESS, "na"}, {PAGE_READONLY, "ro"},          {PAGE_READWRITE, "rw"},
                                       {PAGE_WRITECOPY, "wc"}, {PAGE_EXECUTE, "x"},      {PAGE_EXECUTE_READ, "xr"}, {PAGE_EXECUTE_READWRITE, "xrw"},
                                       {PAGE_EXECUTE_WRITECOPY, "xwc"}};
    static const struct name modifier[] = {{PAGE_GUARD, "+g"}, {PAGE_NOCACHE, "+nc"}, {PAGE_WRITECOMBINE, "+wcomb"}, {0x40000000, "+ti"}};
    snprintf(out, 64, "0x%lx", (unsigned long)prot);
    for (size_t i = 0; i < sizeof base / sizeof *base; i++)
        if (base[i].bits == (prot & 0xff)) {
            DWORD rest = prot & ~0xffu;
            snprintf(out, 64, "%s", base[i].text);
            for (size_t k = 0; k < sizeof modifier / sizeof *modifier; k++)
                if (rest & modifier[k].bits) {
                    strcat(out, modifier[k].text);
                    rest &= ~(DWORD)modifier[k].bits;
                }
            if (rest)
                snprintf(out + strlen(out), 64 - strlen(out), "+0x%lx", (unsigned long)rest);
        }
    return out;
}

static inline const char *bits_name(U64 value, const struct name *names, size_t count, char *out, size_t room) {
    out[0] = 0;
    for (size_t i = 0; i < count; i++)
        if (value & names[i].bits) {
            snprintf(out + strlen(out), room - strlen(out), "%s%s", *out ? "|" : "", names[i].text);
            value &= ~names[i].bits;
        }
    if (value || !*out)
        snprintf(out + strlen(out), room - strlen(out), "%s0x%llx", *out ? "|" : "", value);
    return out;
}

static inline const char *alloc_name(DWORD type) {
    static char out[160];
    static const struct name names[] = {{MEM_RESERVE, "RESERVE"},         {MEM_COMMIT, "COMMIT"},     {MEM_RESET, "RESET"},
                                        {MEM_TOP_DOWN, "TOP_DOWN"},       {MEM_WRITE_WATCH, "WATCH"}, {MEM_PHYSICAL, "PHYSICAL"},
                                        {0x1000000, "RESET_UNDO"},        {0x20000000, "LARGE"},      {0x4000, "REPLACE_PLACEHOLDER"},
                                        {0x40000, "RESERVE_PLACEHOLDER"}};
    return bits_name(type, names, sizeof names / sizeof *names, out, sizeof out);
}

static inline const char *free_name(DWORD type) {
    static char out[160];
    static const struct name names[] = {{MEM_DECOMMIT, "DECOMMIT"}, {MEM_RELEASE, "RELEASE"}, {1, "COALESCE"}, {2, "PRESERVE"}};
    return bits_name(type, names, sizeof names / sizeof *names, out, sizeof out);
}

/// The last error, or "kept" when nobody wrote it since `mark_error`.
static inline const char *error_name(DWORD error) {
    static char out[4][24];
    static int turn;
    char *text = out[turn++ & 3];
    if (error == MARK)
        return "kept";
    snprintf(text, 24, error > 0xffff ? "0x%lx" : "%lu", (unsigned long)error);
    return text;
}

static inline void mark_error(void) { SetLastError(MARK); }

/// An address relative to the window, or as it is when it was asked for as it is.
static inline const char *where_name(const void *at) {
    static char out[4][40];
    static int turn;
    char *text = out[turn++ & 3];
    const char *p = (const char *)at;
    if (!p)
        return "NULL";
    if (B && p >= B && p < B + 16 * WINDOW)
        snprintf(text, 40, "B+0x%llx", (U64)(p - B));
    else
        snprintf(text, 40, "0x%llx", (U64)(uintptr_t)p);
    return text;
}

// ----------------------------------------------------------------------------------------------------------- the window

/// Finds 16 MiB of free address space and makes it the window of the next row.
static inline void window_new(void) {
    char *p = VirtualAlloc(NULL, 17 * WINDOW, MEM_RESERVE, PAGE_NOACCESS);
    if (!p) {
        printf("NO WINDOW %lu\n", (unsigned long)GetLastError());
        exit(1);
    }
    VirtualFree(p, 0, MEM_RELEASE);
    B = (char *)(((uintptr_t)p + WINDOW - 1) & ~(uintptr_t)(WINDOW - 1));
}

/// Releases whatever the row left in its window.
static inline void window_clear(void) {
    for (char *p = B; p < B + WINDOW;) {
        MEMORY_BASIC_INFORMATION m;
        if (!VirtualQuery(p, &m, sizeof m))
            break;
        if (m.State != MEM_FREE) {
            VirtualUnlock(m.BaseAddress, m.RegionSize);
            VirtualFree(m.AllocationBase, 0, MEM_RELEASE);
        }
        char *end = (char *)m.BaseAddress + m.RegionSize;
        p = end > p ? end : B + WINDOW;
    }
}

/// Writes one run of equal pages as VirtualQuery describes it.
static inline void run_print(const MEMORY_BASIC_INFORMATION *m, const char *end) {
    U64 first = (U64)((char *)m->BaseAddress - B) / PG, last = (U64)(end - B) / PG - 1;
    if (first == last)
        printf("%llu ", first);
    else
        printf("%llu-%llu ", first, last);
    if (m->State == MEM_FREE) {
        printf("free");
        if (m->Protect != PAGE_NOACCESS || m->AllocationBase || m->AllocationProtect || m->Type)
            printf(" (odd: %s %s %s 0x%lx)", prot_name(m->Protect), where_name(m->AllocationBase), prot_name(m->AllocationProtect),
                   (unsigned long)m->Type);
        return;
    }
    if (m->State == MEM_RESERVE)
        printf("reserve");
    else if (m->State == MEM_COMMIT)
        printf("commit");
    else
        printf("state 0x%lx", (unsigned long)m->State);
    if (m->State != MEM_RESERVE || m->Protect)
        printf(" %s", prot_name(m->Protect));
    if (m->Type != MEM_PRIVATE)
        printf(" type 0x%lx", (unsigned long)m->Type);
    U64 base = (U64)((char *)m->AllocationBase - B);
    printf(base % PG ? " (%s@%llu+)" : " (%s@%llu)", prot_name(m->AllocationProtect), base / PG);
}

/// All runs of the window; `only` stops at the end of the allocation that starts at B.
static inline void map_print(int only) {
    int count = 0;
    for (char *p = B; p < B + WINDOW;) {
        MEMORY_BASIC_INFORMATION m;
        if (VirtualQuery(p, &m, sizeof m) != sizeof m) {
            printf(" (query failed)");
            return;
        }
        char *end = (char *)m.BaseAddress + m.RegionSize;
        if (end <= p) {
            printf(" (a walk that does not advance)");
            return;
        }
        if (only && m.AllocationBase != (void *)B)
            break;
        if (end > B + WINDOW)
            end = B + WINDOW;
        int plain = m.State == MEM_FREE && m.Protect == PAGE_NOACCESS && !m.AllocationBase && !m.AllocationProtect && !m.Type;
        if (plain && end == B + WINDOW)
            break;
        printf("%s", count++ ? ", " : "");
        run_print(&m, end);
        p = end;
    }
    if (!count)
        printf("all free");
}

// -------------------------------------------------------------------------------------------------- the setup language

static inline DWORD prot_parse(const char *text) {
    static const struct name names[] = {{PAGE_EXECUTE_READWRITE, "xrw"}, {PAGE_EXECUTE_WRITECOPY, "xwc"}, {PAGE_EXECUTE_READ, "xr"}, {PAGE_EXECUTE, "x"},
                                        {PAGE_NOACCESS, "na"},           {PAGE_READONLY, "ro"},           {PAGE_READWRITE, "rw"},   {PAGE_WRITECOPY, "wc"}};
    DWORD prot = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !prot; i++) {
        size_t length = strlen(names[i].text);
        if (!strncmp(text, names[i].text, length) && (text[length] == '+' || text[length] == ' ' || !text[length])) {
            prot = (DWORD)names[i].bits;
            text += length;
        }
    }
    if (!strncmp(text, "+g", 2))
        prot |= PAGE_GUARD;
    if (!strncmp(text, "+nc", 3))
        prot |= PAGE_NOCACHE;
    if (!strncmp(text, "+wcomb", 6))
        prot |= PAGE_WRITECOMBINE;
    return prot;
}

/// Carries out one word of the setup language; FALSE when its call failed.
static inline int word_run(const char *word) {
    char op[16];
    size_t length = strspn(word, "abcdefghijklmnopqrstuvwxyz");
    DWORD old;
    memcpy(op, word, length < 15 ? length : 15);
    op[length < 15 ? length : 15] = 0;
    const char *rest = word + length;
    SIZE_T pages = strtoul(rest, (char **)&rest, 10);
    SIZE_T first = *rest == '@' ? strtoul(rest + 1, (char **)&rest, 10) : 0;
    DWORD prot = *rest == '=' ? prot_parse(rest + 1) : !strcmp(op, "r") ? PAGE_NOACCESS : PAGE_READWRITE;
    char *at = B + first * PG;
    SIZE_T size = pages * PG;
    volatile char *byte = at;
    if (!strcmp(op, "r"))
        return VirtualAlloc(at, size, MEM_RESERVE, prot) == at;
    if (!strcmp(op, "rc"))
        return VirtualAlloc(at, size, MEM_RESERVE | MEM_COMMIT, prot) == at;
    if (!strcmp(op, "c"))
        return VirtualAlloc(at, size, MEM_COMMIT, prot) == at;
    if (!strcmp(op, "watch"))
        return VirtualAlloc(at, size, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, prot) == at;
    if (!strcmp(op, "phys"))
        return VirtualAlloc(at, size, MEM_RESERVE | MEM_PHYSICAL, prot) == at;
    if (!strcmp(op, "reset"))
        return VirtualAlloc(at, size, MEM_RESET, prot) == at;
    if (!strcmp(op, "d"))
        return VirtualFree(at, size, MEM_DECOMMIT);
    if (!strcmp(op, "f"))
        return VirtualFree(at, 0, MEM_RELEASE);
    if (!strcmp(op, "p"))
        return VirtualProtect(at, size, prot, &old);
    if (!strcmp(op, "l"))
        return VirtualLock(at, size);
    if (!strcmp(op, "u"))
        return VirtualUnlock(at, size);
    for (SIZE_T i = 0; i < (pages ? pages : 1); i++) {
        if (!strcmp(op, "w"))
            byte[i * PG] = 0x5a;
        else if (!strcmp(op, "t"))
            (void)byte[i * PG];
        else if (!strcmp(op, "b"))
            printf("%llu:%02x ", (U64)(first + i), (unsigned)(unsigned char)byte[i * PG]);
        else
            return 0;
    }
    return 1;
}

/// Carries out all words up to the first that fails, which is reported in the row's line.
static inline void words_run(const char *words) {
    while (words && *words) {
        size_t length = strcspn(words, " ");
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)length, words);
        if (!word_run(word)) {
            printf("[%s failed, %lu] ", word, (unsigned long)GetLastError());
            return;
        }
        words += length + (words[length] == ' ');
    }
}

// ----------------------------------------------------------------------------------------------------------- the tables

enum call { ALLOC, FREE, PROTECT, LOCK, UNLOCK };

/// One row: what is set up, what is called, and which bytes are shown afterwards.
struct row {
    const char *id, *setup;
    enum call call;
    /// Offset from B, or an address when `absolute`.
    U64 where;
    U64 size;
    DWORD type, prot;
    int absolute;
    const char *after;
};

/// Columns of a row's call; the last two say that the address is meant as it is, and what to look at afterwards.
#define A_(where, size, type, prot) ALLOC, where, size, type, prot, 0, NULL
#define AT(address, size, type, prot) ALLOC, address, size, type, prot, 1, NULL
#define F_(where, size, type) FREE, where, size, type, 0, 0, NULL
#define FT(address, size, type) FREE, address, size, type, 0, 1, NULL
#define P_(where, size, prot) PROTECT, where, size, 0, prot, 0, NULL
#define PT(address, size, prot) PROTECT, address, size, 0, prot, 1, NULL
#define L_(where, size) LOCK, where, size, 0, 0, 0, NULL
#define U_(where, size) UNLOCK, where, size, 0, 0, 0, NULL
#define A_B(where, size, type, prot, after) ALLOC, where, size, type, prot, 0, after
#define F_B(where, size, type, after) FREE, where, size, type, 0, 0, after
#define P_B(where, size, prot, after) PROTECT, where, size, 0, prot, 0, after

static inline void row_begin(const char *id, const char *setup) {
    window_new();
    printf("%s | ", id);
    words_run(setup);
    printf("%s | ", setup && *setup ? setup : "-");
}

static inline void row_end(int only) {
    printf("| ");
    map_print(only);
    printf("\n");
    window_clear();
}

static inline void row_run(const struct row *row) {
    row_begin(row->id, row->setup);
    char *at = row->absolute ? (char *)(uintptr_t)row->where : B + row->where;
    DWORD old = 0xdddd, error;
    char *result = NULL;
    BOOL ok = FALSE;
    mark_error();
    switch (row->call) {
    case ALLOC:
        result = VirtualAlloc(at, row->size, row->type, row->prot);
        error = GetLastError();
        printf("VirtualAlloc(%s, 0x%llx, %s, %s) | ", where_name(at), row->size, alloc_name(row->type), prot_name(row->prot));
        if (result && !at) {
            B = result;
            printf("new, %s | %s | ", (uintptr_t)result % GR ? "unaligned" : "aligned to 64 KiB", error_name(error));
        } else {
            printf("%s | %s | ", where_name(result), error_name(error));
        }
        break;
    case FREE:
        ok = VirtualFree(at, row->size, row->type);
        error = GetLastError();
        printf("VirtualFree(%s, 0x%llx, %s) | %s | %s | ", where_name(at), row->size, free_name(row->type), ok ? "TRUE" : "FALSE", error_name(error));
        break;
    case PROTECT:
        ok = VirtualProtect(at, row->size, row->prot, &old);
        error = GetLastError();
        printf("VirtualProtect(%s, 0x%llx, %s) | %s", where_name(at), row->size, prot_name(row->prot), ok ? "TRUE" : "FALSE");
        if (ok)
            printf(" old %s", prot_name(old));
        printf(" | %s | ", error_name(error));
        break;
    case LOCK:
        ok = VirtualLock(at, row->size);
        error = GetLastError();
        printf("VirtualLock(%s, 0x%llx) | %s | %s | ", where_name(at), row->size, ok ? "TRUE" : "FALSE", error_name(error));
        break;
    case UNLOCK:
        ok = VirtualUnlock(at, row->size);
        error = GetLastError();
        printf("VirtualUnlock(%s, 0x%llx) | %s | %s | ", where_name(at), row->size, ok ? "TRUE" : "FALSE", error_name(error));
        break;
    }
    if (row->after)
        words_run(row->after);
    else
        printf("- ");
    row_end(result && !at);
}

static inline void rows_run(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        row_run(&rows[i]);
}

#define RUN(rows) rows_run(rows, sizeof rows / sizeof *rows)

/// A line of its own form: row id, then text.
static inline void say(const char *id, const char *format, ...) {
    va_list list;
    va_start(list, format);
    printf("%s | ", id);
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

/// First thing in main: lines end as they end on Linux and reach the file at once.
static inline void begin(void) {
#ifdef __MINGW32__
    _setmode(1, _O_BINARY);
#endif
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
}

static inline const char *yes(int condition) { return condition ? "yes" : "no"; }

#endif
