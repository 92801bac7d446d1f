#ifndef PAGEKEEPER_WINDEF_H
#define PAGEKEEPER_WINDEF_H
#include "minwindef.h"
#endif
