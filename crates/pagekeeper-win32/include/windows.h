/*
 * Windows' virtual memory for Linux programs: what a source that says #include <windows.h> finds here.
 *
 *     cc -I crates/pagekeeper-win32/include prog.c -L target/release -lpagekeeper_win32 -Wl,-rpath,$PWD/target/release
 *
 * Only what is built is declared. docs/porting.md says what is not there, and what a porter must know.
 */
#ifndef PAGEKEEPER_WINDOWS_H
#define PAGEKEEPER_WINDOWS_H

#define PAGEKEEPER_WIN32 1

#include "basetsd.h"
#include "excpt.h"
#include "windef.h"
#include "winnt.h"
#include "winerror.h"
#include "winbase.h"

#endif
