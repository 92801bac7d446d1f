/* The four steps in their order: reserve, commit, decommit, release; and what VirtualQuery says after each. */
#include <windows.h>
#include <stdio.h>
#include <string.h>

static void show(const char *step, LPVOID base)
{
    MEMORY_BASIC_INFORMATION info;

    VirtualQuery(base, &info, sizeof(info));
    printf("%-9s %s\n", step, info.State == MEM_FREE ? "free" : info.State == MEM_RESERVE ? "reserved" : "committed");
}

int main(void)
{
    SIZE_T size = 65536;
    BYTE *base = VirtualAlloc(NULL, size, MEM_RESERVE, PAGE_READWRITE);

    if (base == NULL)
        return 1;
    show("reserve", base);

    if (VirtualAlloc(base, size, MEM_COMMIT, PAGE_READWRITE) == NULL)
        return 1;
    show("commit", base);
    memset(base, 0xAA, size);
    printf("last byte: 0x%02X\n", base[size - 1]);

    if (!VirtualFree(base, size, MEM_DECOMMIT))
        return 1;
    show("decommit", base);

    if (!VirtualFree(base, 0, MEM_RELEASE))
        return 1;
    show("release", base);
    return 0;
}
