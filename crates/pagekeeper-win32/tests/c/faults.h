// Accesses that may fault, for the conformance programs: what was raised is recorded and printed, never a crash.
//
// A guard violation is answered by "go on" (the instruction is tried again), an access violation by a jump out of the handler. The
// jump is the compiler's own, which does not unwind: exceptions.c has rows for the C library's longjmp.
#ifndef FAULTS_H
#define FAULTS_H

#include "conform.h"

struct hit {
    DWORD code, flags, count;
    ULONG_PTR kind, address, status;
    int at_instruction;
};

static struct hit hits[8];
static volatile int hit_count;
static void *volatile fault_exit[5];

static LONG CALLBACK fault_handler(PEXCEPTION_POINTERS info) {
    const EXCEPTION_RECORD *record = info->ExceptionRecord;
    if (hit_count < 8) {
        struct hit *hit = &hits[hit_count];
        hit->code = record->ExceptionCode;
        hit->flags = record->ExceptionFlags;
        hit->count = record->NumberParameters;
        hit->kind = record->ExceptionInformation[0];
        hit->address = record->ExceptionInformation[1];
        hit->status = record->NumberParameters > 2 ? record->ExceptionInformation[2] : 0;
        hit->at_instruction = (ULONG_PTR)record->ExceptionAddress == (ULONG_PTR)info->ContextRecord->Rip;
    }
    hit_count++;
    if (record->ExceptionCode == EXCEPTION_GUARD_PAGE)
        return EXCEPTION_CONTINUE_EXECUTION;
    if (record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION || record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR)
        __builtin_longjmp((void **)fault_exit, 1);
    return EXCEPTION_CONTINUE_SEARCH;
}

typedef int (*code_at)(void);

__attribute__((noinline)) static int access_do(char kind, volatile char *p, size_t size) {
    switch (kind) {
    case 'r':
        return size == 8 ? (int)*(volatile uint64_t *)p : (int)*p;
    case 'w':
        if (size == 8)
            *(volatile uint64_t *)p = 0x1122334455667788u;
        else
            *p = 0x77;
        return 0;
    default: {
        code_at code;
        memcpy(&code, &p, sizeof code);
        return code();
    }
    }
}

/// Reads ('r'), writes ('w') or calls ('x') `p`; afterwards `hits` says what was raised. TRUE when the access came to its end.
__attribute__((noinline)) static int access_sized(char kind, void *p, size_t size) {
    hit_count = 0;
    if (__builtin_setjmp((void **)fault_exit))
        return 0;
    access_do(kind, (volatile char *)p, size);
    return 1;
}

static inline int access_try(char kind, void *p) { return access_sized(kind, p, 1); }

/// "ok", or what was raised: "av w B+0x1000", "guard r B+0x0, ok".
static inline const char *access_text(char kind, void *p, size_t size) {
    static char out[256];
    int done = access_sized(kind, p, size);
    out[0] = 0;
    for (int i = 0; i < hit_count && i < 8; i++) {
        const struct hit *hit = &hits[i];
        const char *code = hit->code == EXCEPTION_ACCESS_VIOLATION ? "av" : hit->code == EXCEPTION_GUARD_PAGE ? "guard" : hit->code == EXCEPTION_IN_PAGE_ERROR ? "in-page" : "?";
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s %llu %s, ", code, (U64)hit->kind, where_name((void *)hit->address));
    }
    if (done)
        strcat(out, "ok");
    else if (*out)
        out[strlen(out) - 2] = 0;
    return out;
}

static inline void faults_begin(void) { AddVectoredExceptionHandler(1, fault_handler); }

/// `mov eax, 42; ret`
static const unsigned char code_42[6] = {0xb8, 42, 0, 0, 0, 0xc3};

#endif
