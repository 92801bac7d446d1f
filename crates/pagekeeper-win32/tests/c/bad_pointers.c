// IsBadReadPtr and its family: an answer, never a fault that anybody sees.
#include "conform.h"

struct bad_row {
    const char *id, *setup;
    U64 where, size;
    int absolute;
};

static const struct bad_row rows[] = {
    {"bad-pointer.readwrite", "rc16", 0, 0x10000, 0},
    {"bad-pointer.readonly", "rc16 p16=ro", 0, 0x10000, 0},
    {"bad-pointer.noaccess", "rc16 p16=na", 0, 1, 0},
    {"bad-pointer.reserved", "r16", 0, 1, 0},
    {"bad-pointer.free", "", 0, 1, 0},
    {"bad-pointer.null", "", 0, 1, 1},
    {"bad-pointer.null-size-zero", "", 0, 0, 1},
    {"bad-pointer.reserved-size-zero", "r16", 0, 0, 0},
    {"bad-pointer.runs-into-reserved", "r16 c4", 0x3fff, 2, 0},
    {"bad-pointer.up-to-reserved", "r16 c4", 0x3fff, 1, 0},
    {"bad-pointer.hole-in-the-middle", "rc16 d1@5", 0, 0x10000, 0},
    {"bad-pointer.kernel-half", "", 0xffff800000000000, 1, 1},
    {"bad-pointer.wraps", "rc16", 0, 0xffffffffffffffff, 0},
    {"bad-pointer.execute", "rc16 p16=xr", 0, 16, 0},
};

int main(void) {
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct bad_row *row = &rows[i];
        row_begin(row->id, row->setup);
        char *at = row->absolute ? (char *)(uintptr_t)row->where : B + row->where;
        printf("bad to read: %s, to write: %s", yes(IsBadReadPtr(at, row->size)), yes(IsBadWritePtr(at, row->size)));
        if (row->size)
            printf(", to call: %s", yes(IsBadCodePtr((FARPROC)(uintptr_t)at)));
        printf("\n");
        window_clear();
    }
    window_new();
    words_run("rc16 w16 d1@1");
    memset(B, 'a', PG);
    say("bad-pointer.string-without-end", "%s", yes(IsBadStringPtrA(B, 0x10000)));
    say("bad-pointer.string-longer-than-asked", "%s", yes(IsBadStringPtrA(B, 0x1000)));
    B[0xfff] = 0;
    say("bad-pointer.string-with-end", "%s", yes(IsBadStringPtrA(B, 0x10000)));
    say("bad-pointer.write-writes-nothing", "%s %02x", yes(IsBadWritePtr(B + 2 * PG, PG)), (unsigned)(unsigned char)B[2 * PG]);
    window_clear();
    return 0;
}
