// GlobalAlloc and LocalAlloc: fixed and movable memory, handles, locks, flags, sizes.
#include "conform.h"


#define SAY_CALL(id, format, ...)                                                                                                      \
    do {                                                                                                                               \
        mark_error();                                                                                                                  \
        long long value_ = (long long)(__VA_ARGS__);                                                                                   \
        DWORD error_ = GetLastError();                                                                                                 \
        say(id, format " | %s", value_, error_name(error_));                                                                           \
    } while (0)

#define FAMILY(family, P, prefix, HANDLE_TYPE)                                                                                         \
    static void prefix(void) {                                                                                                         \
        HANDLE_TYPE fixed = family##Alloc(P##PTR, 100);                                                                                \
        char *bytes = (char *)fixed;                                                                                                   \
        BOOL zero = TRUE;                                                                                                              \
        for (int i = 0; i < 100; i++)                                                                                                  \
            zero = zero && bytes[i] == 0;                                                                                              \
        say(#prefix ".fixed-is-zero", "%s", yes(fixed && zero));                                                                       \
        say(#prefix ".fixed-lock-is-itself", "%s", yes(family##Lock(fixed) == (void *)fixed));                                         \
        SAY_CALL(#prefix ".fixed-size", "%lld", family##Size(fixed));                                                                  \
        SAY_CALL(#prefix ".fixed-flags", "0x%llx", family##Flags(fixed));                                                              \
        say(#prefix ".fixed-handle-is-itself", "%s", yes(family##Handle(fixed) == fixed));                                             \
        say(#prefix ".fixed-free", "%s", yes(family##Free(fixed) == NULL));                                                            \
                                                                                                                                       \
        HANDLE_TYPE handle = family##Alloc(P##HND, 200);                                                                               \
        SAY_CALL(#prefix ".unlocked-flags", "0x%llx", family##Flags(handle));                                                          \
        char *p = family##Lock(handle);                                                                                                \
        say(#prefix ".movable-is-not-its-address", "%s", yes(p && (void *)p != (void *)handle));                                       \
        say(#prefix ".handle-of-address", "%s", yes(family##Handle(p) == handle));                                                     \
        SAY_CALL(#prefix ".locked-flags", "0x%llx", family##Flags(handle));                                                            \
        family##Lock(handle);                                                                                                          \
        SAY_CALL(#prefix ".unlock-one-of-two", "%lld", family##Unlock(handle));                                                        \
        SAY_CALL(#prefix ".unlock-the-last", "%lld", family##Unlock(handle));                                                          \
        SAY_CALL(#prefix ".unlock-once-more", "%lld", family##Unlock(handle));                                                         \
        memset(family##Lock(handle), 0x33, 200);                                                                                       \
        family##Unlock(handle);                                                                                                        \
        HANDLE_TYPE same = family##ReAlloc(handle, 70000, P##MEM_ZEROINIT);                                                            \
        p = family##Lock(handle);                                                                                                      \
        BOOL kept = TRUE;                                                                                                              \
        for (int i = 0; i < 70000; i++)                                                                                                \
            kept = kept && p[i] == (i < 200 ? 0x33 : 0);                                                                               \
        family##Unlock(handle);                                                                                                        \
        say(#prefix ".realloc-keeps-handle-and-contents", "%s", yes(same == handle && kept));                                          \
        SAY_CALL(#prefix ".movable-size", "%lld", family##Size(handle));                                                               \
        same = family##ReAlloc(handle, 0, P##MEM_MOVEABLE);                                                                            \
        SAY_CALL(#prefix ".discarded-flags", "0x%llx", family##Flags(handle));                                                         \
        SAY_CALL(#prefix ".discarded-lock", "%lld", family##Lock(handle) != NULL);                                                     \
        SAY_CALL(#prefix ".discarded-size", "%lld", family##Size(handle));                                                             \
        say(#prefix ".discarded-keeps-handle", "%s", yes(same == handle));                                                             \
        say(#prefix ".movable-free", "%s", yes(family##Free(handle) == NULL));                                                         \
                                                                                                                                       \
        handle = family##Alloc(P##MEM_MOVEABLE, 0);                                                                                    \
        SAY_CALL(#prefix ".empty-flags", "0x%llx", family##Flags(handle));                                                             \
        family##Free(handle);                                                                                                          \
        SAY_CALL(#prefix ".free-null", "%lld", family##Free(NULL) != NULL);                                                            \
        SAY_CALL(#prefix ".too-large", "%lld", family##Alloc(P##MEM_FIXED, ~(SIZE_T)0) != NULL);                                       \
    }

FAMILY(Global, G, global, HGLOBAL)
FAMILY(Local, L, local, HLOCAL)

int main(void) {
    begin();
    global();
    local();
    return 0;
}
