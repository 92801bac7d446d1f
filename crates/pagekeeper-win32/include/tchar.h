/* Text that is char or WCHAR, depending on _UNICODE. Names of functions are there for char only: Linux has no others. */
#ifndef PAGEKEEPER_TCHAR_H
#define PAGEKEEPER_TCHAR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "winnt.h"

#ifdef _UNICODE
#define _T(x) PAGEKEEPER_WIDE(x)
#define _TEXT(x) PAGEKEEPER_WIDE(x)
#define __T(x) PAGEKEEPER_WIDE(x)
#else
#define _T(x) x
#define _TEXT(x) x
#define __T(x) x
#define _tmain main
#define _tprintf printf
#define _ftprintf fprintf
#define _stprintf sprintf
#define _sntprintf snprintf
#define _tcslen strlen
#define _tcscpy strcpy
#define _tcsncpy strncpy
#define _tcscat strcat
#define _tcscmp strcmp
#define _tcschr strchr
#define _tcsrchr strrchr
#define _tcsstr strstr
#define _ttoi atoi
#define _tcstoul strtoul
#define _fputts fputs
#define _putts puts
#endif

typedef TCHAR _TCHAR;

#endif
