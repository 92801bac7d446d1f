/* Two processes share memory under a name: the first makes it, writes a question, and starts the second, which answers. */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_IN_BYTES (1 << 20)

struct board {
    LONG asked, answered;
    char question[100], answer[100];
};

static int failed(const char *what)
{
    printf("%s: error %lu\n", what, (unsigned long)GetLastError());
    return 1;
}

static int second(const char *name)
{
    HANDLE section = OpenFileMappingA(FILE_MAP_ALL_ACCESS, FALSE, name);
    struct board *board;

    if (section == NULL)
        return failed("OpenFileMapping");
    board = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    if (board == NULL)
        return failed("MapViewOfFile");
    printf("second: I was asked \"%s\"\n", board->question);
    fflush(stdout);
    strcpy(board->answer, "forty-two");
    board->answered = board->asked + 1;
    return 0;
}

int main(int argc, char **argv)
{
    char name[100], command[1000];
    HANDLE section;
    struct board *board;

    if (argc > 1)
        return second(argv[1]);

    sprintf(name, "Local\\board-%lu", (unsigned long)GetCurrentProcessId());
    section = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, SIZE_IN_BYTES, name);
    if (section == NULL)
        return failed("CreateFileMapping");
    if (GetLastError() == ERROR_ALREADY_EXISTS)
        return failed("somebody has that name");
    board = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    if (board == NULL)
        return failed("MapViewOfFile");
    strcpy(board->question, "six times seven?");
    board->asked = 1;

    printf("first: starting the second\n");
    fflush(stdout);
#ifdef __MINGW32__
    snprintf(command, sizeof(command), "%s %s", argv[0], name);
#else
    snprintf(command, sizeof(command), "'%s' '%s'", argv[0], name);
#endif
    if (system(command) != 0)
        return 1;
    printf("first: the answer is \"%s\" (%d)\n", board->answer, (int)board->answered);

    /* Whoever has a handle keeps the name alive; views do not. */
    CloseHandle(section);
    printf("first: the name is %s\n", OpenFileMappingA(FILE_MAP_READ, FALSE, name) ? "still there" : "gone");
    UnmapViewOfFile(board);
    return 0;
}
