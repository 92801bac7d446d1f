// Two processes that have nothing to do with each other but a name, or a file: this program, run once more by itself.
#include "conform.h"

static const DWORD RW = GENERIC_READ | GENERIC_WRITE, ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
enum { WHOLE = 40 * 65536 };

/// What stands at a place, so that both can know it.
static unsigned char expected(unsigned at) { return (unsigned char)(at * 2654435761u >> 24 | 1); }

/// The other process: looks, answers, and leaves its handle to the end of its life.
static int other(const char *name, const char *path) {
    HANDLE h = OpenFileMappingA(FILE_MAP_ALL_ACCESS, FALSE, name);
    unsigned char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    MEMORY_BASIC_INFORMATION m;
    if (!p || !VirtualQuery(p, &m, sizeof m))
        return 101;
    unsigned wrong = 0;
    for (unsigned at = 0; at < WHOLE; at += 61)
        wrong += p[at] != expected(at);
    p[0] = (unsigned char)(wrong ? 0 : 200);
    p[1] = m.RegionSize == WHOLE;
    // A page of a section that is only reserved, committed here.
    char reserved[200];
    snprintf(reserved, sizeof reserved, "%s-r", name);
    HANDLE r = OpenFileMappingA(FILE_MAP_ALL_ACCESS, FALSE, reserved);
    unsigned char *q = MapViewOfFile(r, FILE_MAP_WRITE, 0, 0, 0);
    if (!q || !VirtualAlloc(q + 3 * PG, PG, MEM_COMMIT, PAGE_READWRITE))
        return 102;
    q[3 * PG] = 77;
    // The same file, opened here: shared and copied.
    HANDLE f = CreateFileA(path, RW, ALL, NULL, OPEN_EXISTING, 0, NULL), s = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    char *shared = MapViewOfFile(s, FILE_MAP_COPY | FILE_MAP_WRITE, 0, 0, 0), *copy = MapViewOfFile(s, FILE_MAP_COPY, 0, 0, 0);
    if (!shared || !copy)
        return 103;
    p[2] = shared[PG] == 'F';
    shared[PG] = 'S';
    copy[2 * PG] = 'C';
    return 42;
}

int main(int argc, char **argv) {
    begin();
    if (argc > 2)
        return other(argv[1], argv[2]);
    char name[100], path[400], command[1200];
    DWORD length = GetTempPathA(sizeof path - 50, path);
    snprintf(path + length, sizeof path - length, "pagekeeper-two-%lu", (unsigned long)GetCurrentProcessId());
    snprintf(name, sizeof name, "Local\\pagekeeper-two-%lu", (unsigned long)GetCurrentProcessId());
    HANDLE h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, WHOLE, name);
    unsigned char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    for (unsigned at = 0; at < WHOLE; at++)
        p[at] = expected(at);
    snprintf(command, sizeof command, "%s-r", name);
    HANDLE r = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE, 0, 64 * 4096, command);
    unsigned char *q = MapViewOfFile(r, FILE_MAP_READ, 0, 0, 0);
    HANDLE f = CreateFileA(path, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL), s = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 4 * 4096, NULL);
    char *file = MapViewOfFile(s, FILE_MAP_WRITE, 0, 0, 0);
    file[PG] = file[2 * PG] = 'F';
    EmptyWorkingSet(GetCurrentProcess());

#ifdef __MINGW32__
    snprintf(command, sizeof command, "%s %s %s", argv[0], name, path);
    int ended = system(command);
#else
    snprintf(command, sizeof command, "'%s' '%s' '%s'", argv[0], name, path);
    int ended = system(command) >> 8;
#endif
    say("two.the-other-ended-well", "%d", ended);
    say("two.it-saw-what-was-written", "%s", yes(p[0] == 200));
    say("two.it-saw-the-size", "%s", yes(p[1] == 1));
    MEMORY_BASIC_INFORMATION m = {0}, before = {0};
    VirtualQuery(q + 3 * PG, &m, sizeof m);
    VirtualQuery(q, &before, sizeof before);
    say("two.its-commit-is-ours", "%s %s, the page before: %s", m.State == MEM_COMMIT ? "commit" : "not committed", prot_name(m.Protect),
        before.State == MEM_RESERVE ? "reserved" : "not reserved");
    say("two.what-it-wrote-there", "%d", q[3 * PG]);
    say("two.its-file-is-ours", "%s, copied and written is shared: %c, a copy is its own: %c", yes(p[2] == 1), file[PG], file[2 * PG]);
    // The name is ours as long as we have the handle, and no longer.
    CloseHandle(h);
    mark_error();
    h = OpenFileMappingA(FILE_MAP_READ, FALSE, name);
    say("two.the-name-went-with-the-handle", "%s | %s", h ? "a handle" : "NULL", error_name(GetLastError()));
    UnmapViewOfFile(p), UnmapViewOfFile(q), UnmapViewOfFile(file);
    CloseHandle(r), CloseHandle(s), CloseHandle(f);
    say("two.file-can-be-deleted", "%s", yes(DeleteFileA(path)));
    return 0;
}
