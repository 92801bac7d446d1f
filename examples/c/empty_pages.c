/*
 * A table of structures in one reservation: a page is committed when the first of its entries is used, and given back when the
 * last one is freed. Whoever frees entries looks now and then for pages whose entries are all free.
 */
#include <windows.h>
#include <stdio.h>

#define ENTRIES 20000
#define PAGE 4096

typedef struct {
    BOOL in_use;
    char data[124];
} ENTRY;

static ENTRY *table;

static BOOL committed(const void *address)
{
    MEMORY_BASIC_INFORMATION info;

    return VirtualQuery(address, &info, sizeof(info)) && info.State == MEM_COMMIT;
}

static void use(int i)
{
    if (!committed(&table[i]))
        VirtualAlloc(&table[i], sizeof(ENTRY), MEM_COMMIT, PAGE_READWRITE);
    table[i].in_use = TRUE;
    sprintf(table[i].data, "entry %d", i);
}

static int pages(void)
{
    int count = 0, i;

    for (i = 0; i < ENTRIES; i += PAGE / (int)sizeof(ENTRY))
        count += committed(&table[i]);
    return count;
}

/* Gives back every page on which no entry is in use. */
static int collect(void)
{
    int per_page = PAGE / (int)sizeof(ENTRY), first, i, returned = 0;

    for (first = 0; first < ENTRIES; first += per_page) {
        BOOL busy = FALSE;

        if (!committed(&table[first]))
            continue;
        for (i = first; i < first + per_page && i < ENTRIES; i++)
            busy |= table[i].in_use;
        if (!busy && VirtualFree(&table[first], PAGE, MEM_DECOMMIT))
            returned++;
    }
    return returned;
}

int main(void)
{
    int i;

    table = VirtualAlloc(NULL, ENTRIES * sizeof(ENTRY), MEM_RESERVE, PAGE_READWRITE);
    if (table == NULL)
        return 1;
    for (i = 0; i < ENTRIES; i++)
        use(i);
    printf("all in use: %d pages\n", pages());

    /* Free all but every hundredth: most pages are still held by one entry. */
    for (i = 0; i < ENTRIES; i++)
        table[i].in_use = i % 100 == 0;
    i = collect();
    printf("given back: %d pages, left: %d\n", i, pages());

    for (i = 0; i < ENTRIES / 2; i++)
        if (committed(&table[i]))
            table[i].in_use = FALSE;
    i = collect();
    printf("given back: %d pages, left: %d\n", i, pages());

    use(3);
    printf("used again: \"%s\", its neighbour %s, %d pages\n", table[3].data, table[4].in_use ? "in use" : "empty", pages());
    VirtualFree(table, 0, MEM_RELEASE);
    return 0;
}
