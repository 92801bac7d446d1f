// The later calls for sections and views: CreateFileMapping2, MapViewOfFile3 and its address requirements, the forms for apps.
#include "late.h"

#ifdef __MINGW32__
LATE(HANDLE, CreateFileMapping2, NULL,
    (HANDLE file, SECURITY_ATTRIBUTES *security, ULONG access, ULONG protection, ULONG attributes, ULONG64 size, PCWSTR name, MEM_EXTENDED_PARAMETER *more, ULONG count),
    (file, security, access, protection, attributes, size, name, more, count))
LATE(HANDLE, CreateFileMappingFromApp, NULL, (HANDLE file, SECURITY_ATTRIBUTES *security, ULONG protection, ULONG64 size, PCWSTR name), (file, security, protection, size, name))
LATE(HANDLE, OpenFileMappingFromApp, NULL, (ULONG access, BOOL inherit, PCWSTR name), (access, inherit, name))
LATE(PVOID, MapViewOfFileFromApp, NULL, (HANDLE section, ULONG access, ULONG64 offset, SIZE_T size), (section, access, offset, size))
LATE(PVOID, MapViewOfFile3, NULL,
    (HANDLE section, HANDLE process, PVOID base, ULONG64 offset, SIZE_T size, ULONG type, ULONG prot, MEM_EXTENDED_PARAMETER *more, ULONG count),
    (section, process, base, offset, size, type, prot, more, count))
LATE(PVOID, MapViewOfFile3FromApp, NULL,
    (HANDLE section, HANDLE process, PVOID base, ULONG64 offset, SIZE_T size, ULONG type, ULONG prot, MEM_EXTENDED_PARAMETER *more, ULONG count),
    (section, process, base, offset, size, type, prot, more, count))
LATE(BOOL, UnmapViewOfFile2, FALSE, (HANDLE process, PVOID base, ULONG flags), (process, base, flags))
#define CreateFileMapping2 late_CreateFileMapping2
#define CreateFileMappingFromApp late_CreateFileMappingFromApp
#define OpenFileMappingFromApp late_OpenFileMappingFromApp
#define MapViewOfFileFromApp late_MapViewOfFileFromApp
#define MapViewOfFile3 late_MapViewOfFile3
#define MapViewOfFile3FromApp late_MapViewOfFile3FromApp
#define UnmapViewOfFile2 late_UnmapViewOfFile2
#endif

static void outcome(const char *id, const void *result) {
    DWORD error = GetLastError();
    say(id, "%s | %s", result ? "done" : "NULL", error_name(error));
}

#define MADE(id, call)                                                                                                                                                             \
    do {                                                                                                                                                                           \
        mark_error();                                                                                                                                                              \
        HANDLE h_ = (call);                                                                                                                                                        \
        outcome(id, h_);                                                                                                                                                           \
        if (h_)                                                                                                                                                                    \
            CloseHandle(h_);                                                                                                                                                       \
    } while (0)

static void mapped(const char *id, char *p) {
    DWORD error = GetLastError();
    MEMORY_BASIC_INFORMATION m;
    if (p && VirtualQuery(p, &m, sizeof m))
        say(id, "a view | %s | %s of %s, 0x%llx bytes%s", error_name(error), prot_name(m.Protect), prot_name(m.AllocationProtect), (U64)m.RegionSize, p == B ? ", at B" : "");
    else
        say(id, "NULL | %s", error_name(error));
    if (p)
        UnmapViewOfFile(p);
}

#define MAP(id, call) (mark_error(), mapped(id, call))

int main(void) {
    begin();
    HANDLE me = GetCurrentProcess(), h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_EXECUTE_READWRITE, 0, 3 * GR, NULL);
    HANDLE no = INVALID_HANDLE_VALUE;
    MADE("mapping2.memory", CreateFileMapping2(no, NULL, FILE_MAP_ALL_ACCESS, PAGE_READWRITE, SEC_COMMIT, GR, NULL, NULL, 0));
    MADE("mapping2.no-attributes", CreateFileMapping2(no, NULL, FILE_MAP_ALL_ACCESS, PAGE_READWRITE, 0, GR, NULL, NULL, 0));
    MADE("mapping2.size-0", CreateFileMapping2(no, NULL, FILE_MAP_ALL_ACCESS, PAGE_READWRITE, 0, 0, NULL, NULL, 0));
    MADE("mapping2.noaccess", CreateFileMapping2(no, NULL, FILE_MAP_ALL_ACCESS, PAGE_NOACCESS, 0, GR, NULL, NULL, 0));
    mark_error();
    HANDLE reader = CreateFileMapping2(no, NULL, FILE_MAP_READ, PAGE_READWRITE, SEC_COMMIT, GR, NULL, NULL, 0);
    outcome("mapping2.reader", reader);
    MAP("mapping2.reader-reads", MapViewOfFile(reader, FILE_MAP_READ, 0, 0, 0));
    MAP("mapping2.reader-may-not-write", MapViewOfFile(reader, FILE_MAP_WRITE, 0, 0, 0));
    CloseHandle(reader);
    MADE("app.memory", CreateFileMappingFromApp(no, NULL, PAGE_READWRITE, GR, NULL));
    MADE("app.execute", CreateFileMappingFromApp(no, NULL, PAGE_EXECUTE_READWRITE, GR, NULL));
    MADE("app.open-unknown", OpenFileMappingFromApp(FILE_MAP_READ, FALSE, u"pagekeeper-no-such-section"));
    MAP("app.map", MapViewOfFileFromApp(h, FILE_MAP_READ, GR, 10));
    MAP("app.map-execute", MapViewOfFileFromApp(h, FILE_MAP_READ | FILE_MAP_EXECUTE, 0, 0));
    MAP("app.map3-execute", MapViewOfFile3FromApp(h, me, NULL, 0, 0, 0, PAGE_EXECUTE_READ, NULL, 0));
    MAP("app.map3", MapViewOfFile3FromApp(h, me, NULL, 0, 0, 0, PAGE_READWRITE, NULL, 0));

    MAP("map3.whole", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, NULL, 0));
    MAP("map3.part", MapViewOfFile3(h, me, NULL, GR, 5000, 0, PAGE_READONLY, NULL, 0));
    MAP("map3.writecopy", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_WRITECOPY, NULL, 0));
    MAP("map3.execute", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_EXECUTE_READ, NULL, 0));
    MAP("map3.protection-0", MapViewOfFile3(h, me, NULL, 0, 0, 0, 0, NULL, 0));
    MAP("map3.two-bases", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READONLY | PAGE_READWRITE, NULL, 0));
    MAP("map3.commit", MapViewOfFile3(h, me, NULL, 0, 0, MEM_COMMIT, PAGE_READWRITE, NULL, 0));
    MAP("map3.too-large", MapViewOfFile3(h, me, NULL, 0, 3 * GR + 1, 0, PAGE_READWRITE, NULL, 0));
    MAP("map3.bad-process", MapViewOfFile3(h, (HANDLE)(uintptr_t)0xdead0, NULL, 0, 0, 0, PAGE_READWRITE, NULL, 0));
    MAP("map3.bad-section", MapViewOfFile3(NULL, me, NULL, 0, 0, 0, PAGE_READWRITE, NULL, 0));
    window_new();
    MAP("map3.at", MapViewOfFile3(h, me, B, 0, 0, 0, PAGE_READWRITE, NULL, 0));
    MAP("map3.at-unaligned", MapViewOfFile3(h, me, B + PG, 0, 0, 0, PAGE_READWRITE, NULL, 0));
    MEM_ADDRESS_REQUIREMENTS needs = {0};
    MEM_EXTENDED_PARAMETER more[2] = {{.Type = MemExtendedParameterAddressRequirements, .Pointer = &needs}, {.Type = MemExtendedParameterAddressRequirements, .Pointer = &needs}};
    MAP("map3.requirements-zero", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, more, 1));
    MAP("map3.requirements-twice", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, more, 2));
    needs.Alignment = GR;
    MAP("map3.alignment", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, more, 1));
    needs.Alignment = 0;
    needs.LowestStartingAddress = B;
    needs.HighestEndingAddress = B + 3 * GR - 1;
    MAP("map3.within", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, more, 1));
    MAP("map3.within-and-at", MapViewOfFile3(h, me, B, 0, 0, 0, PAGE_READWRITE, more, 1));
    needs.HighestEndingAddress = B + 2 * GR - 1;
    MAP("map3.no-room-within", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, more, 1));
    needs.HighestEndingAddress = B + 2 * GR;
    MAP("map3.not-an-end", MapViewOfFile3(h, me, NULL, 0, 0, 0, PAGE_READWRITE, more, 1));

    char *p = MapViewOfFile(h, FILE_MAP_READ, 0, 0, 0);
    mark_error();
    BOOL ok = UnmapViewOfFileEx(p, 4);
    say("unmap.flag-4", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = UnmapViewOfFileEx(p, 2);
    say("unmap.preserve-without-placeholder", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = UnmapViewOfFile2(NULL, p, 0);
    say("unmap.bad-process", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = UnmapViewOfFile2(me, p, 1);
    say("unmap.boost", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    CloseHandle(h);
    return 0;
}
