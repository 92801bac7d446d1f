/* An address that is asked for is rounded down to a multiple of 64 KiB: 19668992 becomes 19660800, 0x00781022 becomes 0x00780000. */
#include <windows.h>
#include <stdio.h>

static void try_at(ULONG_PTR address)
{
    LPVOID base = VirtualAlloc((LPVOID)address, 65536, MEM_RESERVE, PAGE_NOACCESS);

    if (base == NULL) {
        printf("%llu is taken: %lu\n", (unsigned long long)address, (unsigned long)GetLastError());
        return;
    }
    printf("asked for %llu (0x%08llX), got %llu (0x%08llX)\n", (unsigned long long)address, (unsigned long long)address,
           (unsigned long long)(ULONG_PTR)base, (unsigned long long)(ULONG_PTR)base);
    VirtualFree(base, 0, MEM_RELEASE);
}

int main(void)
{
    try_at(19668992);
    try_at(0x00781022);
    return 0;
}
