/* 512 KiB reserved at address 5242880; 6 KiB committed from 2 KiB on: exactly the two pages from 5242880 to 5251071. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
    BYTE *base = VirtualAlloc((LPVOID)5242880, 512 * 1024, MEM_RESERVE, PAGE_READWRITE);
    MEMORY_BASIC_INFORMATION info;
    BYTE *page;

    if (base == NULL) {
        printf("address 5242880 is taken: %lu\n", (unsigned long)GetLastError());
        return 1;
    }
    printf("reserved at %llu\n", (unsigned long long)(ULONG_PTR)base);

    page = VirtualAlloc(base + 2 * 1024, 6 * 1024, MEM_COMMIT, PAGE_READWRITE);
    VirtualQuery(page, &info, sizeof(info));
    printf("committed from %llu to %llu: %llu pages\n", (unsigned long long)(ULONG_PTR)info.BaseAddress,
           (unsigned long long)((ULONG_PTR)info.BaseAddress + info.RegionSize - 1), (unsigned long long)(info.RegionSize / 4096));

    VirtualQuery(base + 8192, &info, sizeof(info));
    printf("behind: %s, %llu bytes\n", info.State == MEM_RESERVE ? "reserved" : "?", (unsigned long long)info.RegionSize);

    VirtualFree(base, 0, MEM_RELEASE);
    return 0;
}
