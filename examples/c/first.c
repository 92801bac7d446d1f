#include <windows.h>
#include <stdio.h>

int main()
{
    char *text = (char *)VirtualAlloc(NULL, 1 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    sprintf(text, "a mebibyte, committed");
    puts(text);
    return !VirtualFree(text, 0, MEM_RELEASE);
}
