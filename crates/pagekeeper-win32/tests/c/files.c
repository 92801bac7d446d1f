// Files: how they are opened and shared, read, written, sized; their handles and the C run-time's.
#define _DEFAULT_SOURCE
#include "conform.h"

#ifndef __MINGW32__
#include <io.h>
#include <unistd.h>
#define _fileno fileno
#define _close close
#define _write write
#endif

static char folder[300], name[400], name2[420], name3[420];
static const DWORD RW = GENERIC_READ | GENERIC_WRITE, ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

static HANDLE made;

static void opened(const char *id, HANDLE h) {
    DWORD error = GetLastError();
    say(id, "%s | %s", h == INVALID_HANDLE_VALUE ? "INVALID_HANDLE_VALUE" : "a handle", error_name(error));
    made = h;
}

#define OPEN(id, name, access, share, how, flags) (mark_error(), opened(id, CreateFileA(name, access, share, NULL, how, flags, NULL)))
#define DONE(id, name, access, share, how, flags) (OPEN(id, name, access, share, how, flags), CloseHandle(made))

#define CALL(id, call)                                                                                                                                                             \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        int ok_ = (call) != 0;                                                                                                                                                     \
        DWORD error_ = GetLastError();                                                                                                                                             \
        say(id, "%s | %s", ok_ ? "TRUE" : "FALSE", error_name(error_));                                                                                                            \
    } while (0)

/// The position, or -1.
static long long position(HANDLE h) {
    LARGE_INTEGER zero = {.QuadPart = 0}, at;
    return SetFilePointerEx(h, zero, &at, FILE_CURRENT) ? at.QuadPart : -1;
}

static void moved(const char *id, HANDLE h, long long distance, DWORD from) {
    LARGE_INTEGER by = {.QuadPart = distance}, at = {.QuadPart = -7};
    mark_error();
    BOOL ok = SetFilePointerEx(h, by, &at, from);
    DWORD error = GetLastError();
    say(id, "%s | %s | %lld, at %lld", ok ? "TRUE" : "FALSE", error_name(error), at.QuadPart, position(h));
}

static void halves(const char *id, HANDLE h, LONG low, LONG *high, DWORD from) {
    mark_error();
    DWORD result = SetFilePointer(h, low, high, from);
    DWORD error = GetLastError();
    say(id, "0x%lx | %s | high %ld, at %lld", (unsigned long)result, error_name(error), high ? (long)*high : 0, position(h));
}

static void transfer(const char *id, BOOL ok, DWORD error, DWORD count, HANDLE h) {
    say(id, "%s | %s | %lu bytes, at %lld", ok ? "TRUE" : "FALSE", error_name(error), (unsigned long)count, position(h));
}

#define READ(id, h, to, n, ov)                                                                                                                                                     \
    do {                                                                                                                                                                           \
        DWORD done_ = 0xdd;                                                                                                                                                        \
        mark_error();                                                                                                                                                              \
        BOOL ok_ = ReadFile(h, to, n, &done_, ov);                                                                                                                                 \
        transfer(id, ok_, GetLastError(), done_, h);                                                                                                                               \
    } while (0)
#define WRITE(id, h, from, n, ov)                                                                                                                                                  \
    do {                                                                                                                                                                           \
        DWORD done_ = 0xdd;                                                                                                                                                        \
        mark_error();                                                                                                                                                              \
        BOOL ok_ = WriteFile(h, from, n, &done_, ov);                                                                                                                              \
        transfer(id, ok_, GetLastError(), done_, h);                                                                                                                               \
    } while (0)

static void opening(void) {
    char missing[500], slashed[400];
    snprintf(missing, sizeof missing, "%s/none/x", folder);
    OPEN("file.open-missing", name, GENERIC_READ, 0, OPEN_EXISTING, 0);
    OPEN("file.open-missing-folder", missing, GENERIC_READ, 0, OPEN_EXISTING, 0);
    OPEN("file.create-in-missing-folder", missing, RW, 0, CREATE_ALWAYS, 0);
    OPEN("file.empty-name", "", GENERIC_READ, 0, OPEN_EXISTING, 0);
    OPEN("file.no-such-drive", "q:\\x", GENERIC_READ, 0, OPEN_EXISTING, 0);
    OPEN("file.truncate-missing", name, RW, 0, TRUNCATE_EXISTING, 0);
    DONE("file.create-new", name, RW, 0, CREATE_NEW, 0);
    OPEN("file.create-new-again", name, RW, 0, CREATE_NEW, 0);
    DONE("file.create-always-existing", name, RW, 0, CREATE_ALWAYS, 0);
    DONE("file.open-always-existing", name, RW, 0, OPEN_ALWAYS, 0);
    DONE("file.open-existing", name, GENERIC_READ, 0, OPEN_EXISTING, 0);
    DONE("file.truncate-existing", name, RW, 0, TRUNCATE_EXISTING, 0);
    DONE("file.truncate-without-write", name, GENERIC_READ, 0, TRUNCATE_EXISTING, 0);
    CALL("file.delete", DeleteFileA(name));
    CALL("file.delete-again", DeleteFileA(name));
    DONE("file.open-always-new", name, RW, 0, OPEN_ALWAYS, 0);
    CALL("file.delete-2", DeleteFileA(name));
    DONE("file.create-always-new", name, RW, 0, CREATE_ALWAYS, 0);
    OPEN("file.disposition-0", name, RW, 0, 0, 0);
    OPEN("file.disposition-6", name, RW, 0, 6, 0);
    OPEN("file.folder", folder, GENERIC_READ, ALL, OPEN_EXISTING, 0);
    DONE("file.folder-with-backup-semantics", folder, GENERIC_READ, ALL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS);
    CALL("file.delete-folder", DeleteFileA(folder));
    snprintf(slashed, sizeof slashed, "%s", name);
    for (char *c = slashed; *c; c++)
        *c = *c == '/' ? '\\' : *c;
    DONE("file.backslashes", slashed, GENERIC_READ, 0, OPEN_EXISTING, 0);
    for (char *c = slashed; *c; c++)
        *c = *c == '\\' ? '/' : *c;
    DONE("file.slashes", slashed, GENERIC_READ, 0, OPEN_EXISTING, 0);
    DONE("file.nul", "NUL", RW, 0, OPEN_EXISTING, 0);
    WCHAR wide[400];
    size_t i = 0;
    for (; name[i]; i++)
        wide[i] = (WCHAR)name[i];
    wide[i] = 0;
    mark_error();
    opened("file.wide", CreateFileW(wide, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL));
    CloseHandle(made);
    say("file.attributes", "0x%lx", (unsigned long)GetFileAttributesA(name) & ~0x2000ul);
    say("file.attributes-folder", "%s", yes(GetFileAttributesA(folder) != INVALID_FILE_ATTRIBUTES && GetFileAttributesA(folder) & FILE_ATTRIBUTE_DIRECTORY));
    CALL("file.attributes-missing", GetFileAttributesA(missing) != INVALID_FILE_ATTRIBUTES);
    // A file that nobody may write to.
    DONE("file.create-read-only", name2, RW, 0, CREATE_ALWAYS, FILE_ATTRIBUTE_READONLY);
    OPEN("file.write-read-only", name2, GENERIC_WRITE, 0, OPEN_EXISTING, 0);
    OPEN("file.overwrite-read-only", name2, RW, 0, CREATE_ALWAYS, 0);
    DONE("file.read-read-only", name2, GENERIC_READ, 0, OPEN_EXISTING, 0);
    CALL("file.delete-read-only", DeleteFileA(name2));
    say("file.attributes-read-only", "%s", yes(GetFileAttributesA(name2) & FILE_ATTRIBUTE_READONLY));
}

static void sharing(void) {
    HANDLE first = CreateFileA(name, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    DONE("share.reader-beside-reader", name, GENERIC_READ, FILE_SHARE_READ, OPEN_EXISTING, 0);
    OPEN("share.writer-beside-reader", name, GENERIC_WRITE, ALL, OPEN_EXISTING, 0);
    OPEN("share.reader-that-lets-nobody", name, GENERIC_READ, 0, OPEN_EXISTING, 0);
    DONE("share.only-looking", name, 0, 0, OPEN_EXISTING, 0);
    OPEN("share.overwriting", name, RW, ALL, CREATE_ALWAYS, 0);
    CALL("share.delete", DeleteFileA(name));
    CloseHandle(first);
    DONE("share.after-closing", name, RW, 0, OPEN_EXISTING, 0);
    first = CreateFileA(name, RW, 0, NULL, OPEN_EXISTING, 0, NULL);
    OPEN("share.nobody-beside", name, GENERIC_READ, ALL, OPEN_EXISTING, 0);
    CloseHandle(first);
    first = CreateFileA(name, RW, ALL, NULL, OPEN_EXISTING, 0, NULL);
    DONE("share.all-beside-all", name, RW, ALL, OPEN_EXISTING, 0);
    OPEN("share.too-few-beside-writer", name, GENERIC_READ, FILE_SHARE_READ, OPEN_EXISTING, 0);
    HANDLE copy;
    DuplicateHandle(GetCurrentProcess(), first, GetCurrentProcess(), &copy, 0, FALSE, DUPLICATE_SAME_ACCESS);
    CloseHandle(first);
    OPEN("share.held-by-a-duplicate", name, GENERIC_READ, FILE_SHARE_READ, OPEN_EXISTING, 0);
    CloseHandle(copy);
    // Names that go with their files.
    first = CreateFileA(name3, RW, ALL, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    say("share.delete-on-close-is-there", "%s", yes(GetFileAttributesA(name3) != INVALID_FILE_ATTRIBUTES));
    CloseHandle(first);
    CALL("share.delete-on-close-is-gone", GetFileAttributesA(name3) != INVALID_FILE_ATTRIBUTES);
    first = CreateFileA(name3, RW, 0, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE | FILE_ATTRIBUTE_TEMPORARY, NULL);
    DWORD done = 0;
    WriteFile(first, "abc", 3, &done, NULL);
    say("share.delete-on-close-alone", "%lu bytes, size %lu", (unsigned long)done, (unsigned long)GetFileSize(first, NULL));
    CloseHandle(first);
    CALL("share.delete-on-close-alone-is-gone", GetFileAttributesA(name3) != INVALID_FILE_ATTRIBUTES);
}

static void transfers(void) {
    char bytes[64] = "0123456789abcdef", back[64];
    HANDLE h = CreateFileA(name, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL), r = CreateFileA(name, GENERIC_READ, ALL, NULL, OPEN_EXISTING, 0, NULL),
           w = CreateFileA(name, GENERIC_WRITE, ALL, NULL, OPEN_EXISTING, 0, NULL), a = CreateFileA(name, FILE_APPEND_DATA, ALL, NULL, OPEN_EXISTING, 0, NULL);
    WRITE("io.write", h, bytes, 16, NULL);
    WRITE("io.write-nothing", h, bytes, 0, NULL);
    READ("io.read-at-the-end", h, back, 16, NULL);
    moved("io.to-the-start", h, 0, FILE_BEGIN);
    memset(back, 0, sizeof back);
    READ("io.read", h, back, 10, NULL);
    say("io.what-was-read", "%s", back);
    READ("io.read-short", h, back, 64, NULL);
    READ("io.read-without-right", w, back, 4, NULL);
    WRITE("io.write-without-right", r, bytes, 4, NULL);
    CALL("io.flush-without-right", FlushFileBuffers(r));
    CALL("io.flush", FlushFileBuffers(h));
    WRITE("io.append", a, "XY", 2, NULL);
    say("io.size-after-append", "%lu", (unsigned long)GetFileSize(h, NULL));
    READ("io.bad-handle", (HANDLE)(uintptr_t)0xdead0, back, 4, NULL);
    READ("io.process-handle", GetCurrentProcess(), back, 4, NULL);
    // With an offset of its own; the position is behind it afterwards.
    OVERLAPPED ov = {.Offset = 4};
    READ("io.read-at-offset", h, back, 4, &ov);
    say("io.read-at-offset-what", "%.4s, %llu bytes", back, (U64)ov.InternalHigh);
    ov.Offset = 100;
    READ("io.read-behind-the-end", h, back, 4, &ov);
    ov.Offset = 2;
    WRITE("io.write-at-offset", h, "__", 2, &ov);
    ov.Offset = ov.OffsetHigh = 0xffffffff;
    WRITE("io.write-at-the-end", h, "!", 1, &ov);
    moved("io.to-the-start-again", h, 0, FILE_BEGIN);
    memset(back, 0, sizeof back);
    READ("io.read-all", h, back, 64, NULL);
    say("io.all", "%s", back);
    CloseHandle(r), CloseHandle(w), CloseHandle(a);

    // Positions and sizes.
    LONG high = 0;
    LARGE_INTEGER size;
    moved("position.from-here", h, -3, FILE_CURRENT);
    moved("position.from-the-end", h, -1, FILE_END);
    moved("position.behind-the-end", h, 1000, FILE_BEGIN);
    moved("position.negative", h, -1, FILE_BEGIN);
    moved("position.bad-method", h, 0, 3);
    halves("position.low-half", h, 5, NULL, FILE_BEGIN);
    halves("position.low-half-negative", h, -6, NULL, FILE_CURRENT);
    high = 1;
    halves("position.both-halves", h, 2, &high, FILE_BEGIN);
    halves("position.does-not-fit", h, 0, NULL, FILE_CURRENT);
    high = 0;
    halves("position.looks-like-failure", h, -1, &high, FILE_BEGIN);
    moved("position.to-3-gib", h, 0xC0000000LL, FILE_BEGIN);
    CALL("position.extend", SetEndOfFile(h));
    DWORD upper = 7;
    mark_error();
    DWORD lower = GetFileSize(h, &upper);
    say("size.halves", "0x%lx 0x%lx | %s", (unsigned long)upper, (unsigned long)lower, error_name(GetLastError()));
    CALL("size.ex", GetFileSizeEx(h, &size));
    say("size.ex-is", "%lld", size.QuadPart);
    moved("size.to-ffffffff", h, 0xFFFFFFFFLL, FILE_BEGIN);
    SetEndOfFile(h);
    mark_error();
    lower = GetFileSize(h, NULL);
    say("size.looks-like-failure", "0x%lx | %lu", (unsigned long)lower, (unsigned long)GetLastError());
    moved("size.to-6", h, 6, FILE_BEGIN);
    CALL("size.shorten", SetEndOfFile(h));
    say("size.is-6", "%lu", (unsigned long)GetFileSize(h, NULL));
    CALL("size.bad-handle", GetFileSize(NULL, NULL) != INVALID_FILE_SIZE);
    r = CreateFileA(name, GENERIC_READ, ALL, NULL, OPEN_EXISTING, 0, NULL);
    CALL("size.shorten-without-right", SetEndOfFile(r));
    say("type.disk", "%lu", (unsigned long)GetFileType(h));
    HANDLE nul = CreateFileA("NUL", RW, 0, NULL, OPEN_EXISTING, 0, NULL);
    say("type.character", "%lu", (unsigned long)GetFileType(nul));
    CloseHandle(nul);
    CALL("type.bad-handle", GetFileType((HANDLE)(uintptr_t)0xdead0));
    BY_HANDLE_FILE_INFORMATION facts, same;
    CALL("information", GetFileInformationByHandle(h, &facts));
    GetFileInformationByHandle(r, &same);
    say("information.what", "size %lu:%lu, links %lu, same file: %s", (unsigned long)facts.nFileSizeHigh, (unsigned long)facts.nFileSizeLow, (unsigned long)facts.nNumberOfLinks,
        yes(facts.nFileIndexLow == same.nFileIndexLow && facts.nFileIndexHigh == same.nFileIndexHigh && facts.dwVolumeSerialNumber == same.dwVolumeSerialNumber));

    // Duplicates have one position; rights of their own.
    HANDLE copy = NULL;
    HANDLE me = GetCurrentProcess();
    DuplicateHandle(me, h, me, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS);
    moved("duplicate.moved", copy, 3, FILE_BEGIN);
    say("duplicate.moves-both", "%lld", position(h));
    CloseHandle(copy);
    DuplicateHandle(me, h, me, &copy, GENERIC_READ, FALSE, 0);
    WRITE("duplicate.without-right", copy, "x", 1, NULL);
    READ("duplicate.with-right", copy, back, 1, NULL);
    CloseHandle(copy);
    mark_error();
    BOOL ok = DuplicateHandle(me, r, me, &copy, GENERIC_WRITE, FALSE, 0);
    say("duplicate.more-rights", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    if (ok)
        CloseHandle(copy);
    CALL("wait.file", WaitForSingleObject(h, 0) == WAIT_OBJECT_0);
    CloseHandle(r);
    CloseHandle(h);
}

/// Which pages of a watched block count as written.
static const char *written(char *block, SIZE_T pages) {
    static char text[64];
    void *found[16];
    ULONG_PTR count = 16;
    DWORD grain;
    text[0] = 0;
    if (GetWriteWatch(WRITE_WATCH_FLAG_RESET, block, pages * PG, found, &count, &grain))
        return "failed";
    for (ULONG_PTR i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lu", i ? " " : "", (unsigned long)(((char *)found[i] - block) / PG));
    return *text ? text : "none";
}

static void memory(void) {
    DWORD done, old;
    HANDLE h = CreateFileA(name, RW, ALL, NULL, CREATE_ALWAYS, 0, NULL);
    char *p = VirtualAlloc(NULL, 16 * PG, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (int i = 0; i < 8; i++)
        memset(p + i * PG, 'a' + i, PG);
    WRITE("buffer.write-from", h, p, 5 * PG + 5, NULL);
    char *q = VirtualAlloc(NULL, 16 * PG, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    moved("buffer.start", h, 0, FILE_BEGIN);
    READ("buffer.read-into", h, q, 16 * PG, NULL);
    say("buffer.is-the-same", "%s, %c%c, then %d", yes(!memcmp(p, q, 5 * PG + 5)), q[0], q[5 * PG + 4], q[5 * PG + 5]);
    // All of the buffer is looked at before anything is transferred.
    VirtualFree(q + 3 * PG, PG, MEM_DECOMMIT);
    VirtualProtect(q + 5 * PG, PG, PAGE_READONLY, &old);
    moved("buffer.start-again", h, 0, FILE_BEGIN);
    READ("buffer.read-into-reserved", h, q + 2 * PG, 2 * PG, NULL);
    READ("buffer.read-into-read-only", h, q + 4 * PG, 2 * PG, NULL);
    READ("buffer.read-into-free", h, (void *)(uintptr_t)0x10000, 16, NULL);
    READ("buffer.read-into-null", h, NULL, 16, NULL);
    READ("buffer.read-nothing-into-null", h, NULL, 0, NULL);
    WRITE("buffer.write-from-read-only", h, q + 5 * PG, 16, NULL);
    WRITE("buffer.write-from-reserved", h, q + 3 * PG - 8, 16, NULL);
    VirtualProtect(q + 7 * PG, PG, PAGE_READWRITE | PAGE_GUARD, &old);
    moved("buffer.start-once-more", h, 0, FILE_BEGIN);
    READ("buffer.read-into-guard", h, q + 6 * PG, 2 * PG, NULL);
    READ("buffer.read-into-guard-again", h, q + 6 * PG, 2 * PG, NULL);
    // What the kernel writes counts as written, and so does the rest of the buffer.
    char *watched = VirtualAlloc(NULL, 8 * PG, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    moved("watch.start", h, 0, FILE_BEGIN);
    ReadFile(h, watched + PG + 8, 100, &done, NULL);
    say("watch.read-file", "%lu bytes, written: %s", (unsigned long)done, written(watched, 8));
    ReadFile(h, watched + 2 * PG - 1, 2, &done, NULL);
    say("watch.read-file-across-two", "%lu bytes, written: %s", (unsigned long)done, written(watched, 8));
    LARGE_INTEGER last = {.QuadPart = -10};
    SetFilePointerEx(h, last, NULL, FILE_END);
    ReadFile(h, watched + PG, 3 * PG, &done, NULL);
    say("watch.read-file-short", "%lu bytes, written: %s", (unsigned long)done, written(watched, 8));
    ReadFile(h, watched + 2 * PG, 2 * PG, &done, NULL);
    say("watch.read-file-nothing", "%lu bytes, written: %s", (unsigned long)done, written(watched, 8));
    ReadFile((HANDLE)(uintptr_t)0xdead0, watched, PG, &done, NULL);
    say("watch.read-file-bad-handle", "written: %s", written(watched, 8));
    WriteFile(h, watched, PG, &done, NULL);
    say("watch.write-file", "%lu bytes, written: %s", (unsigned long)done, written(watched, 8));
    CloseHandle(h);
    VirtualFree(p, 0, MEM_RELEASE), VirtualFree(q, 0, MEM_RELEASE), VirtualFree(watched, 0, MEM_RELEASE);
}

static void runtime(void) {
    char back[16] = "";
    FILE *stream = fopen(name, "w+b");
    fputs("stream", stream);
    fflush(stream);
    HANDLE h = (HANDLE)_get_osfhandle(_fileno(stream));
    say("runtime.handle", "%s, the same each time: %s", yes(h != INVALID_HANDLE_VALUE), yes(h == (HANDLE)_get_osfhandle(_fileno(stream))));
    say("runtime.size", "%lu", (unsigned long)GetFileSize(h, NULL));
    OVERLAPPED ov = {.Offset = 2};
    READ("runtime.read", h, back, 3, &ov);
    say("runtime.what", "%s", back);
    fclose(stream);
    say("runtime.closed", "%s", yes(GetFileType(h) == FILE_TYPE_UNKNOWN));
    h = CreateFileA(name, RW, 0, NULL, CREATE_ALWAYS, 0, NULL);
    int fd = _open_osfhandle((intptr_t)h, 0);
    say("runtime.descriptor", "%s, the same handle: %s", yes(fd >= 0), yes(h == (HANDLE)_get_osfhandle(fd)));
    int wrote = (int)_write(fd, "12345", 5);
    say("runtime.write", "%d, then size %lu", wrote, (unsigned long)GetFileSize(h, NULL));
    OPEN("runtime.keeps-its-share-mode", name, GENERIC_READ, ALL, OPEN_EXISTING, 0);
    int closed = _close(fd);
    say("runtime.close", "%d, the handle is bad: %s", closed, yes(GetFileType(h) == FILE_TYPE_UNKNOWN));
    DONE("runtime.closed-lets-others-in", name, GENERIC_READ, 0, OPEN_EXISTING, 0);
    say("runtime.bad-handle", "%d", _open_osfhandle((intptr_t)0xdead0, 0));
    say("runtime.standard", "%s %s", yes(GetStdHandle(STD_OUTPUT_HANDLE) == (HANDLE)_get_osfhandle(1)), yes(GetFileType(GetStdHandle(STD_OUTPUT_HANDLE)) != FILE_TYPE_UNKNOWN));
    CALL("runtime.standard-bad", GetStdHandle(7) != INVALID_HANDLE_VALUE);
    fflush(stdout);
    DWORD done;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), "runtime.standard-write | yes\n", 29, &done, NULL);
}

static void names(void) {
    char path[MAX_PATH], short_[2], file[MAX_PATH];
    DWORD length = GetTempPathA(sizeof path, path);
    say("temporary.folder", "%s, ends in a separator: %s, room: %s", yes(length == strlen(path)), yes(strchr("/\\", path[length - 1]) != NULL), yes(GetTempPathA(2, short_) == length + 1));
    UINT number = GetTempFileNameA(folder, "pkzzz", 0, file);
    say("temporary.file", "%s, there: %s, prefix of three: %s", yes(number > 0 && number < 0x10000), yes(GetFileAttributesA(file) != INVALID_FILE_ATTRIBUTES),
        yes(strstr(file, "pkz") && !strstr(file, "pkzz")));
    say("temporary.size", "%s", yes(DeleteFileA(file)));
    number = GetTempFileNameA(folder, "p", 0x1234, file);
    say("temporary.numbered", "%x, %.5s, there: %s", number, file + strlen(folder) + 1, yes(GetFileAttributesA(file) != INVALID_FILE_ATTRIBUTES));
    CALL("temporary.no-folder", GetTempFileNameA(name, "p", 0, file));
}

int main(void) {
    begin();
    char temporary[MAX_PATH];
    DWORD length = GetTempPathA(sizeof temporary, temporary);
    temporary[length ? length - 1 : 0] = 0;
    snprintf(folder, sizeof folder, "%s", temporary);
    snprintf(name, sizeof name, "%s/pagekeeper-files-%lu", folder, (unsigned long)GetCurrentProcessId());
    snprintf(name2, sizeof name2, "%s-2", name);
    snprintf(name3, sizeof name3, "%s-3", name);
    DeleteFileA(name);
    opening();
    sharing();
    transfers();
    memory();
    runtime();
    names();
    DeleteFileA(name);
#ifdef __MINGW32__
    SetFileAttributesA(name2, FILE_ATTRIBUTE_NORMAL);
    DeleteFileA(name2);
#else
    remove(name2);
#endif
    return 0;
}
