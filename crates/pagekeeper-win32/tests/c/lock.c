// VirtualLock and VirtualUnlock.
#include "conform.h"

static const struct row rows[] = {
    {"lock.one-page", "rc16", L_(0, 0x1000)},
    {"lock.bytes-across-a-boundary", "rc16", L_(0xfff, 2)},
    {"lock.written", "rc16 w16", L_(0, 0x10000)},
    {"lock.untouched", "rc16", L_(0, 0x10000)},
    {"lock.readonly", "rc16 p16=ro", L_(0, 0x4000)},
    {"lock.twice", "rc16 l4", L_(0, 0x4000)},
    {"lock.overlapping", "rc16 l4", L_(0x2000, 0x4000)},
    {"lock.reserved", "r16", L_(0, 0x1000)},
    {"lock.runs-into-reserved", "r16 c4", L_(0x2000, 0x4000)},
    {"lock.free", "", L_(0, 0x1000)},
    {"lock.past-the-end", "rc16", L_(0xf000, 0x2000)},
    {"lock.noaccess", "rc16 p1@2=na", L_(0, 0x4000)},
    {"lock.size-zero", "rc16", L_(0, 0)},
    {"lock.contents", "rc16 w4", LOCK, 0, 0x4000, 0, 0, 0, "b5"},
    {"lock.zero-filled", "rc16", LOCK, 0, 0x4000, 0, 0, 0, "b4"},
    {"unlock.locked", "rc16 l4", U_(0, 0x4000)},
    {"unlock.part-of-it", "rc16 l4", U_(0x1000, 0x1000)},
    {"unlock.bytes-across-a-boundary", "rc16 l4", U_(0xfff, 2)},
    {"unlock.two-locks-at-once", "rc16 l2 l2@2", U_(0, 0x4000)},
    {"unlock.never-locked", "rc16 w4", U_(0, 0x1000)},
    {"unlock.one-of-them-not", "rc16 w4 l2", U_(0, 0x3000)},
    {"unlock.no-lock-count", "rc16 l4 l4 u4", U_(0, 0x4000)},
    {"unlock.locked-twice-once-is-enough", "rc16 l4 l4", U_(0, 0x4000)},
    {"unlock.after-decommit", "rc16 l4 d4", U_(0, 0x1000)},
    {"unlock.size-zero", "rc16 l4", U_(0, 0)},
    {"unlock.free", "", U_(0, 0x1000)},
    {"unlock.contents", "rc16 w4 l4", UNLOCK, 0, 0x4000, 0, 0, 0, "b5"},
};

/// The minimum working set less a little is all that may be locked.
static void limit(void) {
    char *p = VirtualAlloc(NULL, 512 * PG, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    mark_error();
    BOOL ok = VirtualLock(p, 30 * PG);
    say("lock.limit-30-of-50", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = VirtualLock(p, 60 * PG);
    say("lock.limit-60-of-50", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    VirtualUnlock(p, 30 * PG);
    ok = SetProcessWorkingSetSize(GetCurrentProcess(), 400 * PG, 800 * PG);
    mark_error();
    BOOL more = VirtualLock(p, 300 * PG);
    say("lock.limit-raised", "%s | %s | %s", ok ? "TRUE" : "FALSE", more ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    more = VirtualLock(p, 512 * PG);
    say("lock.limit-raised-beyond", "%s | %s", more ? "TRUE" : "FALSE", error_name(GetLastError()));
    VirtualUnlock(p, 300 * PG);
    VirtualFree(p, 0, MEM_RELEASE);
}

int main(void) {
    begin();
    RUN(rows);
    limit();
    return 0;
}
