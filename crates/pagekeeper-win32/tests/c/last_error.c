// The last error: left alone by success, written by failure; other processes' handles.
#include "conform.h"

#define KEPT(id, call)                                                                                                                                                             \
    do {                                                                                                                                                                           \
        SetLastError(4711);                                                                                                                                                        \
        long long result_ = (long long)(call);                                                                                                                                     \
        say("last-error." id, "succeeded: %s | %lu", yes(result_ != 0), (unsigned long)GetLastError());                                                                            \
    } while (0)

#define FAILS(id, call)                                                                                                                                                            \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        long long result_ = (long long)(call);                                                                                                                                     \
        say(id, "%s | %s", result_ ? "succeeded" : "failed", error_name(GetLastError()));                                                                                          \
    } while (0)

int main(void) {
    begin();
    HANDLE me = GetCurrentProcess();
    char *p;
    DWORD old;
    MEMORY_BASIC_INFORMATION m;
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    SIZE_T low, high;
    KEPT("reserve", p = VirtualAlloc(NULL, GR, MEM_RESERVE, PAGE_NOACCESS));
    KEPT("commit", VirtualAlloc(p, GR, MEM_COMMIT, PAGE_READWRITE));
    KEPT("protect", VirtualProtect(p, PG, PAGE_READONLY, &old));
    KEPT("query", VirtualQuery(p, &m, sizeof m));
    KEPT("lock", VirtualLock(p, PG));
    KEPT("unlock", VirtualUnlock(p, PG));
    KEPT("reset", VirtualAlloc(p + PG, PG, MEM_RESET, PAGE_READWRITE));
    KEPT("decommit", VirtualFree(p, PG, MEM_DECOMMIT));
    KEPT("release", VirtualFree(p, 0, MEM_RELEASE));
    KEPT("status", GlobalMemoryStatusEx(&status));
    KEPT("working-set", GetProcessWorkingSetSize(me, &low, &high));
    KEPT("empty", EmptyWorkingSet(me));
    SetLastError(0xffffffff);
    say("last-error.any-value", "0x%lx", (unsigned long)GetLastError());
    say("last-error.get-twice", "0x%lx", (unsigned long)GetLastError());

    // The calls with a process: the own pseudo handle works, nonsense is 6.
    say("process.pseudo-handle", "%s", yes(me == (HANDLE)(intptr_t)-1));
    FAILS("process.alloc-own", p = VirtualAllocEx(me, NULL, GR, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
    FAILS("process.protect-own", VirtualProtectEx(me, p, PG, PAGE_READONLY, &old));
    FAILS("process.query-own", VirtualQueryEx(me, p, &m, sizeof m));
    FAILS("process.alloc-null", VirtualAllocEx(NULL, NULL, GR, MEM_RESERVE, PAGE_READWRITE));
    FAILS("process.alloc-nonsense", VirtualAllocEx((HANDLE)(uintptr_t)0xdeadbee0, NULL, GR, MEM_RESERVE, PAGE_READWRITE));
    FAILS("process.free-null", VirtualFreeEx(NULL, p, 0, MEM_RELEASE));
    FAILS("process.free-nonsense", VirtualFreeEx((HANDLE)(uintptr_t)0xdeadbee0, p, 0, MEM_RELEASE));
    FAILS("process.protect-null", VirtualProtectEx(NULL, p, PG, PAGE_READONLY, &old));
    FAILS("process.query-null", VirtualQueryEx(NULL, p, &m, sizeof m));
    FAILS("process.working-set-null", GetProcessWorkingSetSize(NULL, &low, &high));
    FAILS("process.query-working-set-null", QueryWorkingSetEx(NULL, &m, 16));
    FAILS("process.free-own", VirtualFreeEx(me, p, 0, MEM_RELEASE));
    // Flags are looked at before the handle is.
    FAILS("process.bad-flags-before-handle", VirtualAllocEx(NULL, NULL, GR, 0, PAGE_READWRITE));
    FAILS("process.bad-type-before-handle", VirtualFreeEx(NULL, NULL, 0, 0));
    return 0;
}
