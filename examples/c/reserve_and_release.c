/* Reserve 64 KiB of address space and give it back. Reserving takes no memory: it only keeps the addresses. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
    LPVOID base = VirtualAlloc(NULL, 65536, MEM_RESERVE, PAGE_NOACCESS);
    MEMORY_BASIC_INFORMATION info;

    if (base == NULL) {
        printf("VirtualAlloc failed: %lu\n", (unsigned long)GetLastError());
        return 1;
    }
    VirtualQuery(base, &info, sizeof(info));
    printf("reserved: %lu bytes, state %s\n", (unsigned long)info.RegionSize, info.State == MEM_RESERVE ? "MEM_RESERVE" : "?");

    if (!VirtualFree(base, 0, MEM_RELEASE)) {
        printf("VirtualFree failed: %lu\n", (unsigned long)GetLastError());
        return 1;
    }
    VirtualQuery(base, &info, sizeof(info));
    printf("released: state %s\n", info.State == MEM_FREE ? "MEM_FREE" : "?");
    return 0;
}
