// Guard pages: one exception, once, page by page; what is left afterwards; calls that are given a guarded buffer.
#include "faults.h"

struct guard_row {
    const char *id, *setup;
    char kind;
    SIZE_T offset;
};

static const struct guard_row rows[] = {
    {"guard.read", "rc16 p1=rw+g", 'r', 0x10},
    {"guard.write", "rc16 p1=rw+g", 'w', 0x20},
    {"guard.execute-of-data", "rc16 p1=rw+g", 'x', 0},
    {"guard.readonly-read", "rc16 p1=ro+g", 'r', 0},
    {"guard.readonly-write", "rc16 p1=ro+g", 'w', 0x30},
    {"guard.execute-read-read", "rc16 p1=xr+g", 'r', 0},
    {"guard.only-that-page", "rc16 p4=rw+g", 'w', 0x2008},
    {"guard.reserved-with-guard", "r16=rw+g c2=rw+g", 'w', 0x1000},
    {"guard.by-commit", "r16 c2=rw+g", 'r', 0x1fff},
    {"guard.by-recommit", "rc16 w1 c1=rw+g", 'r', 0},
    {"guard.removed-by-protect", "rc16 p1=rw+g p1=rw", 'w', 0},
    {"guard.reserved-page", "r16=rw+g", 'r', 0},
    {"guard.decommitted", "rc16 p1=rw+g d1", 'r', 0},
};

int main(void) {
    begin();
    faults_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct guard_row *row = &rows[i];
        row_begin(row->id, row->setup);
        printf("%c: %s | again: ", row->kind, access_text(row->kind, B + row->offset, 1));
        printf("%s ", access_text(row->kind, B + row->offset, 1));
        row_end(0);
    }

    // Code under a guard: the violation, then the call.
    window_new();
    words_run("rc16");
    memcpy(B, code_42, sizeof code_42);
    words_run("p1=xrw+g");
    say("guard.execute-of-code", "x: %s", access_text('x', B, 1));
    say("guard.execute-of-code-again", "x: %s", access_text('x', B, 1));
    window_clear();

    // Four armed pages, four exceptions.
    window_new();
    words_run("rc16 p4@2=rw+g");
    int count = 0;
    for (SIZE_T page = 0; page < 16; page++)
        for (int twice = 0; twice < 2; twice++) {
            access_try('w', B + page * PG);
            count += hit_count;
        }
    say("guard.one-shot-per-page", "four armed pages, every page written twice: %d exceptions", count);
    window_clear();

    // One access that touches two armed pages meets both, one after the other.
    window_new();
    words_run("rc16 p2=rw+g");
    say("guard.crosses-two", "w: %s", access_text('w', B + 0xffc, 8));
    window_clear();

    // Armed again, by protect and by commit.
    window_new();
    words_run("rc16 p1=rw+g");
    access_try('r', B);
    words_run("p1=rw+g");
    say("guard.armed-again-by-protect", "r: %s", access_text('r', B, 1));
    words_run("c1=rw+g");
    say("guard.armed-again-by-commit", "r: %s", access_text('r', B, 1));
    window_clear();

    // The record of the exception.
    window_new();
    words_run("rc16 p1=rw+g");
    access_try('w', B + 0x123);
    say("guard.record", "code 0x%lx flags %lu parameters %lu kind %llu address %s, address of the instruction: %s", (unsigned long)hits[0].code,
        (unsigned long)hits[0].flags, (unsigned long)hits[0].count, (U64)hits[0].kind, where_name((void *)hits[0].address), yes(hits[0].at_instruction));
    window_clear();

    // Contents stay under the guard.
    window_new();
    words_run("rc16 w1 p1=rw+g");
    access_try('r', B);
    say("guard.contents-stay", "byte %02x", (unsigned)(unsigned char)B[0]);
    window_clear();

    // VirtualLock meets the guard instead of us.
    row_begin("guard.lock", "rc16 p1@1=rw+g");
    mark_error();
    BOOL ok = VirtualLock(B, 4 * PG);
    DWORD error = GetLastError();
    printf("VirtualLock over an armed page | %s | %s | - ", ok ? "TRUE" : "FALSE", error_name(error));
    row_end(0);
    row_begin("guard.lock-second-time", "rc16 p1@1=rw+g");
    VirtualLock(B, 4 * PG);
    mark_error();
    ok = VirtualLock(B, 4 * PG);
    error = GetLastError();
    printf("and once more | %s | %s | - ", ok ? "TRUE" : "FALSE", error_name(error));
    row_end(0);

    // An out pointer under a guard: the call fails once, and the guard is gone.
    row_begin("guard.out-pointer", "rc16 p1@1=rw+g");
    mark_error();
    ok = VirtualProtect(B + 4 * PG, PG, PAGE_READONLY, (DWORD *)(B + PG));
    error = GetLastError();
    printf("VirtualProtect with an armed out pointer | %s | %s | - ", ok ? "TRUE" : "FALSE", error_name(error));
    row_end(0);

    // Asking disarms nothing.
    row_begin("guard.query-keeps-it", "rc16 p1=rw+g");
    MEMORY_BASIC_INFORMATION m;
    for (int i = 0; i < 10; i++)
        VirtualQuery(B, &m, sizeof m);
    printf("VirtualQuery ten times | then r: %s | - ", access_text('r', B, 1));
    row_end(0);

    // The handler may touch the page: GUARD is off before it runs. And write watch sees the write, not the attempt.
    window_new();
    char *p = VirtualAlloc(B, GR, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    DWORD old, granularity;
    void *pages[16];
    ULONG_PTR n = 16;
    VirtualProtect(p, PG, PAGE_READONLY | PAGE_GUARD, &old);
    access_try('w', p);
    GetWriteWatch(0, p, GR, pages, &n, &granularity);
    say("guard.stopped-write-not-recorded", "after a write stopped by guard and protection: %llu pages", (U64)n);
    VirtualProtect(p, PG, PAGE_READWRITE | PAGE_GUARD, &old);
    access_try('w', p);
    n = 16;
    GetWriteWatch(0, p, GR, pages, &n, &granularity);
    say("guard.retried-write-recorded", "after the write was tried again: %llu pages", (U64)n);
    window_clear();
    return 0;
}
