// Decommitting: every page that the range touches, or with size 0 the whole allocation.
#include "conform.h"

static const struct row rows[] = {
    {"decommit.one-page", "rc16 w16", F_B(0x3000, 0x1000, MEM_DECOMMIT, "b3")},
    {"decommit.one-byte", "rc16", F_(0x3abc, 1, MEM_DECOMMIT)},
    {"decommit.two-bytes-two-pages", "rc16", F_(0x3fff, 2, MEM_DECOMMIT)},
    {"decommit.whole-by-size", "rc16", F_(0, 0x10000, MEM_DECOMMIT)},
    {"decommit.reserved-too", "r16 c1@2 c1@5", F_(0, 0x10000, MEM_DECOMMIT)},
    {"decommit.nothing-committed", "r16", F_(0x1000, 0x1000, MEM_DECOMMIT)},
    {"decommit.zero-at-base", "r16 c3@4", F_(0, 0, MEM_DECOMMIT)},
    {"decommit.zero-in-first-page", "rc16", F_(0xfff, 0, MEM_DECOMMIT)},
    {"decommit.zero-in-second-page", "rc16", F_(0x1000, 0, MEM_DECOMMIT)},
    {"decommit.zero-in-last-page", "rc16", F_(0xf000, 0, MEM_DECOMMIT)},
    {"decommit.past-the-end", "rc16", F_(0xf000, 0x1001, MEM_DECOMMIT)},
    {"decommit.two-neighbours", "rc16 rc16@16", F_(0xf000, 0x2000, MEM_DECOMMIT)},
    {"decommit.free-address", "", F_(0, 0x1000, MEM_DECOMMIT)},
    {"decommit.free-address-size-zero", "", F_(0, 0, MEM_DECOMMIT)},
    {"decommit.tail-of-block", "rc3", F_(0x3000, 0x1000, MEM_DECOMMIT)},
    {"decommit.null", "", FT(0, 0x1000, MEM_DECOMMIT)},
    {"decommit.kernel-half", "", FT(0xffff800000000000, 0x1000, MEM_DECOMMIT)},
    {"decommit.wraps", "rc16", F_(0, 0xffffffffffffffff, MEM_DECOMMIT)},
    {"decommit.allocation-protect-stays", "r16=ro c4=rw", F_(0x1000, 0x1000, MEM_DECOMMIT)},
    {"decommit.keeps-the-others", "rc16 w16 p1@4=ro", F_B(0x5000, 0x1000, MEM_DECOMMIT, "b2@3")},
    {"decommit.noaccess-page", "rc16 p2@1=na", F_(0x1000, 0x2000, MEM_DECOMMIT)},
    {"decommit.guard-page", "rc16 p2@1=rw+g", F_(0x1000, 0x1000, MEM_DECOMMIT)},
    {"decommit.commit-again-zero", "rc16 w16 d2@3", A_B(0x3000, 0x2000, MEM_COMMIT, PAGE_READONLY, "b4@2")},
    {"decommit.many-times", "rc16 d1@3 d1@3 d2@3", F_(0x3000, 0x1000, MEM_DECOMMIT)},
    {"decommit.refused-changes-nothing", "rc16 w16 rc16@16 w1@16", F_B(0, 0x20000, MEM_DECOMMIT, "b17")},
    {"decommit.top-page", "rc16 w16", F_B(0xf000, 0x1000, MEM_DECOMMIT, "b1@14")},
};

/// Decommitting and committing again, many times: always zero, never refused.
static void cycles(void) {
    window_new();
    char *p = VirtualAlloc(B, GR, MEM_RESERVE, PAGE_NOACCESS);
    int zero = 1, made = 1;
    for (int i = 0; i < 1000; i++) {
        char *q = p + (SIZE_T)(i % 16) * PG;
        made &= VirtualAlloc(q, PG, MEM_COMMIT, PAGE_READWRITE) == q;
        zero &= q[0] == 0 && q[PG - 1] == 0;
        q[0] = q[PG - 1] = 1;
        made &= VirtualFree(q, PG, MEM_DECOMMIT) != 0;
    }
    say("decommit.a-thousand-cycles", "all done: %s, always zero: %s", yes(made), yes(zero));
    VirtualFree(p, 0, MEM_RELEASE);
}

int main(void) {
    begin();
    RUN(rows);
    cycles();
    return 0;
}
