/* Reserve and commit in one call; decommit and release in one call, as one of the texts has it. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
    int *table = VirtualAlloc(NULL, 65536, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    int i, sum = 0;
    BOOL done;

    if (table == NULL)
        return 1;
    for (i = 0; i < 65536 / (int)sizeof(int); i++)
        table[i] = i;
    for (i = 0; i < 65536 / (int)sizeof(int); i++)
        sum += table[i] & 1;
    printf("odd entries: %d\n", sum);

    /* Today's Windows asks for MEM_RELEASE alone and refuses the combination with error 87. */
    done = VirtualFree(table, 0, MEM_DECOMMIT | MEM_RELEASE);
    if (!done)
        done = VirtualFree(table, 0, MEM_RELEASE);
    printf("given back: %s\n", done ? "yes" : "no");
    return 0;
}
