/* What is known about an address: of the argument, or of memory of our own. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>

static const char *state_name(DWORD state)
{
    return state == MEM_COMMIT ? "MEM_COMMIT" : state == MEM_RESERVE ? "MEM_RESERVE" : "MEM_FREE";
}

static const char *type_name(DWORD type)
{
    return type == MEM_PRIVATE ? "MEM_PRIVATE" : type == MEM_MAPPED ? "MEM_MAPPED" : type == MEM_IMAGE ? "MEM_IMAGE" : "none";
}

static void describe(const BYTE *base, const BYTE *address)
{
    MEMORY_BASIC_INFORMATION info;

    if (VirtualQuery(address, &info, sizeof(info)) == 0) {
        printf("no such address: %lu\n", (unsigned long)GetLastError());
        return;
    }
    printf("base address +%lld, allocation base +%lld, allocation protect 0x%02lX, size %llu, %s, protect 0x%02lX, %s\n",
           (long long)((BYTE *)info.BaseAddress - base), (long long)((BYTE *)info.AllocationBase - base), (unsigned long)info.AllocationProtect,
           (unsigned long long)info.RegionSize, state_name(info.State), (unsigned long)info.Protect, type_name(info.Type));
}

int main(int argc, char **argv)
{
    BYTE *base;

    if (argc > 1) {
        describe(NULL, (const BYTE *)(ULONG_PTR)strtoull(argv[1], NULL, 0));
        return 0;
    }
    base = VirtualAlloc(NULL, 65536, MEM_RESERVE, PAGE_READONLY);
    if (base == NULL || VirtualAlloc(base + 8192, 8192, MEM_COMMIT, PAGE_READWRITE) == NULL)
        return 1;
    describe(base, base);
    describe(base, base + 8192);
    describe(base, base + 12288 + 100);
    describe(base, base + 16384);
    VirtualFree(base, 0, MEM_RELEASE);
    describe(base, (const BYTE *)(ULONG_PTR)0xFFFF800000000000);
    return 0;
}
