// MEM_RELEASE|MEM_DECOMMIT with size 0, as one of the texts has it: a release, unless strict.
#include "conform.h"

static const struct row rows[] = {
    {"combined.at-base", "rc16 w16", F_(0, 0, MEM_RELEASE | MEM_DECOMMIT)},
    {"combined.in-first-page", "r16 c2", F_(0xabc, 0, MEM_RELEASE | MEM_DECOMMIT)},
    {"combined.in-second-page", "rc16", F_(0x1000, 0, MEM_RELEASE | MEM_DECOMMIT)},
    {"combined.with-size", "rc16", F_(0, 0x10000, MEM_RELEASE | MEM_DECOMMIT)},
    {"combined.free-address", "", F_(0, 0, MEM_RELEASE | MEM_DECOMMIT)},
    {"combined.null", "", FT(0, 0, MEM_RELEASE | MEM_DECOMMIT)},
};

int main(void) {
    begin();
    RUN(rows);
    return 0;
}
