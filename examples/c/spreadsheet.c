/*
 * The classic: a spreadsheet of 4,096 by 4,096 cells of 128 bytes, 2 GiB, reserved as one array. Cells are simply written; the
 * access violation of a cell that nobody used before is caught, its page is committed, and the write goes on. Only pages with
 * cells in use cost anything.
 */
#include <windows.h>
#include <stdio.h>

#define ROWS 4096
#define COLUMNS 4096

typedef struct {
    double value;
    char text[120];
} CELL;

static CELL (*sheet)[COLUMNS];
static int faults;

/* A vectored handler: ours are commits, everything else goes to the next one. */
static LONG CALLBACK commit_on_fault(PEXCEPTION_POINTERS info)
{
    EXCEPTION_RECORD *record = info->ExceptionRecord;
    ULONG_PTR address = record->ExceptionInformation[1];

    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    if (address < (ULONG_PTR)sheet || address >= (ULONG_PTR)(sheet + ROWS))
        return EXCEPTION_CONTINUE_SEARCH;
    if (VirtualAlloc((LPVOID)address, 1, MEM_COMMIT, PAGE_READWRITE) == NULL)
        return EXCEPTION_CONTINUE_SEARCH;
    faults++;
    return EXCEPTION_CONTINUE_EXECUTION;
}

/* Whether a cell's page is there, without touching it. */
static BOOL in_use(int row, int column)
{
    MEMORY_BASIC_INFORMATION info;

    return VirtualQuery(&sheet[row][column], &info, sizeof(info)) && info.State == MEM_COMMIT;
}

int main(void)
{
    MEMORY_BASIC_INFORMATION info;
    BYTE *at;
    int i, pages = 0;
    double sum = 0;

    sheet = VirtualAlloc(NULL, sizeof(CELL) * ROWS * COLUMNS, MEM_RESERVE, PAGE_NOACCESS);
    if (sheet == NULL)
        return 1;
    AddVectoredExceptionHandler(1, commit_on_fault);

    /* A thousand cells, here and there. */
    for (i = 0; i < 1000; i++) {
        CELL *cell = &sheet[(i * 37) % ROWS][(i * 101) % COLUMNS];
        cell->value = i;
        sprintf(cell->text, "cell %d", i);
    }
    for (i = 0; i < 1000; i++)
        sum += sheet[(i * 37) % ROWS][(i * 101) % COLUMNS].value;

    for (at = (BYTE *)sheet; at < (BYTE *)(sheet + ROWS); at += info.RegionSize) {
        VirtualQuery(at, &info, sizeof(info));
        if (info.State == MEM_COMMIT)
            pages += (int)(info.RegionSize / 4096);
    }
    printf("sum of the cells: %.0f\n", sum);
    printf("pages committed on faults: %d, pages in use: %d of %d\n", faults, pages, (int)(sizeof(CELL) * ROWS / 4096 * COLUMNS));
    printf("row 37, column 101: %s, \"%s\"\n", in_use(37, 101) ? "in use" : "empty", sheet[37][101].text);
    printf("row 4000, column 1: %s\n", in_use(4000, 1) ? "in use" : "empty");
    VirtualFree(sheet, 0, MEM_RELEASE);
    return 0;
}
