#ifndef PAGEKEEPER_IOAPISET_H
#define PAGEKEEPER_IOAPISET_H

#include "minwinbase.h"

#ifdef __cplusplus
extern "C" {
#endif

BOOL WINAPI GetOverlappedResult(HANDLE hFile, LPOVERLAPPED lpOverlapped, LPDWORD lpNumberOfBytesTransferred,
                                BOOL bWait);

#ifdef __cplusplus
}
#endif

#endif
