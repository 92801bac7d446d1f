/*
 * What __try and __except do around a block, in C and C++ as every compiler has them:
 *
 *     PAGEKEEPER_TRY {
 *         *pointer = 1;
 *     }
 *     PAGEKEEPER_EXCEPT(filter) {
 *         printf("%#x\n", GetExceptionCode());
 *     }
 *     PAGEKEEPER_END_TRY
 *
 * The filter is a function, LONG filter(EXCEPTION_POINTERS *), or NULL for "every exception". It says, as on Windows,
 * EXCEPTION_EXECUTE_HANDLER (go on in the second block), EXCEPTION_CONTINUE_SEARCH (ask the next block outside) or
 * EXCEPTION_CONTINUE_EXECUTION (run the instruction again). Neither return, break, continue nor goto may leave the first block;
 * PAGEKEEPER_LEAVE does what __leave does. Variables that the first block changes and the second reads are volatile, as
 * with setjmp, which is underneath; C++ objects between the block and the fault are not destroyed.
 */
#ifndef PAGEKEEPER_EXCPT_H
#define PAGEKEEPER_EXCPT_H

#include <setjmp.h>

#include "winnt.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EXCEPTION_EXECUTE_HANDLER 1
#define EXCEPTION_CONTINUE_SEARCH 0
#define EXCEPTION_CONTINUE_EXECUTION (-1)

typedef LONG (*PAGEKEEPER_FILTER)(PEXCEPTION_POINTERS);

/* One block that is being run. The library knows the first three fields. */
typedef struct _PAGEKEEPER_FRAME {
    struct _PAGEKEEPER_FRAME *Outer;
    PAGEKEEPER_FILTER Filter;
    EXCEPTION_RECORD Record;
    jmp_buf Jump;
} PAGEKEEPER_FRAME;

/* A filter's words: enters a block, leaves it. An exception that the block takes leaves it by itself. */
void PagekeeperEnterFrame(PAGEKEEPER_FRAME *frame, void *jump);
void PagekeeperLeaveFrame(PAGEKEEPER_FRAME *frame);

/* The loop comes to the second block first, where the filter is known; then to the first. */
#define PAGEKEEPER_TRY                                                          \
    {                                                                           \
        PAGEKEEPER_FRAME pagekeeper_frame;                                      \
        volatile int pagekeeper_state = 0;                                      \
        for (;;) {                                                              \
            if (pagekeeper_state == 1) {                                        \
                do

#define PAGEKEEPER_LEAVE break

#define PAGEKEEPER_EXCEPT(filter)                                               \
                while (0);                                                      \
                PagekeeperLeaveFrame(&pagekeeper_frame);                        \
                break;                                                          \
            }                                                                   \
            if (pagekeeper_state == 0) {                                        \
                pagekeeper_frame.Filter = (filter);                             \
                pagekeeper_state = 1;                                           \
                if (setjmp(pagekeeper_frame.Jump) == 0) {                       \
                    PagekeeperEnterFrame(&pagekeeper_frame, pagekeeper_frame.Jump); \
                    continue;                                                   \
                }                                                               \
            }                                                                   \
            {                                                                   \
                do

#define PAGEKEEPER_END_TRY                                                      \
                while (0);                                                      \
            }                                                                   \
            break;                                                              \
        }                                                                       \
    }

#define GetExceptionCode() (pagekeeper_frame.Record.ExceptionCode)
#define GetExceptionInformation() (&pagekeeper_frame.Record)

#ifdef __cplusplus
}
#endif

#endif
