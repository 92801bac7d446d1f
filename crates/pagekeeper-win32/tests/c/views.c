// Views in use: who sees what, copies on write, protections, sections that are only reserved, flushing, unmapping, images.
#define _DEFAULT_SOURCE
#include "faults.h"

#ifndef __MINGW32__
#include <unistd.h>
#endif

static const DWORD RW = GENERIC_READ | GENERIC_WRITE, RWX = GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE, ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
static char path[400];

#define CALL(id, call)                                                                                                                                                             \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        int ok_ = (call) != 0;                                                                                                                                                     \
        DWORD error_ = GetLastError();                                                                                                                                             \
        say(id, "%s | %s", ok_ ? "TRUE" : "FALSE", error_name(error_));                                                                                                            \
    } while (0)

static const char *type_name(DWORD type) { return type == MEM_IMAGE ? "image" : type == MEM_MAPPED ? "mapped" : type == MEM_PRIVATE ? "private" : "none"; }

/// The pages of a view as VirtualQuery reports them: "first-last state protection".
static const char *pages(const char *p, SIZE_T count) {
    static char text[2][300];
    static int turn;
    char *out = text[turn++ & 1];
    out[0] = 0;
    for (SIZE_T at = 0; at < count;) {
        MEMORY_BASIC_INFORMATION m;
        if (!VirtualQuery(p + at * PG, &m, sizeof m))
            return "failed";
        SIZE_T end = at + m.RegionSize / PG < count ? at + m.RegionSize / PG : count;
        snprintf(out + strlen(out), 300 - strlen(out), "%s%llu-%llu %s %s %s", at ? ", " : "", (U64)at, (U64)end - 1,
            m.State == MEM_COMMIT ? "commit" : m.State == MEM_RESERVE ? "reserve" : "free", prot_name(m.Protect), type_name(m.Type));
        at = end;
    }
    return out;
}

static void protection(const char *id, char *p, SIZE_T size, DWORD prot) {
    DWORD old = 0xdddd;
    mark_error();
    BOOL ok = VirtualProtect(p, size, prot, &old);
    DWORD error = GetLastError();
    say(id, "%s | %s | old %s | %s", ok ? "TRUE" : "FALSE", error_name(error), ok ? prot_name(old) : "-", pages(p, 2));
}

/// An access and what it raises, without the address.
static void touch(const char *id, char kind, char *p) {
    int done = access_sized(kind, p, 1);
    say(id, "%s, raised: %d%s", done ? "done" : "stopped", hit_count, hit_count ? hits[0].code == EXCEPTION_GUARD_PAGE ? " guard" : hits[0].code == EXCEPTION_ACCESS_VIOLATION ? " violation" : " other" : "");
}

static HANDLE file_of(DWORD size) {
    HANDLE h = CreateFileA(path, RWX, ALL, NULL, CREATE_ALWAYS, 0, NULL);
    char page[4096];
    DWORD done;
    for (DWORD at = 0; at < size; at += sizeof page) {
        memset(page, 'a' + (int)(at / sizeof page % 26), sizeof page);
        WriteFile(h, page, size - at < sizeof page ? size - at : (DWORD)sizeof page, &done, NULL);
    }
    return h;
}

/// One byte of the file.
static int byte_of(HANDLE h, DWORD at) {
    char byte = 0;
    DWORD done;
    OVERLAPPED ov = {.Offset = at};
    return ReadFile(h, &byte, 1, &done, &ov) ? byte : -1;
}

static void sharing(void) {
    HANDLE f = file_of(4 * GR), h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL), h2 = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    char *one = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0), *two = MapViewOfFile(h, FILE_MAP_READ, 0, GR, GR), *other = MapViewOfFile(h2, FILE_MAP_READ, 0, 0, 0),
         *copy = MapViewOfFile(h, FILE_MAP_COPY, 0, 0, 0);
    say("share.contents", "%c%c%c%c", one[0], one[PG], two[0], other[3 * GR]);
    one[GR + 5] = 'X';
    say("share.written-is-seen", "%c %c %c", two[5], other[GR + 5], copy[GR + 5]);
    say("share.by-read-file", "%c", byte_of(f, GR + 5));
    copy[GR + 6] = 'C';
    say("share.a-copy-is-not", "%c%c %c%c", copy[GR + 5], copy[GR + 6], two[5], two[6]);
    one[GR + 6] = 'Y';
    one[6] = 'Z';
    say("share.copied-page-keeps-its-own", "%c, others go on: %c", copy[GR + 6], copy[6]);
    // VirtualQuery: a page that was copied is read-write.
    say("share.query-copy", "%s", pages(copy + GR, 3));
    say("share.query-shared", "%s", pages(one, 2));
    DWORD old = 0;
    CALL("share.copied-page-to-writecopy", VirtualProtect(copy + GR, PG, PAGE_WRITECOPY, &old));
    say("share.copied-page-stays-read-write", "%s", pages(copy + GR, 2));
    CloseHandle(h), CloseHandle(h2), CloseHandle(f);
    one[7] = 'W';
    say("share.handles-closed", "%c %c", other[7], copy[7]);
    UnmapViewOfFile(copy);
    f = CreateFileA(path, RW, ALL, NULL, OPEN_EXISTING, 0, NULL);
    say("share.file-has-no-copies", "%c%c", byte_of(f, GR + 6), byte_of(f, 6));
    // A file with a view is not cut.
    SetFilePointer(f, (LONG)GR, NULL, FILE_BEGIN);
    CALL("share.cut-below-a-view", SetEndOfFile(f));
    SetFilePointer(f, 5 * (LONG)GR, NULL, FILE_BEGIN);
    CALL("share.extended-beside-a-view", SetEndOfFile(f));
    mark_error();
    HANDLE again = CreateFileA(path, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL);
    DWORD error = GetLastError();
    say("share.overwritten-below-a-view", "%s | %s", again == INVALID_HANDLE_VALUE ? "INVALID_HANDLE_VALUE" : "a handle", error_name(error));
    CALL("share.flush", FlushViewOfFile(one, 0));
    CALL("share.flush-part", FlushViewOfFile(one + GR + 7, 100));
    CALL("share.flush-reaches-out", FlushViewOfFile(one + 3 * GR, 2 * GR));
    CALL("share.flush-data", FlushViewOfFile(&old, 0));
    CALL("share.flush-null", FlushViewOfFile(NULL, 0));
    char *p = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    CALL("share.flush-private", FlushViewOfFile(p, 0));
    CALL("share.unmap-private", UnmapViewOfFile(p));
    CALL("share.free-a-view", VirtualFree(one, 0, MEM_RELEASE));
    CALL("share.decommit-a-view", VirtualFree(one, PG, MEM_DECOMMIT));
    VirtualFree(p, 0, MEM_RELEASE);
    CALL("share.unmap-null", UnmapViewOfFile(NULL));
    CALL("share.unmap-inside", UnmapViewOfFile(one + 2 * GR + 77));
    say("share.unmapped-is-free", "%s", pages(one, 1));
    CALL("share.unmap-again", UnmapViewOfFile(one));
    CALL("share.unmap-at-its-base", UnmapViewOfFile(two));
    CALL("share.unmap-ex", UnmapViewOfFileEx(other, 0));
    SetFilePointer(f, (LONG)GR, NULL, FILE_BEGIN);
    CALL("share.cut-without-views", SetEndOfFile(f));
    CloseHandle(f);
}

static void ends(void) {
    HANDLE f = file_of(4100), h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    say("end.region", "%s", pages(p, 2));
    say("end.behind-it-zero", "%d", p[4100] | p[8191]);
    p[4100] = 'x';
    p[4099] = 'y';
    UnmapViewOfFile(p);
    CloseHandle(h);
    say("end.not-kept", "size %lu, last %c", (unsigned long)GetFileSize(f, NULL), byte_of(f, 4099));
    CloseHandle(f);
}

static void protections(void) {
    static const struct {
        const char *name;
        DWORD value;
    } all[] = {{"na", PAGE_NOACCESS}, {"ro", PAGE_READONLY}, {"rw", PAGE_READWRITE}, {"wc", PAGE_WRITECOPY}, {"x", PAGE_EXECUTE}, {"xr", PAGE_EXECUTE_READ},
        {"xrw", PAGE_EXECUTE_READWRITE}, {"xwc", PAGE_EXECUTE_WRITECOPY}};
    static const struct {
        const char *name;
        DWORD access;
    } views[] = {{"na", 0}, {"ro", FILE_MAP_READ}, {"rw", FILE_MAP_WRITE}, {"wc", FILE_MAP_COPY}, {"xr", FILE_MAP_EXECUTE | FILE_MAP_READ}, {"xrw", FILE_MAP_EXECUTE | FILE_MAP_WRITE},
        {"xwc", FILE_MAP_EXECUTE | FILE_MAP_COPY}};
    char id[100];
    HANDLE f = file_of(GR), h = CreateFileMappingA(f, NULL, PAGE_EXECUTE_READWRITE, 0, 0, NULL);
    for (size_t k = 0; k < sizeof views / sizeof *views; k++)
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            char *p = MapViewOfFile(h, views[k].access, 0, 0, 0);
            snprintf(id, sizeof id, "protect-view.%s-to-%s", views[k].name, all[i].name);
            protection(id, p, PG, all[i].value);
            UnmapViewOfFile(p);
        }
    // A shared view that becomes copy-on-write: later writes are its own.
    DWORD old;
    char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0), *q = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    VirtualProtect(p, PG, PAGE_WRITECOPY, &old);
    p[0] = 'P';
    p[PG] = 'Q';
    say("protect-view.writes-after-writecopy", "%c%c, the others see %c%c, the file has %c%c", p[0], p[PG], q[0], q[PG], byte_of(f, 0), byte_of(f, PG));
    VirtualProtect(p, PG, PAGE_NOACCESS, &old);
    touch("protect-view.noaccess-faults", 'r', p);
    VirtualProtect(p + PG, PG, PAGE_READONLY, &old);
    touch("protect-view.readonly-faults", 'w', p + PG);
    touch("protect-view.read-view-faults", 'w', q);
    say("protect-view.others-untouched", "%s", pages(q, 2));
    UnmapViewOfFile(p), UnmapViewOfFile(q);
    CloseHandle(h), CloseHandle(f);
}

static void memory(void) {
    HANDLE h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 4 * GR, NULL);
    char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0), *q = MapViewOfFile(h, FILE_MAP_READ, 0, GR, 0);
    DWORD old;
    say("memory.zero", "%d", p[0] | p[4 * GR - 1]);
    memset(p + GR, 'm', 3 * GR);
    say("memory.shared", "%c%c", q[0], q[3 * GR - 1]);
    say("memory.query", "%s", pages(p, 64));
    CALL("memory.flush", FlushViewOfFile(p, 0));
    CALL("memory.commit-again", VirtualAlloc(p, PG, MEM_COMMIT, PAGE_READONLY) == p);
    say("memory.commit-again-protects", "%s", pages(p, 2));
    CALL("memory.commit-wider", VirtualAlloc(q, PG, MEM_COMMIT, PAGE_READWRITE));
    CALL("memory.lock", VirtualLock(p + PG, PG));
    CALL("memory.unlock", VirtualUnlock(p + PG, PG));
    EmptyWorkingSet(GetCurrentProcess());
    say("memory.after-trim", "%c%c", q[0], q[3 * GR - 1]);
    char *c = MapViewOfFile(h, FILE_MAP_COPY, 0, 0, 0);
    c[GR] = 'c';
    say("memory.copy", "%c %c", c[GR], q[0]);
    VirtualProtect(p + GR, PG, PAGE_READWRITE | PAGE_GUARD, &old);
    touch("memory.guard", 'r', p + GR);
    say("memory.guard-once", "%c", p[GR]);
    UnmapViewOfFile(c), UnmapViewOfFile(p), UnmapViewOfFile(q);
    p = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    say("memory.lives-with-its-handle", "%c", p[GR]);
    UnmapViewOfFile(p);
    CloseHandle(h);

    // Reserved only: a commit in one view is a commit in all, each with its own protection.
    h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE, 0, 4 * GR, NULL);
    p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0), q = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    say("reserved.at-first", "%s", pages(p, 64));
    touch("reserved.faults", 'r', p);
    CALL("reserved.commit", VirtualAlloc(p + PG, 2 * PG, MEM_COMMIT, PAGE_READWRITE) == p + PG);
    say("reserved.committed", "%s", pages(p, 64));
    say("reserved.committed-in-the-other", "%s", pages(q, 64));
    p[PG] = 'r';
    say("reserved.shared", "%c", q[PG]);
    CALL("reserved.commit-by-the-reader", VirtualAlloc(q + 8 * PG, PG, MEM_COMMIT, PAGE_READONLY) == q + 8 * PG);
    p[8 * PG] = 's';
    say("reserved.commit-by-the-reader-for-all", "%c, %s", q[8 * PG], pages(p + 8 * PG, 2));
    CALL("reserved.decommit", VirtualFree(p + PG, PG, MEM_DECOMMIT));
    CALL("reserved.commit-wider", VirtualAlloc(q + 16 * PG, PG, MEM_COMMIT, PAGE_READWRITE));
    CALL("reserved.protect-reserved", VirtualProtect(p, PG, PAGE_READONLY, &old));
    UnmapViewOfFile(p), UnmapViewOfFile(q);
    p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    say("reserved.later-view", "%c, %s", p[PG], pages(p, 16));
    UnmapViewOfFile(p);
    CloseHandle(h);

    // A file: commit has nothing to do there.
    HANDLE f = file_of(GR);
    h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    CALL("file-view.commit", VirtualAlloc(p, PG, MEM_COMMIT, PAGE_READWRITE));
    CALL("file-view.reset", VirtualAlloc(p, PG, MEM_RESET, PAGE_READWRITE));
    UnmapViewOfFile(p);
    CloseHandle(h), CloseHandle(f);
}

static void image(const char *program) {
    HANDLE f = CreateFileA(program, GENERIC_READ | GENERIC_EXECUTE, ALL, NULL, OPEN_EXISTING, 0, NULL), h = CreateFileMappingA(f, NULL, PAGE_READONLY | SEC_IMAGE, 0, 0, NULL);
    say("image.section", "%s", h ? "a handle" : "NULL");
    char *p = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    MEMORY_BASIC_INFORMATION m;
    BOOL known = p && VirtualQuery(p, &m, sizeof m);
    say("image.view", "%s, %s, allocated %s, begins like a program: %s", known ? type_name(m.Type) : "none", known && m.State == MEM_COMMIT ? "commit" : "not committed",
        known ? prot_name(m.AllocationProtect) : "-", yes(p && (!memcmp(p, "MZ", 2) || !memcmp(p + 1, "ELF", 3))));
    DWORD old = 0;
    CALL("image.protect", VirtualProtect(p, PG, PAGE_READWRITE, &old));
    say("image.readwrite-is-writecopy", "%s", known && VirtualQuery(p, &m, sizeof m) ? prot_name(m.Protect) : "-");
    p[2] = 77;
    say("image.file-unchanged", "%d, %s", p[2], yes(byte_of(f, 2) != 77));
    CALL("image.unmap", UnmapViewOfFile(p + 5));
    CloseHandle(h), CloseHandle(f);
}

static void names(void) {
    HANDLE f = file_of(GR), h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    char *p = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0), text[500] = "", small[4] = "";
    DWORD length = GetMappedFileNameA(GetCurrentProcess(), p + 100, text, sizeof text);
    const char *last = strrchr(path, '/');
    say("mapped-name.of-a-file", "%s, %s", yes(length == strlen(text)), yes(last && strstr(text, last + 1) != NULL));
    CALL("mapped-name.small", GetMappedFileNameA(GetCurrentProcess(), p, small, 4));
    CALL("mapped-name.no-room", GetMappedFileNameA(GetCurrentProcess(), p, text, 0));
    CALL("mapped-name.bad-process", GetMappedFileNameA(NULL, p, text, sizeof text));
    UnmapViewOfFile(p);
    CloseHandle(h), CloseHandle(f);
}

/// Another program cuts the file: what is gone raises an in-page error, with three parameters. Not to be had on Windows.
static void cut(void) {
#ifndef __MINGW32__
    HANDLE f = file_of(4 * GR), h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    if (truncate(path, GR))
        return;
    int stopped = !access_sized('r', p + 2 * GR, 1);
    say("cut.in-page-error", "%s, 0x%lx, %lu parameters, kind %llu, address right: %s", yes(stopped), (unsigned long)hits[0].code, (unsigned long)hits[0].count, (U64)hits[0].kind,
        yes(hits[0].address == (ULONG_PTR)(p + 2 * GR)));
    touch("cut.what-is-left", 'r', p + PG);
    UnmapViewOfFile(p);
    CloseHandle(h), CloseHandle(f);
#endif
}

int main(int argc, char **argv) {
    begin();
    faults_begin();
    (void)argc;
    char folder[300];
    DWORD length = GetTempPathA(sizeof folder, folder);
    folder[length ? length - 1 : 0] = 0;
    snprintf(path, sizeof path, "%s/pagekeeper-views-%lu", folder, (unsigned long)GetCurrentProcessId());
    sharing();
    ends();
    protections();
    memory();
    image(argv[0]);
    names();
    cut();
    CALL("view.file-can-be-deleted", DeleteFileA(path));
    return 0;
}
