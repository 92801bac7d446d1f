#ifndef PAGEKEEPER_PROCESSENV_H
#define PAGEKEEPER_PROCESSENV_H

#include "minwindef.h"

#ifdef __cplusplus
extern "C" {
#endif

HANDLE WINAPI GetStdHandle(DWORD nStdHandle);

#ifdef __cplusplus
}
#endif

#endif
