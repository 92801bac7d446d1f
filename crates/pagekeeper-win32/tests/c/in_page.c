// A page file that cannot be read any more: the program is told, and never gets other bytes. The file is cut off from behind, through
// the descriptor that the process has open.
// env: PAGEKEEPER_RAM=8M
// env: PAGEKEEPER_PAGE_FILE_MAX=64M
#define _DEFAULT_SOURCE // readlink, truncate
#include "faults.h"

#ifdef __MINGW32__
// There is no such file to reach.
static int cut_off(void) { return 0; }
#else
#include <dirent.h>
#include <unistd.h>

/// Cuts every unlinked file that is open here down to nothing; how many there were.
static int cut_off(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[300], target[512];
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        if (strstr(target, "(deleted)") && !truncate(path, 0))
            count++;
    }
    closedir(folder);
    return count;
}
#endif

#define MIB ((SIZE_T)1 << 20)

/// Words that do not compress, and say where they belong.
static uint64_t word_at(SIZE_T index) {
    uint64_t word = (index + 1) * 0x9E3779B97F4A7C15u;
    return word ^ word >> 31;
}

static void show(const char *id, int done) {
    const struct hit *hit = &hits[0];
    if (hit_count)
        say(id, "code 0x%lx flags %lu parameters %lu kind %llu at %s status 0x%llx, at the instruction: %s", (unsigned long)hit->code, (unsigned long)hit->flags, (unsigned long)hit->count,
            (U64)hit->kind, where_name((void *)hit->address), (U64)hit->status, yes(hit->at_instruction));
    else
        say(id, "%s", done ? "nothing happened" : "?");
}

int main(void) {
    begin();
    faults_begin();
    B = VirtualAlloc(NULL, 40 * MIB, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    uint64_t *words = (uint64_t *)B;
    // The last 24 MiB are several times what fits into memory: what lies before has gone to the page file.
    for (SIZE_T i = 0; i < 40 * MIB / 8; i++)
        words[i] = word_at(i);
    char *lost = B + 12 * MIB;
    EmptyWorkingSet(GetCurrentProcess());
    say("in-page.before", "%s", yes(words[6 * MIB / 8] == word_at(6 * MIB / 8)));
    EmptyWorkingSet(GetCurrentProcess());
    say("in-page.cut-off", "%s", yes(cut_off() > 0));

    int done = access_try('r', lost + 0x123);
    show("in-page.read", done);
    done = access_try('w', lost + PG + 0x456);
    show("in-page.write", done);
    done = access_try('r', lost + 0x123);
    show("in-page.again", done);

    MEMORY_BASIC_INFORMATION *m = (MEMORY_BASIC_INFORMATION *)(lost + 2 * PG);
    mark_error();
    SIZE_T length = VirtualQuery(B, m, sizeof *m);
    say("in-page.out-pointer", "%llu, %s", (U64)length, error_name(GetLastError()));

    // No page reads as anything but what was written there.
    SIZE_T wrong = 0, gone = 0;
    for (SIZE_T page = 0; page < 40 * MIB / PG; page++) {
        uint64_t *first = words + page * (PG / 8);
        if ((char *)first >= lost && (char *)first < lost + 3 * PG)
            continue; // written above, with an engine that loses nothing
        if (!access_sized('r', first, 8))
            gone++;
        else
            wrong += *first != word_at(page * (PG / 8));
    }
    say("in-page.never-other-bytes", "%llu wrong, %s", (U64)wrong, gone > 4096 ? "more than 16 MiB gone" : "most is there");

    // What is lost can be given up, and begun anew.
    VirtualFree(lost, 3 * PG, MEM_DECOMMIT);
    char *anew = VirtualAlloc(lost, 3 * PG, MEM_COMMIT, PAGE_READWRITE);
    done = anew == lost && access_try('w', lost + PG + 0x456);
    say("in-page.given-up", "%s, bytes %d %d", yes(done), done ? lost[0x123] : -1, done ? lost[PG + 0x456] : -1);
    VirtualFree(B, 0, MEM_RELEASE);
    return 0;
}
