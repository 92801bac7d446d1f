// InitializeProcessForWsWatch and GetWsChanges(Ex): which pages came in since the last question.
#include "conform.h"

int main(void) {
    begin();
    HANDLE me = GetCurrentProcess();
    static PSAPI_WS_WATCH_INFORMATION changes[4096];
    static PSAPI_WS_WATCH_INFORMATION_EX more[4096];
    memset(changes, 0, sizeof changes);
    mark_error();
    BOOL ok = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.before-initialize", "%s", ok ? "TRUE" : "FALSE");
    mark_error();
    ok = InitializeProcessForWsWatch(me);
    say("ws-watch.initialize", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    window_new();
    words_run("rc16");
    GetWsChanges(me, changes, sizeof changes);
    memset(changes, 0, sizeof changes);
    words_run("w4@3");
    ok = GetWsChanges(me, changes, sizeof changes);
    int found = 0;
    for (int i = 0; ok && i < 4096 && changes[i].FaultingPc; i++) {
        U64 page = (U64)(uintptr_t)changes[i].FaultingVa & ~(U64)0xfff;
        found += page >= (U64)(uintptr_t)B + 3 * PG && page < (U64)(uintptr_t)B + 7 * PG;
    }
    say("ws-watch.touched-pages-are-listed", "%s | %d of 4", ok ? "TRUE" : "FALSE", found);
    words_run("w2@9");
#ifdef __MINGW32__
    // Its header takes the size for a number.
    ok = FALSE;
    (void)more;
#else
    DWORD size = sizeof more;
    ok = GetWsChangesEx(me, more, &size);
#endif
    found = 0;
    for (int i = 0; ok && i < 4096 && more[i].BasicInfo.FaultingPc; i++) {
        U64 page = (U64)(uintptr_t)more[i].BasicInfo.FaultingVa & ~(U64)0xfff;
        found += page >= (U64)(uintptr_t)B + 9 * PG && page < (U64)(uintptr_t)B + 11 * PG;
    }
    say("ws-watch.ex", "%s | %d of 2", ok ? "TRUE" : "FALSE", found);
    window_clear();
    return 0;
}
