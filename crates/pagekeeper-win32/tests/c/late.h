// Calls that older systems lack: under Windows they are looked up, so that a program starts everywhere and says what is missing.
#ifndef LATE_H
#define LATE_H

#include "conform.h"

#ifdef __MINGW32__

static inline FARPROC late(const char *name) {
    static const char *const libraries[] = {"kernelbase.dll", "kernel32.dll"};
    for (int i = 0; i < 2; i++) {
        FARPROC found = GetProcAddress(LoadLibraryA(libraries[i]), name);
        if (found)
            return found;
    }
    printf("[%s is missing] ", name);
    return NULL;
}

#define LATE(type, name, missing, parameters, arguments)                                                                                                                           \
    static inline type late_##name parameters {                                                                                                                                    \
        static type(WINAPI * call) parameters;                                                                                                                                     \
        FARPROC found = call ? NULL : late(#name);                                                                                                                                 \
        if (found)                                                                                                                                                                 \
            memcpy(&call, &found, sizeof call);                                                                                                                                    \
        return call ? call arguments : (missing);                                                                                                                                  \
    }

LATE(void *, VirtualAlloc2, NULL, (HANDLE process, void *at, SIZE_T size, ULONG type, ULONG prot, MEM_EXTENDED_PARAMETER *more, ULONG count), (process, at, size, type, prot, more, count))
LATE(DWORD, OfferVirtualMemory, 0xeeee, (void *at, SIZE_T size, int priority), (at, size, priority))
LATE(DWORD, ReclaimVirtualMemory, 0xeeee, (const void *at, SIZE_T size), (at, size))
LATE(DWORD, DiscardVirtualMemory, 0xeeee, (void *at, SIZE_T size), (at, size))
LATE(BOOL, PrefetchVirtualMemory, FALSE, (HANDLE process, ULONG_PTR count, WIN32_MEMORY_RANGE_ENTRY *ranges, ULONG flags), (process, count, ranges, flags))
LATE(BOOL, CompareObjectHandles, FALSE, (HANDLE one, HANDLE two), (one, two))
#define CompareObjectHandles late_CompareObjectHandles
#define VirtualAlloc2 late_VirtualAlloc2
#define OfferVirtualMemory late_OfferVirtualMemory
#define ReclaimVirtualMemory late_ReclaimVirtualMemory
#define DiscardVirtualMemory late_DiscardVirtualMemory
#define PrefetchVirtualMemory late_PrefetchVirtualMemory

#endif

#endif
