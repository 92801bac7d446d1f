#ifndef PAGEKEEPER_HANDLEAPI_H
#define PAGEKEEPER_HANDLEAPI_H

#include "minwindef.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INVALID_HANDLE_VALUE ((HANDLE)(LONG_PTR)-1)

BOOL WINAPI CloseHandle(HANDLE hObject);

#ifdef __cplusplus
}
#endif

#endif
