// Vectored handlers, what they are told, how they may go on, and the ways out.
#include "conform.h"

#include <setjmp.h>

#ifdef __MINGW32__
// Without the frame that asks for unwinding: the jump out of a handler is what is meant here.
#define jump_set(buffer) _setjmp((buffer), NULL)
#else
#define jump_set(buffer) setjmp(buffer)
#endif

static int order[16], order_count;
static LONG answer_of[4];

static LONG note(int who) {
    if (order_count < 16)
        order[order_count++] = who;
    return answer_of[who];
}

static char *area;
static DWORD seen_code, seen_flags, seen_count;
static ULONG_PTR seen_kind, seen_address;
static int seen_ip;

static LONG CALLBACK commits(PEXCEPTION_POINTERS info) {
    EXCEPTION_RECORD *record = info->ExceptionRecord;
    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    seen_code = record->ExceptionCode;
    seen_flags = record->ExceptionFlags;
    seen_count = record->NumberParameters;
    seen_kind = record->ExceptionInformation[0];
    seen_address = record->ExceptionInformation[1];
    seen_ip = (ULONG_PTR)record->ExceptionAddress == (ULONG_PTR)info->ContextRecord->Rip;
    if (seen_address < (ULONG_PTR)area || seen_address >= (ULONG_PTR)area + 0x100000)
        return EXCEPTION_CONTINUE_SEARCH;
    return VirtualAlloc((void *)seen_address, 1, MEM_COMMIT, PAGE_READWRITE) ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

static LONG CALLBACK first(PEXCEPTION_POINTERS info) {
    (void)info;
    return note(0);
}
static LONG CALLBACK second(PEXCEPTION_POINTERS info) {
    (void)info;
    return note(1);
}
static LONG CALLBACK third(PEXCEPTION_POINTERS info) {
    (void)info;
    return note(2);
}

static void commit_and_go_on(void) {
    area = VirtualAlloc(NULL, 0x100000, MEM_RESERVE, PAGE_NOACCESS);
    void *handle = AddVectoredExceptionHandler(1, commits);
    area[0x12345] = 7;
    say("exceptions.commit-and-go-on", "code 0x%lx flags %lu parameters %lu kind %llu offset 0x%llx, at the instruction: %s, byte %d", (unsigned long)seen_code,
        (unsigned long)seen_flags, (unsigned long)seen_count, (U64)seen_kind, (U64)(seen_address - (ULONG_PTR)area), yes(seen_ip), area[0x12345]);
    volatile char *read = area;
    int value = read[0x54321];
    say("exceptions.commit-on-read", "kind %llu offset 0x%llx, byte %d", (U64)seen_kind, (U64)(seen_address - (ULONG_PTR)area), value);
    int sum = 0;
    for (SIZE_T i = 0; i < 0x100; i++)
        area[i * PG + 5] = (char)i;
    for (SIZE_T i = 0; i < 0x100; i++)
        sum += (unsigned char)area[i * PG + 5];
    say("exceptions.commit-every-page", "sum %d", sum);
    SetLastError(4711);
    VirtualFree(area, 0, MEM_DECOMMIT);
    area[0x3000] = 1;
    say("exceptions.last-error-kept", "%lu", (unsigned long)GetLastError());
    ULONG once = RemoveVectoredExceptionHandler(handle), twice = RemoveVectoredExceptionHandler(handle);
    say("exceptions.remove", "%s, then %s", once ? "TRUE" : "FALSE", twice ? "TRUE" : "FALSE");
    VirtualFree(area, 0, MEM_RELEASE);
}

static jmp_buf out;
static int jumps, jumping;

static LONG CALLBACK jumper(PEXCEPTION_POINTERS info) {
    // A handler that was left by a jump may stay in the list for ever: it must know itself when it is over.
    if (jumping && info->ExceptionRecord->ExceptionCode == EXCEPTION_ACCESS_VIOLATION) {
        jumps++;
        longjmp(out, (int)info->ExceptionRecord->ExceptionInformation[0] + 100);
    }
    return EXCEPTION_CONTINUE_SEARCH;
}

/// What __try and __except do around a block: a jump out of the handler. Also a thousand times in a row.
static void jump_out(void) {
    // A static: what a local holds after a jump nobody promises.
    area = VirtualAlloc(NULL, GR, MEM_RESERVE, PAGE_NOACCESS);
    AddVectoredExceptionHandler(1, jumper);
    jumping = 1;
    int how = jump_set(out);
    if (!how)
        *(volatile char *)area = 1;
    say("exceptions.longjmp", "came back with %d", how);
    for (volatile int i = 0; i < 1000; i++)
        if (!jump_set(out))
            (void)*(volatile char *)(area + 8 * i);
    say("exceptions.longjmp-a-thousand-times", "%d jumps", jumps);
    area = VirtualAlloc(area, GR, MEM_COMMIT, PAGE_READWRITE);
    area[0] = 1;
    say("exceptions.works-after-longjmp", "byte %d", area[0]);
    jumping = 0;
    VirtualFree(area, 0, MEM_RELEASE);
}

/// Handlers in the order of the list: FIRST puts in front, 0 behind; "continue execution" ends the search.
static void handler_order(void) {
    static const struct {
        const char *id;
        ULONG where[3];
        LONG answers[3];
    } rows[] = {
        {"exceptions.order-behind", {0, 0, 0}, {0, 0, -1}},
        {"exceptions.order-in-front", {1, 1, 1}, {-1, 0, 0}},
        {"exceptions.order-mixed", {0, 1, 0}, {0, 0, -1}},
        {"exceptions.search-ends", {0, 0, 0}, {0, -1, -1}},
        {"exceptions.first-answers", {0, 0, 0}, {-1, -1, -1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *handles[3];
        static LONG(CALLBACK * const handlers[3])(PEXCEPTION_POINTERS) = {first, second, third};
        for (int k = 0; k < 3; k++) {
            handles[k] = AddVectoredExceptionHandler(rows[i].where[k], handlers[k]);
            answer_of[k] = rows[i].answers[k];
        }
        order_count = 0;
        RaiseException(0x1234, 0, 0, NULL);
        printf("%s |", rows[i].id);
        for (int k = 0; k < order_count; k++)
            printf(" %d", order[k] + 1);
        printf("\n");
        for (int k = 0; k < 3; k++)
            RemoveVectoredExceptionHandler(handles[k]);
    }
}

static EXCEPTION_RECORD raised;

static LONG CALLBACK keeps_record(PEXCEPTION_POINTERS info) {
    raised = *info->ExceptionRecord;
    return EXCEPTION_CONTINUE_EXECUTION;
}

/// RaiseException: the record as given; more than 15 parameters are cut.
static void raise_one(const char *id, DWORD code, DWORD flags, DWORD count, int with_arguments) {
    ULONG_PTR arguments[20];
    for (ULONG_PTR i = 0; i < 20; i++)
        arguments[i] = 100 + i;
    void *handle = AddVectoredExceptionHandler(1, keeps_record);
    RaiseException(code, flags, count, with_arguments ? arguments : NULL);
    RemoveVectoredExceptionHandler(handle);
    printf("%s | code 0x%lx flags %lu parameters %lu:", id, (unsigned long)raised.ExceptionCode, (unsigned long)raised.ExceptionFlags, (unsigned long)raised.NumberParameters);
    for (DWORD i = 0; i < raised.NumberParameters && i < 15; i++)
        printf(" %llu", (U64)raised.ExceptionInformation[i]);
    printf("\n");
}

static char *inner;

/// A handler that itself faults, allocates and frees: no lock is held while it runs.
static LONG CALLBACK busy(PEXCEPTION_POINTERS info) {
    ULONG_PTR at = info->ExceptionRecord->ExceptionInformation[1];
    if (info->ExceptionRecord->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    if (at >= (ULONG_PTR)inner && at < (ULONG_PTR)inner + GR) {
        VirtualAlloc((void *)at, 1, MEM_COMMIT, PAGE_READWRITE);
        return EXCEPTION_CONTINUE_EXECUTION;
    }
    order_count++;
    inner[5 * PG] = 9; // faults inside the handler
    char *q = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    char *heap = malloc(100000);
    memset(heap, 1, 100000);
    memset(q, heap[5], GR);
    free(heap);
    VirtualFree(q, 0, MEM_RELEASE);
    VirtualAlloc((void *)at, 1, MEM_COMMIT, PAGE_READWRITE);
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void busy_handler(void) {
    area = VirtualAlloc(NULL, GR, MEM_RESERVE, PAGE_NOACCESS);
    inner = VirtualAlloc(NULL, GR, MEM_RESERVE, PAGE_NOACCESS);
    void *handle = AddVectoredExceptionHandler(1, busy);
    order_count = 0;
    area[0] = 1;
    say("exceptions.handler-may-fault-and-allocate", "outer %d, inner byte %d, byte %d", order_count, inner[5 * PG], area[0]);
    RemoveVectoredExceptionHandler(handle);
    VirtualFree(area, 0, MEM_RELEASE);
    VirtualFree(inner, 0, MEM_RELEASE);
}

static int last_resort_count;
static LONG WINAPI last_resort(PEXCEPTION_POINTERS info) {
    ULONG_PTR at = info->ExceptionRecord->ExceptionInformation[1];
    last_resort_count++;
    if (last_resort_count < 3 && VirtualAlloc((void *)at, 1, MEM_COMMIT, PAGE_READWRITE))
        return EXCEPTION_CONTINUE_EXECUTION;
    return EXCEPTION_CONTINUE_SEARCH;
}

static void unhandled(void) {
    char *p = VirtualAlloc(NULL, GR, MEM_RESERVE, PAGE_NOACCESS);
    LPTOP_LEVEL_EXCEPTION_FILTER before = SetUnhandledExceptionFilter(last_resort);
    p[3 * PG] = 5;
    say("exceptions.unhandled-filter", "called %d times, byte %d", last_resort_count, p[3 * PG]);
    say("exceptions.unhandled-filter-returned", "%s", yes(SetUnhandledExceptionFilter(before) == last_resort));
    VirtualFree(p, 0, MEM_RELEASE);
}

/// Registers as the instruction left them, and changes to them are taken over.
static LONG CALLBACK skips(PEXCEPTION_POINTERS info) {
    if (info->ExceptionRecord->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    info->ContextRecord->Rip += 3; // mov rax, [rcx]
    info->ContextRecord->Rax = info->ContextRecord->Rdx + 1;
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void context_changed(void) {
    void *handle = AddVectoredExceptionHandler(1, skips);
    uint64_t result = 0;
    __asm__ volatile("xor %%ecx, %%ecx\n\tmovq $41, %%rdx\n\tmovq $0, %%rax\n\t.byte 0x48, 0x8b, 0x01" : "=a"(result) : : "rcx", "rdx", "memory");
    say("exceptions.context-may-be-changed", "rax %llu", (U64)result);
    RemoveVectoredExceptionHandler(handle);
}

int main(void) {
    begin();
    commit_and_go_on();
    jump_out();
    handler_order();
    raise_one("exceptions.raise-plain", 0xE0000001, 0, 0, 0);
    raise_one("exceptions.raise-three", 0xE0000002, 0, 3, 1);
    raise_one("exceptions.raise-fifteen", 0xE0000003, 0, 15, 1);
    raise_one("exceptions.raise-twenty-are-cut", 0xE0000004, 0, 20, 1);
    raise_one("exceptions.raise-null-arguments", 0xE0000005, 0, 4, 0);
    busy_handler();
    unhandled();
    context_changed();
    return 0;
}
