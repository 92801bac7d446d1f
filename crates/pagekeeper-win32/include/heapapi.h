/* Heaps are not there yet; see docs/porting.md. The file exists because sources include it. */
#ifndef PAGEKEEPER_HEAPAPI_H
#define PAGEKEEPER_HEAPAPI_H
#include "minwindef.h"
#endif
