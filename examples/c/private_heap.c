/* A private heap: many small blocks, listed and checked, one misuse found, and all of it gone in one stroke. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

struct word {
    struct word *next;
    char text[20];
};

int main(void) {
    HANDLE heap = HeapCreate(0, 0, 0);
    struct word *first = NULL;
    int count;
    for (count = 0; count < 50000; count++) {
        struct word *word = HeapAlloc(heap, HEAP_ZERO_MEMORY, sizeof *word);
        if (!word)
            return 1;
        snprintf(word->text, sizeof word->text, "word %d", count);
        word->next = first;
        first = word;
    }
    printf("the last is \"%s\", %u bytes\n", first->text, (unsigned)HeapSize(heap, 0, first));

    PROCESS_HEAP_ENTRY entry;
    unsigned busy = 0;
    entry.lpData = NULL;
    HeapLock(heap);
    while (HeapWalk(heap, &entry))
        busy += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
    printf("%u blocks in use, and the walk ends with %u\n", busy, (unsigned)GetLastError());
    HeapUnlock(heap);

    char *grown = HeapAlloc(heap, 0, 10);
    strcpy(grown, "kept");
    grown = HeapReAlloc(heap, HEAP_ZERO_MEMORY, grown, 5000);
    printf("after growing: \"%s\", and the last byte is %d\n", grown, grown[4999]);

    HeapFree(heap, 0, first);
    BOOL again = HeapFree(heap, 0, first);
    printf("freed twice: %s, error %u\n", again ? "TRUE" : "FALSE", (unsigned)GetLastError());
    printf("the heap is %s\n", HeapValidate(heap, 0, NULL) ? "whole" : "damaged");
    printf("destroyed: %s\n", HeapDestroy(heap) ? "TRUE" : "FALSE");
    return 0;
}
