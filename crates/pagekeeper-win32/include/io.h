/* Handles of the C run-time's descriptors and back. A descriptor here is a descriptor of Linux: open(), fileno() and close() are
 * the run-time's calls. */
#ifndef PAGEKEEPER_IO_H
#define PAGEKEEPER_IO_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -1 with errno EBADF where there is no such descriptor. The handle is the descriptor's: close() ends both. */
intptr_t _get_osfhandle(int fd);
/* From now on the handle is the descriptor's. -1 with errno EBADF where it is not a file's. */
int _open_osfhandle(intptr_t osfhandle, int flags);

#ifdef __cplusplus
}
#endif

#endif
