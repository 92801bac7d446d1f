// Sections (file mapping objects): how they are made, named, found; the rights of their handles; views and their geometry.
#include "late.h"

static const DWORD RW = GENERIC_READ | GENERIC_WRITE, RX = GENERIC_READ | GENERIC_EXECUTE, RWX = GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE,
                   ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
static char path[400], path2[420], empty[420];
static HANDLE made;

static void outcome(const char *id, HANDLE h) {
    DWORD error = GetLastError();
    say(id, "%s | %s", h ? "a handle" : "NULL", error_name(error));
    made = h;
}

/// Makes a section, says what came of it, and closes it.
#define MAKE(id, file, protect, size)                                                                                                                                              \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        outcome(id, CreateFileMappingA(file, NULL, protect, (DWORD)((U64)(size) >> 32), (DWORD)(size), NULL));                                                                     \
        if (made)                                                                                                                                                                  \
            CloseHandle(made);                                                                                                                                                     \
    } while (0)

static const char *type_name(DWORD type) { return type == MEM_IMAGE ? "image" : type == MEM_MAPPED ? "mapped" : type == MEM_PRIVATE ? "private" : "none"; }

/// What VirtualQuery says of the first region of a view.
static const char *region(const void *p) {
    static char text[2][200];
    static int turn;
    char *out = text[turn++ & 1];
    MEMORY_BASIC_INFORMATION m;
    if (!p || !VirtualQuery(p, &m, sizeof m))
        return "nothing";
    snprintf(out, 200, "%s %s %s of %s, 0x%llx bytes, base %s", m.State == MEM_COMMIT ? "commit" : m.State == MEM_RESERVE ? "reserve" : "free", type_name(m.Type),
        prot_name(m.Protect), prot_name(m.AllocationProtect), (U64)m.RegionSize, m.AllocationBase == p ? "here" : m.AllocationBase ? "before" : "none");
    return out;
}

/// Maps a view, says what came of it and what it looks like, and unmaps it.
static void mapped(const char *id, HANDLE section, DWORD access, U64 offset, SIZE_T size, void *base) {
    mark_error();
    char *p = MapViewOfFileEx(section, access, (DWORD)(offset >> 32), (DWORD)offset, size, base);
    DWORD error = GetLastError();
    say(id, "%s | %s | %s", p ? (uintptr_t)p % GR ? "unaligned" : "a view" : "NULL", error_name(error), p ? region(p) : "-");
    if (p)
        UnmapViewOfFile(p);
}

#define CALL(id, call)                                                                                                                                                             \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        int ok_ = (call) != 0;                                                                                                                                                     \
        DWORD error_ = GetLastError();                                                                                                                                             \
        say(id, "%s | %s", ok_ ? "TRUE" : "FALSE", error_name(error_));                                                                                                            \
    } while (0)

static HANDLE file_of(const char *name, DWORD access, DWORD size) {
    HANDLE h = CreateFileA(name, access, ALL, NULL, OPEN_ALWAYS, 0, NULL);
    if (size) {
        HANDLE w = CreateFileA(name, RW, ALL, NULL, OPEN_EXISTING, 0, NULL);
        SetFilePointer(w, (LONG)size, NULL, FILE_BEGIN);
        SetEndOfFile(w);
        CloseHandle(w);
    }
    return h;
}

static DWORD size_of(const char *name) {
    HANDLE h = CreateFileA(name, GENERIC_READ, ALL, NULL, OPEN_EXISTING, 0, NULL);
    DWORD size = GetFileSize(h, NULL);
    CloseHandle(h);
    return size;
}

static void protections(void) {
    static const struct {
        const char *name;
        DWORD value;
    } all[] = {{"0", 0},
        {"noaccess", PAGE_NOACCESS},
        {"readonly", PAGE_READONLY},
        {"readwrite", PAGE_READWRITE},
        {"writecopy", PAGE_WRITECOPY},
        {"execute", PAGE_EXECUTE},
        {"execute-read", PAGE_EXECUTE_READ},
        {"execute-readwrite", PAGE_EXECUTE_READWRITE},
        {"execute-writecopy", PAGE_EXECUTE_WRITECOPY},
        {"two-bases", PAGE_READONLY | PAGE_READWRITE},
        {"guard", PAGE_READWRITE | PAGE_GUARD}};
    static const struct {
        const char *name;
        DWORD access;
    } files[] = {{"r", GENERIC_READ}, {"w", GENERIC_WRITE}, {"rw", GENERIC_READ | GENERIC_WRITE}, {"rx", GENERIC_READ | GENERIC_EXECUTE}, {"rwx", GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE}};
    char id[100];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(id, sizeof id, "section.memory-%s", all[i].name);
        MAKE(id, INVALID_HANDLE_VALUE, all[i].value, GR);
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            HANDLE h = file_of(path, files[k].access, 0);
            snprintf(id, sizeof id, "section.file-%s-%s", files[k].name, all[i].name);
            MAKE(id, h, all[i].value, 0);
            CloseHandle(h);
        }
    }
}

static void attributes(void) {
    static const struct {
        const char *name;
        DWORD value;
    } all[] = {{"commit", SEC_COMMIT},
        {"reserve", SEC_RESERVE},
        {"commit-reserve", SEC_COMMIT | SEC_RESERVE},
        {"commit-nocache", SEC_COMMIT | SEC_NOCACHE},
        {"reserve-writecombine", SEC_RESERVE | SEC_WRITECOMBINE},
        {"nocache", SEC_NOCACHE},
        {"writecombine", SEC_WRITECOMBINE},
        {"large", SEC_LARGE_PAGES},
        {"reserve-large", SEC_RESERVE | SEC_LARGE_PAGES},
        {"image", SEC_IMAGE},
        {"image-commit", SEC_IMAGE | SEC_COMMIT},
        {"image-reserve", SEC_IMAGE | SEC_RESERVE},
        {"image-file", SEC_IMAGE | SEC_FILE},
        {"image-large", SEC_IMAGE | SEC_LARGE_PAGES},
        {"image-writecombine", SEC_IMAGE | SEC_WRITECOMBINE},
        {"file", SEC_FILE},
        {"file-commit", SEC_FILE | SEC_COMMIT}};
    char id[100];
    HANDLE h = file_of(path, RWX, 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(id, sizeof id, "section.attributes-memory-%s", all[i].name);
        MAKE(id, INVALID_HANDLE_VALUE, PAGE_READWRITE | all[i].value, GR);
        snprintf(id, sizeof id, "section.attributes-file-%s", all[i].name);
        MAKE(id, h, PAGE_READWRITE | all[i].value, 0);
    }
    MAKE("section.large-pages-of-a-file", h, PAGE_READWRITE | SEC_COMMIT | SEC_LARGE_PAGES, 0);
    CloseHandle(h);
}

static void sizes(void) {
    MAKE("section.memory-size-0", INVALID_HANDLE_VALUE, PAGE_READWRITE, 0);
    MAKE("section.memory-8-gib-reserved", INVALID_HANDLE_VALUE, PAGE_READWRITE | SEC_RESERVE, 8ull << 30);
    HANDLE h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 5000, NULL);
    mapped("section.memory-rounded-up", h, FILE_MAP_WRITE, 0, 0, NULL);
    mapped("section.memory-rounded-up-whole", h, FILE_MAP_WRITE, 0, 8192, NULL);
    mapped("section.memory-rounded-up-no-more", h, FILE_MAP_WRITE, 0, 8193, NULL);
    CloseHandle(h);

    HANDLE e = file_of(empty, RW, 0), r = file_of(path2, GENERIC_READ, 4090), w = file_of(path2, RW, 0);
    MAKE("section.empty-file", e, PAGE_READWRITE, 0);
    MAKE("section.empty-file-read-only", e, PAGE_READONLY, 0);
    MAKE("section.larger-than-read-only", r, PAGE_READONLY, 4091);
    MAKE("section.larger-than-copied", w, PAGE_WRITECOPY, 4091);
    say("section.file-not-extended", "%lu", (unsigned long)size_of(path2));
    h = CreateFileMappingA(r, NULL, PAGE_READONLY, 0, 0, NULL);
    mapped("section.file-4090", h, FILE_MAP_READ, 0, 0, NULL);
    mapped("section.file-4090-exactly", h, FILE_MAP_READ, 0, 4090, NULL);
    mapped("section.file-4090-one-more", h, FILE_MAP_READ, 0, 4091, NULL);
    CloseHandle(h);
    h = CreateFileMappingA(r, NULL, PAGE_READONLY, 0, 100, NULL);
    mapped("section.file-100-of-it", h, FILE_MAP_READ, 0, 100, NULL);
    mapped("section.file-100-of-it-no-more", h, FILE_MAP_READ, 0, 101, NULL);
    CloseHandle(h);
    MAKE("section.file-extended", w, PAGE_READWRITE, 70000);
    say("section.file-extended-at-once", "%lu", (unsigned long)size_of(path2));
    h = CreateFileMappingA(w, NULL, PAGE_READWRITE, 0, 0, NULL);
    char *p = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    say("section.file-extended-zero", "%d", p ? p[69999] | p[4090] : -1);
    UnmapViewOfFile(p);
    CloseHandle(h);
    MAKE("section.bad-handle", (HANDLE)(uintptr_t)0xdead0, PAGE_READWRITE, GR);
    MAKE("section.null-handle", NULL, PAGE_READWRITE, GR);
    HANDLE note = CreateMemoryResourceNotification(LowMemoryResourceNotification);
    MAKE("section.of-another-kind", note, PAGE_READWRITE, GR);
    CloseHandle(note);
    CloseHandle(e), CloseHandle(r), CloseHandle(w);
}

static void names(void) {
    char name[100], other[120], bad[100];
    unsigned long me = (unsigned long)GetCurrentProcessId();
    snprintf(name, sizeof name, "pagekeeper-section-%lu", me);
    snprintf(other, sizeof other, "Pagekeeper-Section-%lu", me);
    snprintf(bad, sizeof bad, "Local\\a\\b-%lu", me);
    mark_error();
    outcome("name.open-unknown", OpenFileMappingA(FILE_MAP_READ, FALSE, name));
    mark_error();
    outcome("name.open-null", OpenFileMappingA(FILE_MAP_READ, FALSE, NULL));
    mark_error();
    HANDLE first = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 3 * GR, name);
    outcome("name.create", first);
    mark_error();
    HANDLE second = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READONLY, 0, GR, name);
    outcome("name.create-again", second);
    mapped("name.size-and-protection-of-the-first", first, FILE_MAP_WRITE, 0, 0, NULL);
    mapped("name.size-of-the-first", second, FILE_MAP_READ, 0, 0, NULL);
    mark_error();
    outcome("name.case-counts", CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, GR, other));
    CloseHandle(made);
    mark_error();
    HANDLE opened = OpenFileMappingA(FILE_MAP_ALL_ACCESS, FALSE, name);
    outcome("name.open", opened);
    char *p = MapViewOfFile(first, FILE_MAP_WRITE, 0, 0, 0), *q = MapViewOfFile(opened, FILE_MAP_READ, 0, 0, 0);
    p[12345] = 99;
    say("name.is-the-same", "%d", q[12345]);
    UnmapViewOfFile(q);
    snprintf(other, sizeof other, "Local\\%s", name);
    mark_error();
    outcome("name.local", OpenFileMappingA(FILE_MAP_READ, FALSE, other));
    CloseHandle(made);
    snprintf(other, sizeof other, "Global\\%s-g", name);
    mark_error();
    HANDLE global = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, GR, other);
    outcome("name.global", global);
    mark_error();
    outcome("name.global-again", OpenFileMappingA(FILE_MAP_READ, FALSE, other));
    CloseHandle(made), CloseHandle(global);
    WCHAR wide[100];
    size_t i = 0;
    for (; name[i]; i++)
        wide[i] = (WCHAR)name[i];
    wide[i] = 0;
    mark_error();
    outcome("name.wide", OpenFileMappingW(FILE_MAP_READ, FALSE, wide));
    CloseHandle(made);
    mark_error();
    HANDLE h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, GR, bad);
    say("name.backslash-inside", "%s", h ? "a handle" : "NULL");
    // The name goes with the last handle, though there is a view.
    CloseHandle(first), CloseHandle(second), CloseHandle(opened);
    mark_error();
    outcome("name.gone-with-the-last-handle", OpenFileMappingA(FILE_MAP_READ, FALSE, name));
    say("name.the-view-stays", "%d", p[12345]);
    mark_error();
    first = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, GR, name);
    outcome("name.new-and-unrelated", first);
    q = MapViewOfFile(first, FILE_MAP_READ, 0, 0, 0);
    say("name.starts-as-zero", "%d", q[12345]);
    UnmapViewOfFile(q);
    UnmapViewOfFile(p);
    CloseHandle(first);
    // A section of a file has a name as well.
    HANDLE f = file_of(path, RW, 0);
    mark_error();
    first = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, name);
    outcome("name.of-a-file", first);
    mark_error();
    second = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, GR, name);
    outcome("name.of-a-file-again", second);
    mark_error();
    opened = OpenFileMappingA(FILE_MAP_READ, FALSE, name);
    outcome("name.of-a-file-open", opened);
    mapped("name.of-a-file-mapped", opened, FILE_MAP_READ, 0, 0, NULL);
    CloseHandle(first), CloseHandle(second), CloseHandle(opened), CloseHandle(f);
    mark_error();
    outcome("name.of-a-file-gone", OpenFileMappingA(FILE_MAP_READ, FALSE, name));
}

static void accesses(void) {
    static const struct {
        const char *name;
        DWORD value;
    } all[] = {{"none", 0},
        {"copy", FILE_MAP_COPY},
        {"write", FILE_MAP_WRITE},
        {"copy-write", FILE_MAP_COPY | FILE_MAP_WRITE},
        {"read", FILE_MAP_READ},
        {"read-copy", FILE_MAP_READ | FILE_MAP_COPY},
        {"read-write", FILE_MAP_READ | FILE_MAP_WRITE},
        {"all-three", FILE_MAP_READ | FILE_MAP_WRITE | FILE_MAP_COPY},
        {"all-access", FILE_MAP_ALL_ACCESS},
        {"section-execute-alone", SECTION_MAP_EXECUTE},
        {"execute", FILE_MAP_EXECUTE},
        {"execute-copy", FILE_MAP_EXECUTE | FILE_MAP_COPY},
        {"execute-write", FILE_MAP_EXECUTE | FILE_MAP_WRITE},
        {"execute-read", FILE_MAP_EXECUTE | FILE_MAP_READ},
        {"execute-read-copy", FILE_MAP_EXECUTE | FILE_MAP_READ | FILE_MAP_COPY}};
    static const struct {
        const char *name;
        DWORD value;
    } sections[] = {{"ro", PAGE_READONLY}, {"wc", PAGE_WRITECOPY}, {"rw", PAGE_READWRITE}, {"xr", PAGE_EXECUTE_READ}, {"xwc", PAGE_EXECUTE_WRITECOPY}, {"xrw", PAGE_EXECUTE_READWRITE}};
    char id[100];
    HANDLE f = file_of(path, RWX, 0);
    for (size_t k = 0; k < sizeof sections / sizeof *sections; k++) {
        HANDLE h = CreateFileMappingA(f, NULL, sections[k].value, 0, 0, NULL);
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            snprintf(id, sizeof id, "view.%s-%s", sections[k].name, all[i].name);
            mapped(id, h, all[i].value, 0, 0, NULL);
        }
        CloseHandle(h);
    }
    CloseHandle(f);
    // The rights of the handle.
    HANDLE me = GetCurrentProcess(), h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_EXECUTE_READWRITE, 0, GR, NULL), d = NULL;
    static const struct {
        const char *name;
        DWORD value;
    } rights[] = {{"read", SECTION_MAP_READ}, {"write", SECTION_MAP_WRITE}, {"query", SECTION_QUERY}, {"read-write", SECTION_MAP_READ | SECTION_MAP_WRITE},
        {"read-execute", SECTION_MAP_READ | SECTION_MAP_EXECUTE}};
    for (size_t k = 0; k < sizeof rights / sizeof *rights; k++) {
        DuplicateHandle(me, h, me, &d, rights[k].value, FALSE, 0);
        for (size_t i = 0; i < 11; i++) {
            if (i == 3 || (i > 4 && i < 10))
                continue;
            snprintf(id, sizeof id, "right.%s-%s", rights[k].name, all[i].name);
            mapped(id, d, all[i].value, 0, 0, NULL);
        }
        CloseHandle(d);
    }
    CloseHandle(h);
}

static void geometry(void) {
    HANDLE f = file_of(path, RW, 0), h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    DWORD size = GetFileSize(f, NULL);
    say("geometry.size", "%lu", (unsigned long)size);
    mapped("geometry.offset-64k", h, FILE_MAP_READ, GR, 0, NULL);
    mapped("geometry.offset-4k", h, FILE_MAP_READ, PG, PG, NULL);
    mapped("geometry.offset-1", h, FILE_MAP_READ, 1, 1, NULL);
    mapped("geometry.part", h, FILE_MAP_READ, GR, 10, NULL);
    mapped("geometry.last-byte", h, FILE_MAP_READ, 2 * GR, size - 2 * GR, NULL);
    mapped("geometry.one-byte-too-many", h, FILE_MAP_READ, 2 * GR, size - 2 * GR + 1, NULL);
    mapped("geometry.whole-plus-one", h, FILE_MAP_READ, 0, (SIZE_T)size + 1, NULL);
    mapped("geometry.offset-at-the-end", h, FILE_MAP_READ, 4 * GR, 0, NULL);
    mapped("geometry.offset-behind-the-end", h, FILE_MAP_READ, 1ull << 40, 1, NULL);
    mapped("geometry.all-ones", h, FILE_MAP_READ, 0, (SIZE_T)-1, NULL);
    mapped("geometry.huge", h, FILE_MAP_READ, 0, (SIZE_T)1 << 46, NULL);
    window_new();
    mapped("geometry.at", h, FILE_MAP_READ, 0, 0, B);
    mapped("geometry.at-unaligned", h, FILE_MAP_READ, 0, 0, B + PG);
    mapped("geometry.at-one-off", h, FILE_MAP_READ, 0, 0, B + 1);
    VirtualAlloc(B + GR, PG, MEM_RESERVE, PAGE_NOACCESS);
    mapped("geometry.at-taken", h, FILE_MAP_READ, 0, GR + 1, B);
    mapped("geometry.at-just-before", h, FILE_MAP_READ, 0, GR, B);
    window_clear();
    char *p = MapViewOfFileEx(h, FILE_MAP_READ, 0, 0, 0, B);
    mapped("geometry.at-a-view", h, FILE_MAP_READ, 0, 0, B);
    UnmapViewOfFile(p);
    mapped("geometry.bad-handle", (HANDLE)(uintptr_t)0xdead0, FILE_MAP_READ, 0, 0, NULL);
    mapped("geometry.null-handle", NULL, FILE_MAP_READ, 0, 0, NULL);
    mapped("geometry.file-handle", f, FILE_MAP_READ, 0, 0, NULL);
    CloseHandle(h);
    CALL("geometry.wait-for-section", WaitForSingleObject(h, 0) == WAIT_OBJECT_0);
    CloseHandle(f);
}

/// Committed pages by now.
static U64 committed(void) {
    PERFORMANCE_INFORMATION info;
    GetPerformanceInfo(&info, sizeof info);
    return info.CommitTotal;
}

static void charges(void) {
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    GlobalMemoryStatusEx(&status);
    MAKE("charge-section.more-than-there-is", INVALID_HANDLE_VALUE, PAGE_READWRITE, status.ullTotalPageFile + (1ull << 30));
    MAKE("charge-section.reserved-more-than-there-is", INVALID_HANDLE_VALUE, PAGE_READWRITE | SEC_RESERVE, (status.ullTotalPageFile + (1ull << 30)) & ~0xffffull);
    MAKE("charge-section.absurd", INVALID_HANDLE_VALUE, PAGE_READWRITE | SEC_RESERVE, 1ull << 46);
    U64 before = committed();
    HANDLE h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 64 * GR, NULL);
    say("charge-section.memory-is-charged-at-once", "%lld pages", (long long)(committed() - before));
    char *p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0), *q = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    say("charge-section.its-views-cost-nothing", "%lld pages", (long long)(committed() - before));
    CloseHandle(h);
    UnmapViewOfFile(p);
    say("charge-section.the-last-view-holds-it", "%lld pages", (long long)(committed() - before));
    UnmapViewOfFile(q);
    say("charge-section.returned", "%lld pages", (long long)(committed() - before));
    h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE, 0, 64 * GR, NULL);
    p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    say("charge-section.reserved-costs-nothing", "%lld pages", (long long)(committed() - before));
    VirtualAlloc(p, 5 * PG, MEM_COMMIT, PAGE_READWRITE);
    say("charge-section.reserved-by-the-page", "%lld pages", (long long)(committed() - before));
    UnmapViewOfFile(p);
    CloseHandle(h);
    HANDLE f = file_of(path, RW, 0);
    h = CreateFileMappingA(f, NULL, PAGE_READWRITE, 0, 0, NULL);
    p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 0);
    say("charge-section.files-cost-nothing", "%lld pages", (long long)(committed() - before));
    UnmapViewOfFile(p);
    p = MapViewOfFile(h, FILE_MAP_COPY, 0, 0, 10 * PG);
    say("charge-section.copies-cost-all-of-the-view", "%lld pages", (long long)(committed() - before));
    p[0] = 1;
    say("charge-section.and-no-more-when-written", "%lld pages", (long long)(committed() - before));
    UnmapViewOfFile(p);
    p = MapViewOfFile(h, FILE_MAP_WRITE, 0, 0, 10 * PG);
    DWORD old;
    VirtualProtect(p, 3 * PG, PAGE_WRITECOPY, &old);
    say("charge-section.protected-to-writecopy", "%lld pages", (long long)(committed() - before));
    UnmapViewOfFile(p);
    CloseHandle(h), CloseHandle(f);
    say("charge-section.all-returned", "%lld pages", (long long)(committed() - before));
}

int main(void) {
    begin();
    char folder[300];
    DWORD length = GetTempPathA(sizeof folder, folder);
    folder[length ? length - 1 : 0] = 0;
    snprintf(path, sizeof path, "%s/pagekeeper-sections-%lu", folder, (unsigned long)GetCurrentProcessId());
    snprintf(path2, sizeof path2, "%s-2", path);
    snprintf(empty, sizeof empty, "%s-0", path);
    CloseHandle(CreateFileA(path, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL));
    CloseHandle(CreateFileA(path2, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL));
    CloseHandle(CreateFileA(empty, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL));
    CloseHandle(file_of(path, RW, 200000));
    say("section.rx-is-a-right", "%s", yes(RX != RW));
    protections();
    attributes();
    sizes();
    names();
    accesses();
    geometry();
    charges();
    CALL("section.files-can-be-deleted", DeleteFileA(path) && DeleteFileA(path2) && DeleteFileA(empty));
    return 0;
}
