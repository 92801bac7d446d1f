/* A file as an array: made, mapped, changed through the view, and read back by ReadFile. A copy-on-write view changes nothing. */
#include <windows.h>
#include <stdio.h>

#define COUNT 100000

static int failed(const char *what)
{
    printf("%s: error %lu\n", what, (unsigned long)GetLastError());
    return 1;
}

int main(void)
{
    HANDLE file, section;
    int *numbers, *copy, answer = 0;
    DWORD done;
    LARGE_INTEGER at, size;

    file = CreateFile(TEXT("numbers.bin"), GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return failed("CreateFile");

    /* The file grows to the size of the section. */
    section = CreateFileMapping(file, NULL, PAGE_READWRITE, 0, COUNT * sizeof(int), NULL);
    if (section == NULL)
        return failed("CreateFileMapping");
    GetFileSizeEx(file, &size);
    printf("The file has %lld bytes.\n", (long long)size.QuadPart);

    numbers = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);
    copy = MapViewOfFile(section, FILE_MAP_COPY, 0, 0, 0);
    if (numbers == NULL || copy == NULL)
        return failed("MapViewOfFile");
    for (int i = 0; i < COUNT; i++)
        numbers[i] = i * 3;
    copy[777] = -1;
    printf("number 777: %d in the view, %d in the copy\n", numbers[777], copy[777]);

    if (!FlushViewOfFile(numbers, 0) || !FlushFileBuffers(file))
        return failed("flush");
    UnmapViewOfFile(copy);
    UnmapViewOfFile(numbers);
    CloseHandle(section);

    at.QuadPart = 777 * sizeof(int);
    if (!SetFilePointerEx(file, at, NULL, FILE_BEGIN) || !ReadFile(file, &answer, sizeof(answer), &done, NULL))
        return failed("ReadFile");
    printf("number 777: %d in the file\n", answer);
    CloseHandle(file);
    return DeleteFile(TEXT("numbers.bin")) ? 0 : failed("DeleteFile");
}
