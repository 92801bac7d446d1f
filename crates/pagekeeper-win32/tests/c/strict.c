// The strict mode does only what today's Windows does: MEM_RELEASE|MEM_DECOMMIT is refused.
// env: PAGEKEEPER_STRICT=1
#include "conform.h"

static const struct row rows[] = {
    {"strict.at-base", "rc16 w16", F_B(0, 0, MEM_RELEASE | MEM_DECOMMIT, "b2")},
    {"strict.in-first-page", "r16 c2", F_(0xabc, 0, MEM_RELEASE | MEM_DECOMMIT)},
    {"strict.with-size", "rc16", F_(0, 0x10000, MEM_RELEASE | MEM_DECOMMIT)},
    {"strict.plain-release", "rc16", F_(0, 0, MEM_RELEASE)},
    {"strict.plain-decommit", "rc16", F_(0, 0, MEM_DECOMMIT)},
};

int main(void) {
    begin();
    RUN(rows);
    return 0;
}
