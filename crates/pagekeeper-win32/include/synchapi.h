#ifndef PAGEKEEPER_SYNCHAPI_H
#define PAGEKEEPER_SYNCHAPI_H

#include "minwindef.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INFINITE 0xFFFFFFFFU
#define WAIT_FAILED ((DWORD)0xFFFFFFFF)
#define WAIT_OBJECT_0 ((DWORD)0)

VOID WINAPI Sleep(DWORD dwMilliseconds);
BOOL WINAPI SwitchToThread(VOID);

/* For memory notifications; files are always signalled, the own process never is. */
DWORD WINAPI WaitForSingleObject(HANDLE hHandle, DWORD dwMilliseconds);
DWORD WINAPI WaitForSingleObjectEx(HANDLE hHandle, DWORD dwMilliseconds, BOOL bAlertable);
DWORD WINAPI WaitForMultipleObjects(DWORD nCount, const HANDLE *lpHandles, BOOL bWaitAll, DWORD dwMilliseconds);

#ifdef __cplusplus
}
#endif

#endif
