// Memory status, performance, process counters, notifications: relations between the figures, and every refusal.
#include "conform.h"

static void global_memory(void) {
    MEMORYSTATUSEX s;
    static const DWORD lengths[] = {0, 1, 63, 64, 65, 128};
    for (int i = 0; i < 6; i++) {
        memset(&s, 0, sizeof s);
        s.dwLength = lengths[i];
        mark_error();
        BOOL ok = GlobalMemoryStatusEx(&s);
        char id[32];
        snprintf(id, sizeof id, "status.length-%lu", (unsigned long)lengths[i]);
        say(id, "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    }
    memset(&s, 0xee, sizeof s);
    s.dwLength = sizeof s;
    GlobalMemoryStatusEx(&s);
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    U64 space = (U64)((char *)info.lpMaximumApplicationAddress - (char *)info.lpMinimumApplicationAddress) + 1;
    say("status.load", "%s", yes(s.dwMemoryLoad == (s.ullTotalPhys - s.ullAvailPhys) / (s.ullTotalPhys / 100)));
    say("status.available-below-total", "%s %s %s", yes(s.ullAvailPhys <= s.ullTotalPhys), yes(s.ullAvailPageFile <= s.ullTotalPageFile), yes(s.ullAvailVirtual <= s.ullTotalVirtual));
    say("status.total-virtual", "0x%llx, highest - lowest + 1: %s", (U64)s.ullTotalVirtual, yes(s.ullTotalVirtual == space));
    say("status.extended-is-zero", "%llu", (U64)s.ullAvailExtendedVirtual);
    say("status.nothing-is-zero", "%s", yes(s.ullTotalPhys && s.ullAvailPhys && s.ullTotalPageFile && s.ullAvailPageFile && s.ullAvailVirtual));
    MEMORYSTATUS old;
    memset(&old, 0xee, sizeof old);
    old.dwLength = 3;
    mark_error();
    GlobalMemoryStatus(&old);
    say("status.old-ignores-length", "length now %lu | %s", (unsigned long)old.dwLength, error_name(GetLastError()));
    say("status.old-total", "%s", yes(old.dwTotalPhys == s.ullTotalPhys && old.dwTotalVirtual == s.ullTotalVirtual));
}

/// To the nearest mebibyte.
static long long mebibytes(U64 bytes) { return ((long long)bytes + (1 << 19)) >> 20; }

/// Reserving takes address space, committing takes commit charge; releasing gives both back.
static void what_moves(void) {
    enum { SIZE = 64 << 20 };
    MEMORYSTATUSEX start = {.dwLength = sizeof start}, reserved = start, committed = start, released = start;
    PROCESS_MEMORY_COUNTERS_EX p0 = {.cb = sizeof p0}, p1 = p0, p2 = p0, p3 = p0, p4 = p0, p5 = p0;
    HANDLE me = GetCurrentProcess();
    // Whatever is set up once, is set up now.
    char *first = VirtualAlloc(NULL, SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    first[0] = 1;
    VirtualFree(first, 0, MEM_RELEASE);
    GlobalMemoryStatusEx(&start);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p0, sizeof p0);
    char *p = VirtualAlloc(NULL, SIZE, MEM_RESERVE, PAGE_NOACCESS);
    GlobalMemoryStatusEx(&reserved);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p1, sizeof p1);
    VirtualAlloc(p, SIZE / 2, MEM_COMMIT, PAGE_READWRITE);
    GlobalMemoryStatusEx(&committed);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p2, sizeof p2);
    VirtualAlloc(p, SIZE / 2, MEM_COMMIT, PAGE_READONLY);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p3, sizeof p3);
    VirtualFree(p, SIZE / 4, MEM_DECOMMIT);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p4, sizeof p4);
    VirtualFree(p, 0, MEM_RELEASE);
    GlobalMemoryStatusEx(&released);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p5, sizeof p5);
    say("charge.reserve-costs-nothing", "%lld", (long long)(p1.PrivateUsage - p0.PrivateUsage));
    say("charge.commit-charges-at-once", "%lld", (long long)(p2.PrivateUsage - p1.PrivateUsage));
    say("charge.commit-again-is-free", "%lld", (long long)(p3.PrivateUsage - p2.PrivateUsage));
    say("charge.decommit-returns", "%lld", (long long)(p4.PrivateUsage - p3.PrivateUsage));
    say("charge.release-returns", "%lld", (long long)(p5.PrivateUsage - p4.PrivateUsage));
    say("charge.both-names", "%s", yes(p2.PagefileUsage == p2.PrivateUsage && p2.PeakPagefileUsage >= p2.PagefileUsage));
    // Tables of the system's own may come and go: half a mebibyte is not looked at.
    say("status.reserve-takes-address-space", "%lld MiB", mebibytes(start.ullAvailVirtual - reserved.ullAvailVirtual));
    say("status.commit-takes-no-address-space", "%lld MiB", mebibytes(reserved.ullAvailVirtual - committed.ullAvailVirtual));
    say("status.release-returns-address-space", "%lld MiB", mebibytes(start.ullAvailVirtual - released.ullAvailVirtual));
    say("status.commit-takes-commit", "%lld", (long long)(reserved.ullAvailPageFile - committed.ullAvailPageFile));
    say("status.limit-stands", "%s", yes(start.ullTotalPageFile == committed.ullTotalPageFile));
    // NOACCESS pages are charged like others, and so are reset ones.
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p0, sizeof p0);
    p = VirtualAlloc(NULL, GR, MEM_RESERVE | MEM_COMMIT, PAGE_NOACCESS);
    GetProcessMemoryInfo(me, (PROCESS_MEMORY_COUNTERS *)&p1, sizeof p1);
    say("charge.noaccess-too", "%lld", (long long)(p1.PrivateUsage - p0.PrivateUsage));
    VirtualFree(p, 0, MEM_RELEASE);
}

static void performance(void) {
    PERFORMANCE_INFORMATION info, more;
    static const DWORD lengths[] = {0, 103, 104, 200};
    for (int i = 0; i < 4; i++) {
        struct {
            PERFORMANCE_INFORMATION info;
            char behind[100];
        } room;
        mark_error();
        BOOL ok = GetPerformanceInfo(&room.info, lengths[i]);
        char id[32];
        snprintf(id, sizeof id, "performance.length-%lu", (unsigned long)lengths[i]);
        say(id, "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    }
    memset(&info, 0, sizeof info);
    GetPerformanceInfo(&info, sizeof info);
    MEMORYSTATUSEX s = {.dwLength = sizeof s};
    GlobalMemoryStatusEx(&s);
    say("performance.cb-and-page-size", "%lu %llu", (unsigned long)info.cb, (U64)info.PageSize);
    say("performance.relations", "%s %s %s", yes(info.CommitTotal <= info.CommitLimit), yes(info.CommitPeak >= info.CommitTotal), yes(info.PhysicalAvailable <= info.PhysicalTotal));
    say("performance.agrees-with-status", "%s %s", yes(info.PhysicalTotal == s.ullTotalPhys / PG), yes(info.CommitLimit == s.ullTotalPageFile / PG));
    say("performance.counts", "%s %s", yes(info.ProcessCount > 0), yes(info.ThreadCount >= info.ProcessCount));
    char *p = VirtualAlloc(NULL, 32 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    GetPerformanceInfo(&more, sizeof more);
    say("performance.commit-counts-at-once", "%s", yes(more.CommitTotal >= info.CommitTotal + 8192));
    VirtualFree(p, 0, MEM_RELEASE);
}

static void process(void) {
    PROCESS_MEMORY_COUNTERS c;
    static const DWORD lengths[] = {0, 71, 72, 80};
    for (int i = 0; i < 4; i++) {
        PROCESS_MEMORY_COUNTERS_EX room = {.cb = lengths[i]};
        mark_error();
        BOOL ok = GetProcessMemoryInfo(GetCurrentProcess(), (PROCESS_MEMORY_COUNTERS *)&room, lengths[i]);
        char id[32];
        snprintf(id, sizeof id, "process.length-%lu", (unsigned long)lengths[i]);
        say(id, "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    }
    mark_error();
    BOOL ok = GetProcessMemoryInfo(NULL, &c, sizeof c);
    say("process.null", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    c.cb = sizeof c;
    GetProcessMemoryInfo(GetCurrentProcess(), &c, sizeof c);
    say("process.relations", "%s %s %s", yes(c.PeakWorkingSetSize >= c.WorkingSetSize), yes(c.WorkingSetSize > 0), yes(c.WorkingSetSize % PG == 0));
    char *p = VirtualAlloc(NULL, 8 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PROCESS_MEMORY_COUNTERS before = {.cb = sizeof before}, after = before;
    GetProcessMemoryInfo(GetCurrentProcess(), &before, sizeof before);
    memset(p, 1, 8 << 20);
    GetProcessMemoryInfo(GetCurrentProcess(), &after, sizeof after);
    say("process.touching-grows-the-working-set", "%s", yes(after.WorkingSetSize >= before.WorkingSetSize + (4 << 20)));
    VirtualFree(p, 0, MEM_RELEASE);
}

static void installed(void) {
    ULONGLONG kib = 0;
    mark_error();
    BOOL ok = GetPhysicallyInstalledSystemMemory(NULL);
    say("installed.null", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
    mark_error();
    ok = GetPhysicallyInstalledSystemMemory(&kib);
    MEMORYSTATUSEX s = {.dwLength = sizeof s};
    GlobalMemoryStatusEx(&s);
    say("installed.at-least-total", "%s | %s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()), yes(kib >= s.ullTotalPhys / 1024));
}

static void notifications(void) {
    mark_error();
    HANDLE bad = CreateMemoryResourceNotification((MEMORY_RESOURCE_NOTIFICATION_TYPE)2);
    say("notification.bad-type", "%s | %s", bad ? "handle" : "NULL", error_name(GetLastError()));
    HANDLE low = CreateMemoryResourceNotification(LowMemoryResourceNotification), high = CreateMemoryResourceNotification(HighMemoryResourceNotification);
    BOOL low_state = 7, high_state = 7;
    BOOL ok = QueryMemoryResourceNotification(low, &low_state) && QueryMemoryResourceNotification(high, &high_state);
    say("notification.states", "%s | each 0 or 1: %s, not both: %s", ok ? "TRUE" : "FALSE", yes((low_state & ~1) == 0 && (high_state & ~1) == 0), yes(!(low_state && high_state)));
    mark_error();
    ok = QueryMemoryResourceNotification(NULL, &low_state);
    say("notification.bad-handle", "%s | %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()));
}

static void system_info(void) {
    SYSTEM_INFO s, n;
    memset(&s, 0xee, sizeof s);
    memset(&n, 0xdd, sizeof n);
    GetSystemInfo(&s);
    GetNativeSystemInfo(&n);
    say("system.page-size", "%lu", (unsigned long)s.dwPageSize);
    say("system.granularity", "%lu", (unsigned long)s.dwAllocationGranularity);
    say("system.lowest", "0x%llx", (U64)(uintptr_t)s.lpMinimumApplicationAddress);
    say("system.highest", "0x%llx", (U64)(uintptr_t)s.lpMaximumApplicationAddress);
    say("system.architecture", "%u %u", s.wProcessorArchitecture, s.wReserved);
    say("system.processor-type", "%lu", (unsigned long)s.dwProcessorType);
    int bits = 0;
    for (int i = 0; i < 64; i++)
        bits += (int)((U64)s.dwActiveProcessorMask >> i & 1);
    say("system.mask", "%s", yes(bits == (int)s.dwNumberOfProcessors && bits > 0));
    say("system.native-is-the-same", "%s", yes(s.dwPageSize == n.dwPageSize && s.lpMaximumApplicationAddress == n.lpMaximumApplicationAddress && s.wProcessorArchitecture == n.wProcessorArchitecture &&
                                               s.dwNumberOfProcessors == n.dwNumberOfProcessors && s.wProcessorLevel == n.wProcessorLevel && s.wProcessorRevision == n.wProcessorRevision));
    say("system.sizes", "%llu %llu %llu %llu %llu %llu %llu %llu %llu", (U64)sizeof(MEMORY_BASIC_INFORMATION), (U64)sizeof(SYSTEM_INFO), (U64)sizeof(MEMORYSTATUSEX), (U64)sizeof(MEMORYSTATUS),
        (U64)sizeof(PSAPI_WORKING_SET_EX_INFORMATION), (U64)sizeof(PERFORMANCE_INFORMATION), (U64)sizeof(PROCESS_MEMORY_COUNTERS), (U64)sizeof(PROCESS_MEMORY_COUNTERS_EX),
        (U64)sizeof(EXCEPTION_RECORD));
}

static int page_files;
static BOOL CALLBACK page_file(LPVOID context, PENUM_PAGE_FILE_INFORMATION info, LPCSTR name) {
    page_files++;
    *(int *)context += info->cb == sizeof *info && info->TotalSize >= info->TotalInUse && name && *name;
    return TRUE;
}

static void enumerate(void) {
    int sound = 0;
    mark_error();
    BOOL ok = EnumPageFilesA(page_file, &sound);
    say("page-files.enumerated", "%s | %s | all sound: %s", ok ? "TRUE" : "FALSE", error_name(GetLastError()), yes(sound == page_files));
}

int main(void) {
    begin();
    global_memory();
    what_moves();
    performance();
    process();
    installed();
    notifications();
    system_info();
    enumerate();
    return 0;
}
