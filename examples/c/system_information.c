/* What the system says about itself. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
    SYSTEM_INFO info;

    GetSystemInfo(&info);
    printf("Hardware information:\n");
    printf("  Processor architecture: %u\n", info.wProcessorArchitecture);
    printf("  Processor type: %lu\n", (unsigned long)info.dwProcessorType);
    printf("  Number of processors: %lu\n", (unsigned long)info.dwNumberOfProcessors);
    printf("  Active processor mask: %llu\n", (unsigned long long)info.dwActiveProcessorMask);
    printf("  Page size: %lu\n", (unsigned long)info.dwPageSize);
    printf("  Allocation granularity: %lu\n", (unsigned long)info.dwAllocationGranularity);
    printf("  Minimum application address: 0x%llX\n", (unsigned long long)(ULONG_PTR)info.lpMinimumApplicationAddress);
    printf("  Maximum application address: 0x%llX\n", (unsigned long long)(ULONG_PTR)info.lpMaximumApplicationAddress);
    return 0;
}
