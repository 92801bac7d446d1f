// Handles: what they look like, duplicates and their rights, closing, waiting.
#include "late.h"

static void row(const char *id, int ok, DWORD error, const char *more) { say(id, "%s | %s%s%s", ok ? "TRUE" : "FALSE", error_name(error), *more ? " | " : "", more); }

#define CALL(id, call, more)                                                                                                                                                       \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        int ok_ = (call) != 0;                                                                                                                                                     \
        DWORD error_ = GetLastError();                                                                                                                                             \
        row(id, ok_, error_, more);                                                                                                                                                \
    } while (0)

#define WAIT(id, call)                                                                                                                                                             \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        DWORD answer_ = (call);                                                                                                                                                    \
        DWORD error_ = GetLastError();                                                                                                                                             \
        say(id, "0x%lx | %s", (unsigned long)answer_, error_name(error_));                                                                                                         \
    } while (0)

int main(void) {
    begin();
    HANDLE me = GetCurrentProcess(), high = CreateMemoryResourceNotification(HighMemoryResourceNotification),
           low = CreateMemoryResourceNotification(LowMemoryResourceNotification), copy = NULL, other = NULL;
    BOOL state = 7;
    MEMORY_BASIC_INFORMATION m;
    char *p;

    say("handle.multiple-of-4", "%s, %s", yes((uintptr_t)high % 4 == 0), yes((uintptr_t)low % 4 == 0));
    say("handle.not-null", "%s", yes(high && low && high != INVALID_HANDLE_VALUE));
    CALL("handle.low-bits-do-not-count", QueryMemoryResourceNotification((HANDLE)((uintptr_t)high | 3), &state), yes(state == 0 || state == 1));
    CALL("handle.query-null", QueryMemoryResourceNotification(NULL, &state), "");
    CALL("handle.query-of-process", QueryMemoryResourceNotification(me, &state), "");

    // Duplicates.
    CALL("handle.duplicate", DuplicateHandle(me, high, me, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS), yes(copy && copy != high));
    CALL("handle.same-object", CompareObjectHandles(high, copy), "");
    CALL("handle.not-the-same-object", CompareObjectHandles(high, low), "");
    CALL("handle.close-the-first", CloseHandle(high), "");
    CALL("handle.the-copy-lives", QueryMemoryResourceNotification(copy, &state), "");
    CALL("handle.closed-is-closed", QueryMemoryResourceNotification(high, &state), "");
    CALL("handle.close-twice", CloseHandle(high), "");
    CALL("handle.duplicate-and-close", DuplicateHandle(me, copy, me, &high, 0, FALSE, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE), yes(high != NULL));
    CALL("handle.duplicate-closed-its-source", CompareObjectHandles(copy, high), "");
    CALL("handle.duplicate-of-nothing", DuplicateHandle(me, (HANDLE)(uintptr_t)0xdead0, me, &other, 0, FALSE, DUPLICATE_SAME_ACCESS), "");
    CALL("handle.duplicate-null", DuplicateHandle(me, NULL, me, &other, 0, FALSE, DUPLICATE_SAME_ACCESS), "");
    CALL("handle.duplicate-bad-process", DuplicateHandle(NULL, high, me, &other, 0, FALSE, DUPLICATE_SAME_ACCESS), "");
    CALL("handle.duplicate-bad-target-process", DuplicateHandle(me, high, NULL, &other, 0, FALSE, DUPLICATE_SAME_ACCESS), "");

    // The process: its pseudo handle becomes a real one, with the rights that are asked for.
    CALL("handle.close-pseudo", CloseHandle(me), "");
    CALL("handle.pseudo-still-works", VirtualQueryEx(me, &state, &m, sizeof m), "");
    CALL("handle.duplicate-of-process", DuplicateHandle(me, me, me, &other, 0, FALSE, DUPLICATE_SAME_ACCESS), yes(other && other != me));
    CALL("handle.process-queries", VirtualQueryEx(other, &state, &m, sizeof m), "");
    CALL("handle.process-allocates", p = VirtualAllocEx(other, NULL, GR, MEM_RESERVE, PAGE_NOACCESS), "");
    CALL("handle.process-frees", VirtualFreeEx(other, p, 0, MEM_RELEASE), "");
    CALL("handle.process-closes", CloseHandle(other), "");
    CALL("handle.process-closed", VirtualAllocEx(other, NULL, GR, MEM_RESERVE, PAGE_NOACCESS), "");
    DuplicateHandle(me, me, me, &other, PROCESS_QUERY_INFORMATION, FALSE, 0);
    CALL("handle.process-may-query", VirtualQueryEx(other, &state, &m, sizeof m), "");
    CALL("handle.process-may-not-allocate", VirtualAllocEx(other, NULL, GR, MEM_RESERVE, PAGE_NOACCESS), "");
    CALL("handle.process-may-not-set", SetProcessWorkingSetSize(other, (SIZE_T)-1, (SIZE_T)-1), "");
    CloseHandle(other);
    DuplicateHandle(me, me, me, &other, PROCESS_VM_OPERATION, FALSE, 0);
    CALL("handle.process-may-not-query", VirtualQueryEx(other, &state, &m, sizeof m), "");
    CALL("handle.process-may-not-look", EmptyWorkingSet(other), "");
    CloseHandle(other);
    CALL("handle.notification-is-no-process", VirtualQueryEx(high, &state, &m, sizeof m), "");

    // Waiting.
    say("wait.sizes", "%lu %lu", (unsigned long)INFINITE & 1, (unsigned long)MAXIMUM_WAIT_OBJECTS);
    WAIT("wait.null", WaitForSingleObject(NULL, 0));
    WAIT("wait.closed", WaitForSingleObject(other, 0));
    WAIT("wait.process", WaitForSingleObject(me, 0));
    WAIT("wait.process-a-while", WaitForSingleObject(me, 30));
    HANDLE pair[2] = {low, high}, twice[2] = {high, high}, many[65];
    // This machine has memory, or little: either way one of the two may be signalled, never both.
    BOOL is_low = 0, is_high = 0;
    QueryMemoryResourceNotification(low, &is_low);
    QueryMemoryResourceNotification(high, &is_high);
    DWORD answer = WaitForSingleObject(high, 0);
    say("wait.agrees-with-query", "%s, not both: %s", yes(answer == (is_high ? WAIT_OBJECT_0 : WAIT_TIMEOUT)), yes(!(is_low && is_high)));
    answer = WaitForSingleObject(low, 0);
    say("wait.low-agrees-with-query", "%s", yes(answer == (is_low ? WAIT_OBJECT_0 : WAIT_TIMEOUT)));
    WAIT("wait.ex", WaitForSingleObjectEx(me, 0, TRUE));
    answer = WaitForMultipleObjects(2, pair, FALSE, 0);
    say("wait.any", "%s", yes(answer == (is_low ? WAIT_OBJECT_0 : is_high ? WAIT_OBJECT_0 + 1 : WAIT_TIMEOUT)));
    WAIT("wait.all", WaitForMultipleObjects(2, pair, TRUE, 0));
    WAIT("wait.all-twice-the-same", WaitForMultipleObjects(2, twice, TRUE, 0));
    for (int i = 0; i < 65; i++)
        many[i] = high;
    WAIT("wait.none", WaitForMultipleObjects(0, pair, FALSE, 0));
    WAIT("wait.too-many", WaitForMultipleObjects(65, many, FALSE, 0));
    pair[1] = NULL;
    WAIT("wait.one-is-bad", WaitForMultipleObjects(2, pair, FALSE, 0));
    // What is so ends every wait at once.
    HANDLE so = is_high ? high : is_low ? low : NULL;
    say("wait.for-what-is-so", "%s", yes(!so || WaitForSingleObject(so, INFINITE) == WAIT_OBJECT_0));
    return 0;
}
