// MEM_RESET and MEM_RESET_UNDO: contents may go, everything else stays.
#include "conform.h"

static const struct row rows[] = {
    {"reset.whole", "rc16 w16", A_(0, 0x10000, MEM_RESET, PAGE_READWRITE)},
    {"reset.part", "rc16 w16", A_B(0x4000, 0x2000, MEM_RESET, PAGE_READWRITE, "b4")},
    {"reset.protection-not-used", "rc16 w16", A_(0x4000, 0x2000, MEM_RESET, PAGE_NOACCESS)},
    {"reset.protection-invalid", "rc16 w16", A_B(0x4000, 0x2000, MEM_RESET, 0, "b2@4")},
    {"reset.protection-writecopy", "rc16 w16", A_B(0x4000, 0x2000, MEM_RESET, PAGE_WRITECOPY, "b2@4")},
    {"reset.readonly-pages", "rc16 w16 p16=ro", A_(0, 0x10000, MEM_RESET, PAGE_READWRITE)},
    {"reset.reserved-pages-tolerated", "r16 c4@4 w4@4", A_(0, 0x10000, MEM_RESET, PAGE_READWRITE)},
    {"reset.all-reserved", "r16", A_(0, 0x10000, MEM_RESET, PAGE_READWRITE)},
    {"reset.past-the-end", "rc16 w16", A_B(0xf000, 0x2000, MEM_RESET, PAGE_READWRITE, "b1@15")},
    {"reset.two-neighbours", "rc16 rc16@16 w32", A_B(0xf000, 0x2000, MEM_RESET, PAGE_READWRITE, "b2@15")},
    {"reset.free", "", A_(0, 0x1000, MEM_RESET, PAGE_READWRITE)},
    {"reset.size-zero", "rc16", A_(0, 0, MEM_RESET, PAGE_READWRITE)},
    {"reset.with-commit", "rc16 w2", A_B(0, 0x1000, MEM_RESET | MEM_COMMIT, PAGE_READWRITE, "b2")},
    {"reset.less-than-a-page-inside", "rc16 w16", A_B(0x4010, 0xfe0, MEM_RESET, PAGE_READWRITE, "b3@3")},
    {"reset.only-whole-pages-inside", "rc16 w16", A_B(0x4010, 0x2000, MEM_RESET, PAGE_READWRITE, "b1@4 b1@6")},
    {"reset.undo-free", "", A_(0, 0x1000, 0x1000000, PAGE_READWRITE)},
    {"reset.undo-past-the-end", "rc16 w16 reset16", A_(0xf000, 0x2000, 0x1000000, PAGE_READWRITE)},
    {"reset.undo-size-zero", "rc16", A_(0, 0, 0x1000000, PAGE_READWRITE)},
};

/// Old bytes or zeros, page by page, and stable once written.
static void contents(void) {
    window_new();
    words_run("rc16");
    for (SIZE_T i = 0; i < GR; i++)
        B[i] = (char)(i / PG + 1);
    VirtualAlloc(B, GR, MEM_RESET, PAGE_READWRITE);
    int old_or_zero = 1, one_kind = 1;
    for (SIZE_T page = 0; page < 16; page++)
        for (SIZE_T i = 0; i < PG; i++) {
            char byte = B[page * PG + i];
            old_or_zero &= byte == 0 || byte == (char)(page + 1);
            one_kind &= byte == B[page * PG];
        }
    say("reset.contents", "old or zero: %s, each page of one kind: %s", yes(old_or_zero), yes(one_kind));
    for (SIZE_T page = 0; page < 16; page++)
        B[page * PG + 17] = 99;
    int stays = 1;
    for (SIZE_T page = 0; page < 16; page++)
        stays &= B[page * PG + 17] == 99;
    say("reset.written-afterwards-stays", "%s", yes(stays));
    window_clear();
}

/// An undo either brings everything back or says that it could not.
static void undo(void) {
    window_new();
    words_run("rc16");
    memset(B, 0x42, GR);
    VirtualAlloc(B, GR, MEM_RESET, PAGE_READWRITE);
    mark_error();
    char *p = VirtualAlloc(B, GR, 0x1000000, PAGE_READWRITE);
    DWORD error = GetLastError();
    int whole = 1, lost = 0;
    for (SIZE_T i = 0; i < GR; i++) {
        whole &= B[i] == 0x42;
        lost |= B[i] == 0;
    }
    say("reset.undo-keeps-its-word", "%s", yes(p ? whole && error == MARK : lost && error != MARK && error != 0));
    B[0] = 1;
    say("reset.undo-usable-afterwards", "byte %d", B[0]);
    window_clear();
}

/// The commit charge stays: a reset page needs no new commit.
static void charge(void) {
    window_new();
    words_run("rc16 w16");
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    PROCESS_MEMORY_COUNTERS before = {.cb = sizeof before}, after = before;
    GetProcessMemoryInfo(GetCurrentProcess(), &before, sizeof before);
    VirtualAlloc(B, GR, MEM_RESET, PAGE_READWRITE);
    GetProcessMemoryInfo(GetCurrentProcess(), &after, sizeof after);
    GlobalMemoryStatusEx(&status);
    say("reset.charge-stays", "%s", yes(before.PagefileUsage == after.PagefileUsage));
    window_clear();
}

int main(void) {
    begin();
    RUN(rows);
    contents();
    undo();
    charge();
    return 0;
}
