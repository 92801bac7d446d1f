// Releasing: the whole allocation, by its first page, with size 0; and every value of the type argument.
#include "conform.h"

static const struct row rows[] = {
    {"release.reserved", "r16", F_(0, 0, MEM_RELEASE)},
    {"release.committed", "rc16 w16", F_(0, 0, MEM_RELEASE)},
    {"release.partly-committed", "r16 c2@3 p1@3=ro", F_(0, 0, MEM_RELEASE)},
    {"release.in-first-page", "r16", F_(0xfff, 0, MEM_RELEASE)},
    {"release.in-second-page", "r16", F_(0x1000, 0, MEM_RELEASE)},
    {"release.in-last-page", "r16", F_(0xf000, 0, MEM_RELEASE)},
    {"release.next-64k-of-the-same", "r32", F_(0x10000, 0, MEM_RELEASE)},
    {"release.tail-of-block", "r3", F_(0x3000, 0, MEM_RELEASE)},
    {"release.with-its-size", "r16", F_(0, 0x10000, MEM_RELEASE)},
    {"release.with-one-byte", "r16", F_(0, 1, MEM_RELEASE)},
    {"release.twice", "r16 f16", F_(0, 0, MEM_RELEASE)},
    {"release.free-address", "", F_(0, 0, MEM_RELEASE)},
    {"release.null", "", FT(0, 0, MEM_RELEASE)},
    {"release.kernel-half", "", FT(0xffff800000000000, 0, MEM_RELEASE)},
    {"release.above-user", "", FT(0x800000000000, 0, MEM_RELEASE)},
    {"release.only-the-one", "r16 r16@16 r16@32", F_(0x10000, 0, MEM_RELEASE)},
    {"release.locked", "rc16 l2", F_(0, 0, MEM_RELEASE)},
    {"release.noaccess-and-guard", "rc16 p1@1=na p1@2=rw+g", F_(0, 0, MEM_RELEASE)},
    {"release.write-watch", "watch16 w3", F_(0, 0, MEM_RELEASE)},
    {"release.type-zero", "r16", F_(0, 0, 0)},
    {"release.type-free", "r16", F_(0, 0, 0x10000)},
    {"release.type-unknown", "r16", F_(0, 0, MEM_RELEASE | 0x100000)},
    {"release.type-unknown-alone", "r16", F_(0, 0, 0x40000000)},
    {"release.type-reserve", "r16", F_(0, 0, MEM_RESERVE)},
    {"release.type-commit", "r16", F_(0, 0, MEM_COMMIT)},
    {"release.type-coalesce-alone", "r16", F_(0, 0x10000, 1)},
    {"release.type-preserve-alone", "r16", F_(0, 0x10000, 2)},
    {"release.type-decommit-preserve", "r16", F_(0, 0x10000, MEM_DECOMMIT | 2)},
    {"release.type-decommit-coalesce", "r16", F_(0, 0x10000, MEM_DECOMMIT | 1)},
    {"release.combined-with-size", "rc16", F_(0, 0x10000, MEM_RELEASE | MEM_DECOMMIT)},
    {"release.refused-changes-nothing", "r16 c3@2 w3@2", F_B(0x2000, 0, MEM_RELEASE, "b3@2")},
};

int main(void) {
    begin();
    RUN(rows);
    return 0;
}
