#ifndef PAGEKEEPER_SYNCHAPI_H
#define PAGEKEEPER_SYNCHAPI_H

#include "minwindef.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INFINITE 0xFFFFFFFFU

VOID WINAPI Sleep(DWORD dwMilliseconds);

#ifdef __cplusplus
}
#endif

#endif
