// What a read, a write and a call do under every protection: nothing, or the right exception with the right address.
#include "faults.h"

struct state {
    const char *id, *setup;
    SIZE_T offset;
};

static const struct state states[] = {
    {"access.free", "", 0x123},
    {"access.reserved", "r16", 0x123},
    {"access.reserved-readwrite", "r16=rw", 0x123},
    {"access.decommitted", "rc16 w1 d1", 0x123},
    {"access.released", "rc16 w1 f16", 0x123},
    {"access.noaccess", "rc16 p1=na", 0x123},
    {"access.readonly", "rc16 p1=ro", 0x123},
    {"access.readonly-untouched-commit", "r16 c1=ro", 0xfff},
    {"access.readwrite", "rc16", 0x123},
    {"access.readwrite-last-byte", "rc16", 0xffff},
    {"access.behind-the-end", "rc3", 0x3000},
    {"access.readwrite-nocache", "rc16=rw+nc", 0x123},
};

static const struct state executable[] = {
    {"access.readonly-code", "p1=ro", 0},
    {"access.readwrite-code", "p1=rw", 0},
    {"access.execute", "p1=x", 0},
    {"access.execute-read", "p1=xr", 0},
    {"access.execute-readwrite", "p1=xrw", 0},
    {"access.noaccess-code", "p1=na", 0},
};

int main(void) {
    begin();
    faults_begin();
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        const struct state *state = &states[i];
        printf("%s | %s |", state->id, *state->setup ? state->setup : "-");
        for (const char *kind = "rw"; *kind; kind++) {
            window_new();
            words_run(state->setup);
            printf(" %c: %s,", *kind, access_text(*kind, B + state->offset, 1));
            window_clear();
        }
        printf("\n");
    }
    // A page with code in it, under each protection: called, read, written.
    for (size_t i = 0; i < sizeof executable / sizeof *executable; i++) {
        const struct state *state = &executable[i];
        printf("%s | rc16, code, %s |", state->id, state->setup);
        for (const char *kind = "rwx"; *kind; kind++) {
            window_new();
            words_run("rc16");
            memcpy(B, code_42, sizeof code_42);
            words_run(state->setup);
            printf(" %c: %s,", *kind, access_text(*kind, B, 1));
            window_clear();
        }
        printf("\n");
    }
    // Calls into what is not there.
    static const struct state nowhere[] = {{"access.free-call", "", 0x10}, {"access.reserved-call", "r16", 0x10}, {"access.noaccess-call", "rc16 p16=na", 0x10}};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        window_new();
        words_run(nowhere[i].setup);
        say(nowhere[i].id, "x: %s", access_text('x', B + nowhere[i].offset, 1));
        window_clear();
    }
    // Eight bytes across a boundary: the first byte of the bad page is named.
    window_new();
    words_run("rc16 p1@1=na");
    say("access.crosses-into-noaccess", "r: %s", access_text('r', B + 0xffc, 8));
    say("access.crosses-into-noaccess-write", "w: %s", access_text('w', B + 0xffc, 8));
    say("access.crosses-out-of-noaccess", "r: %s", access_text('r', B + 0x1ffc, 8));
    window_clear();
    window_new();
    words_run("rc16 w2 p1@1=ro");
    say("access.crosses-into-readonly", "w: %s", access_text('w', B + 0xffc, 8));
    window_clear();
    // NULL and its neighbourhood, and an address that no x86-64 has.
    say("access.null", "r: %s", access_text('r', NULL, 1));
    say("access.null-write", "w: %s", access_text('w', NULL, 1));
    say("access.null-page", "r: %s", access_text('r', (void *)0xfff8, 1));
    say("access.non-canonical", "r: %s", access_text('r', (void *)0x8000000000000000, 1));
    say("access.non-canonical-write", "w: %s", access_text('w', (void *)0x8000000000000000, 1));
    return 0;
}
