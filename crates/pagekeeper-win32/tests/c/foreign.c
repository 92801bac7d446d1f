// Memory that nobody asked VirtualAlloc for: the program, its data, its stack, the C library's heap.
#include "conform.h"

static int data = 5;
static const int constant = 6;

static const char *type_name(DWORD type) { return type == MEM_IMAGE ? "image" : type == MEM_MAPPED ? "mapped" : type == MEM_PRIVATE ? "private" : "none"; }

static void one(const char *id, const void *at, const char *writable) {
    MEMORY_BASIC_INFORMATION m;
    mark_error();
    SIZE_T result = VirtualQuery(at, &m, sizeof m);
    DWORD error = GetLastError();
    DWORD base = m.Protect & 0xff;
    int writes = base == PAGE_READWRITE || base == PAGE_WRITECOPY || base == PAGE_EXECUTE_READWRITE || base == PAGE_EXECUTE_WRITECOPY;
    int executes = base >= PAGE_EXECUTE;
    say(id, "%llu | %s | committed: %s, %s, may be written: %s%s, executed: %s, inside its region: %s, has an allocation base: %s", (U64)result, error_name(error),
        yes(m.State == MEM_COMMIT), type_name(m.Type), yes(writes), writable, yes(executes),
        yes((const char *)m.BaseAddress <= (const char *)at && (const char *)at < (const char *)m.BaseAddress + m.RegionSize), yes(m.AllocationBase != NULL));
}

int main(void) {
    begin();
    int local = 7;
    char *heap = malloc(100), *large = malloc(8 << 20);
    heap[0] = large[0] = 1;
    one("foreign.code", (const void *)(uintptr_t)&type_name, "");
    one("foreign.constant", &constant, "");
    one("foreign.data", &data, "");
    one("foreign.library", (const void *)(uintptr_t)&GetLastError, "");
    one("foreign.stack", &local, "");
    one("foreign.malloc", heap, "");
    one("foreign.malloc-large", large + (4 << 20), "");

    // VirtualFree of it is refused, whatever the words; nothing is lost.
    static const struct {
        const char *id;
        DWORD type;
        SIZE_T size;
    } frees[] = {{"foreign.release", MEM_RELEASE, 0}, {"foreign.decommit", MEM_DECOMMIT, 1}};
    void *const places[] = {&data, &local, large + (4 << 20)};
    static const char *const names[] = {"data", "stack", "malloc"};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 3; i++) {
            if (k == 1 && i > 0) // on Windows a decommit in the stack or the heap succeeds, and then nothing works any more
                continue;
            mark_error();
            BOOL ok = VirtualFree(places[i], frees[k].size, frees[k].type);
            DWORD error = GetLastError();
            printf("%s-%s | %s | %s\n", frees[k].id, names[i], ok ? "TRUE" : "FALSE", error_name(error));
        }

    // VirtualProtect of it works: a page of the heap that we own whole.
    char *page = (char *)(((uintptr_t)large + (1 << 20)) & ~(uintptr_t)0xffff);
    page[10] = 42;
    DWORD old = 0, before = 0;
    mark_error();
    BOOL ok = VirtualProtect(page, PG, PAGE_READONLY, &old);
    DWORD error = GetLastError();
    MEMORY_BASIC_INFORMATION m;
    VirtualQuery(page, &m, sizeof m);
    say("foreign.protect", "%s old %s | %s | now %s, one page: %s, byte %d", ok ? "TRUE" : "FALSE", prot_name(old), error_name(error), prot_name(m.Protect),
        yes(m.RegionSize == PG), page[10]);
    ok = VirtualProtect(page, PG, PAGE_READWRITE, &before);
    page[10] = 43;
    say("foreign.protect-back", "%s old %s | byte %d", ok ? "TRUE" : "FALSE", prot_name(before), page[10]);

    // Reserving or committing there is refused.
    mark_error();
    void *p = VirtualAlloc(&data, PG, MEM_RESERVE, PAGE_NOACCESS);
    say("foreign.reserve-there", "%s | %s", where_name(p), error_name(GetLastError()));
    say("foreign.nothing-happened", "%d %d %d %d", data, constant, local, large[4 << 20] == 0 ? 1 : 0);
    free(heap);
    free(large);
    return 0;
}
