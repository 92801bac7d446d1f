/* arguments of the test: 2 10 */
/* Memory status every five seconds. Arguments: how many times (for ever without one), and how many milliseconds between. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>

#define KIB 1024

int main(int argc, char **argv)
{
    long times = argc > 1 ? atol(argv[1]) : -1;
    DWORD pause = argc > 2 ? (DWORD)atol(argv[2]) : 5000;

    while (times-- != 0) {
        MEMORYSTATUS status;

        status.dwLength = sizeof(status);
        GlobalMemoryStatus(&status);
        printf("%lu percent of memory is in use.\n", (unsigned long)status.dwMemoryLoad);
        printf("%llu total KiB of physical memory.\n", (unsigned long long)status.dwTotalPhys / KIB);
        printf("%llu free KiB of physical memory.\n", (unsigned long long)status.dwAvailPhys / KIB);
        printf("%llu total KiB of page file.\n", (unsigned long long)status.dwTotalPageFile / KIB);
        printf("%llu free KiB of page file.\n", (unsigned long long)status.dwAvailPageFile / KIB);
        printf("%llu total KiB of address space.\n", (unsigned long long)status.dwTotalVirtual / KIB);
        printf("%llu free KiB of address space.\n", (unsigned long long)status.dwAvailVirtual / KIB);
        fflush(stdout);
        if (times != 0)
            Sleep(pause);
    }
    return 0;
}
