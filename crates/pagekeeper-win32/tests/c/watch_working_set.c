// InitializeProcessForWsWatch and GetWsChanges(Ex): which pages came in since the last question.
#include "conform.h"

#ifndef __MINGW32__
#include <sys/prctl.h>
#endif

#define COUNT 40000

static PSAPI_WS_WATCH_INFORMATION changes[COUNT];
static PSAPI_WS_WATCH_INFORMATION_EX more[COUNT];

#ifdef __MINGW32__
// Its header takes the size for a number.
#define changes_ex(size) (SetLastError(0), (void)(size), FALSE)
#else
#define changes_ex(size) GetWsChangesEx(GetCurrentProcess(), more, size)
#endif

/// How many of the listed pages are among `count` from `first` on; only the address of a page counts, its low bits say more.
static int listed(int extended, int first, int count) {
    static unsigned char seen[256];
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < COUNT; i++) {
        PSAPI_WS_WATCH_INFORMATION *it = extended ? &more[i].BasicInfo : &changes[i];
        if (!it->FaultingPc)
            break;
        U64 page = ((U64)(uintptr_t)it->FaultingVa - (U64)(uintptr_t)B) / PG;
        if (page >= (U64)first && page < (U64)first + (U64)count)
            seen[page] = 1;
    }
    int found = 0;
    for (int i = 0; i < 256; i++)
        found += seen[i];
    return found;
}

int main(void) {
    begin();
#ifndef __MINGW32__
    // The kernel may put pages together into a huge one at any moment: those come in without a fault.
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
#endif
    HANDLE me = GetCurrentProcess();
    // Its own pages are there before anything is watched.
    memset(changes, 0, sizeof changes);
    memset(more, 0, sizeof more);
    mark_error();
    BOOL ok = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.before-initialize", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = InitializeProcessForWsWatch(NULL);
    say("ws-watch.initialize-null-process", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = InitializeProcessForWsWatch(me);
    say("ws-watch.initialize", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    window_new();
    words_run("rc64");
    GetWsChanges(me, changes, sizeof changes);
    memset(changes, 0, sizeof changes);
    words_run("w4@3");
    ok = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.touched-pages-are-listed", "%s | %d of 4", ok ? "TRUE" : "FALSE", listed(0, 3, 4));
    words_run("w4@3 t4@3");
    ok = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.told-once", "%s | %d", ok ? "TRUE" : "FALSE", listed(0, 3, 4));
    DWORD size = sizeof more;
    words_run("w2@35");
    ok = changes_ex(&size);
    int own = ok && more[0].FaultingThreadId != 0;
    say("ws-watch.ex", "%s | %d of 2 | thread: %s | the size is what it took: %s", ok ? "TRUE" : "FALSE", listed(1, 35, 2), yes(own), yes(size < sizeof more && size % sizeof more[0] == 0));

    words_run("w8@40");
    mark_error();
    changes[0].FaultingPc = me;
    ok = GetWsChanges(me, changes, 4 * sizeof changes[0]);
    say("ws-watch.small-buffer", "%s | %s | empty: %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()), yes(!changes[0].FaultingPc));
    mark_error();
    size = 2 * sizeof more[0];
    ok = changes_ex(&size);
    DWORD error = GetLastError();
    say("ws-watch.ex-small-buffer", "%s | %s | asks for more: %s", ok ? "TRUE" : "FALSE", error_name(error), yes(size >= 9 * sizeof more[0]));
    mark_error();
    ok = GetWsChanges(me, changes, 0);
    say("ws-watch.no-buffer", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = GetWsChanges(me, NULL, sizeof changes);
    say("ws-watch.null-buffer", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    ok = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.nothing-was-lost", "%s | %d of 8", ok ? "TRUE" : "FALSE", listed(0, 40, 8));
    mark_error();
    ok = GetWsChanges(NULL, changes, sizeof changes);
    say("ws-watch.null-process", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));

    // More pages than any system remembers.
    char *large = VirtualAlloc(NULL, 60000 * PG, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (int i = 0; large && i < 60000; i++)
        large[(SIZE_T)i * PG] = 1;
    ok = GetWsChanges(me, changes, sizeof changes);
    words_run("w1@52");
    BOOL again = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.full", "%s | %s | room again: %s", ok ? "TRUE" : "FALSE", again ? "TRUE" : "FALSE", yes(listed(0, 52, 1)));
    VirtualFree(large, 0, MEM_RELEASE);
    words_run("w1@54");
    ok = InitializeProcessForWsWatch(me);
    again = GetWsChanges(me, changes, sizeof changes);
    say("ws-watch.initialize-again", "%s | %s | %d", ok ? "TRUE" : "FALSE", again ? "TRUE" : "FALSE", listed(0, 54, 1));
    window_clear();
    return 0;
}
