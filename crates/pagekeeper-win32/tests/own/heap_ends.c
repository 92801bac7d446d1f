/*
 * HeapEnableTerminationOnCorruption: a wrong pointer ends the program with 0xC0000374, and without it does no harm. Each case runs in a
 * child. Prints what does not hold, and "done" at the end.
 */
#include <windows.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CODE 0xC0000374u

static LONG CALLBACK on_exception(PEXCEPTION_POINTERS info)
{
    EXCEPTION_RECORD *record = info->ExceptionRecord;
    int is_it = record->ExceptionCode == CODE && record->ExceptionFlags == EXCEPTION_NONCONTINUABLE;
    _exit(is_it ? 42 : 43);
}

static void free_twice(HANDLE heap)
{
    void *block = HeapAlloc(heap, 0, 100);
    HeapFree(heap, 0, block);
    HeapFree(heap, 0, block);
}

static void resize_foreign(HANDLE heap)
{
    void *foreign = HeapAlloc(HeapCreate(0, 0, 0), 0, 100);
    HeapReAlloc(heap, 0, foreign, 200);
}

static void free_inside(HANDLE heap)
{
    HeapFree(heap, 0, (char *)HeapAlloc(heap, 0, 100) + 16);
}

/* How a child ends that does something wrong; what it says goes into `said`. */
static int end_of(void (*wrong)(HANDLE), int ends, int watches, char *said, size_t room)
{
    int ways[2];
    if (pipe(ways))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        alarm(60);
        dup2(ways[1], 2);
        if (watches)
            AddVectoredExceptionHandler(1, on_exception);
        if (ends && !HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0))
            _exit(44);
        HANDLE heap = HeapCreate(0, 0, 0);
        wrong(heap);
        /* It lives: whole, and of use. */
        _exit(GetLastError() == ERROR_INVALID_PARAMETER && HeapValidate(heap, 0, NULL) && HeapAlloc(heap, 0, 100) ? 0 : 45);
    }
    close(ways[1]);
    size_t length = 0;
    for (ssize_t got; length + 1 < room && (got = read(ways[0], said + length, room - 1 - length)) > 0;)
        length += (size_t)got;
    said[length] = 0;
    close(ways[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static void check(int holds, const char *what, int number, int status, const char *said)
{
    if (!holds)
        printf("does not hold: %s, case %d (status 0x%x, said %s)\n", what, number, (unsigned)status, said);
}

int main(void)
{
    static void (*const wrong[])(HANDLE) = {free_twice, resize_foreign, free_inside};
    char said[2000];
    for (int i = 0; i < 3; i++) {
        int status = end_of(wrong[i], 0, 0, said, sizeof said);
        check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "not asked for: it goes on, with 87", i, status, said);
        status = end_of(wrong[i], 1, 1, said, sizeof said);
        check(WIFEXITED(status) && WEXITSTATUS(status) == 42, "a handler sees the code, and that it must not go on", i, status, said);
        status = end_of(wrong[i], 1, 0, said, sizeof said);
        check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it ends", i, status, said);
        check(strstr(said, "0xc0000374") != NULL, "and says why", i, status, said);
    }
    puts("done");
    return 0;
}
