#ifndef PAGEKEEPER_PROCESSTHREADSAPI_H
#define PAGEKEEPER_PROCESSTHREADSAPI_H

#include "minwindef.h"

#ifdef __cplusplus
extern "C" {
#endif

HANDLE WINAPI GetCurrentProcess(VOID);
HANDLE WINAPI GetCurrentThread(VOID);
DWORD WINAPI GetCurrentProcessId(VOID);
DWORD WINAPI GetCurrentThreadId(VOID);

#ifdef __cplusplus
}
#endif

#endif
