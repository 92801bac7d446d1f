/* arguments of the test: - 1 */
/*
 * SHA-256 of a file of any size through a view that slides over it. Arguments: the file ("-": one of 5 MiB is made, partly
 * empty) and the size of the view in MiB (64). The same line as sha256sum prints.
 */
#include <windows.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1 << 20)

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turned(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static void block(uint32_t state[8], const unsigned char *bytes)
{
    uint32_t w[64], v[8];

    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 | (uint32_t)bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) + (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, state, sizeof(v));
    for (int i = 0; i < 64; i++) {
        uint32_t one = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
        uint32_t two = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof(*v));
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

/* What is left of the file, its end mark, and its length in bits. */
static void last_blocks(uint32_t state[8], const unsigned char *rest, size_t count, unsigned long long size)
{
    unsigned char bytes[128] = {0};
    size_t length = count < 56 ? 64 : 128;

    memcpy(bytes, rest, count);
    bytes[count] = 0x80;
    for (int i = 0; i < 8; i++)
        bytes[length - 1 - i] = (unsigned char)(size * 8 >> 8 * i);
    block(state, bytes);
    if (length == 128)
        block(state, bytes + 64);
}

static int failed(const char *what)
{
    printf("%s: error %lu\n", what, (unsigned long)GetLastError());
    return 1;
}

/* Every other half MiB is written, the rest is empty; the end is odd. */
static void make(const char *name)
{
    static unsigned char part[MIB / 2];
    HANDLE file = CreateFileA(name, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    LARGE_INTEGER at;
    DWORD done;

    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < MIB / 2; k++)
            part[k] = (unsigned char)(k * 7 + i);
        at.QuadPart = (LONGLONG)i * MIB;
        SetFilePointerEx(file, at, NULL, FILE_BEGIN);
        WriteFile(file, part, sizeof(part), &done, NULL);
    }
    at.QuadPart = 5LL * MIB + 13;
    SetFilePointerEx(file, at, NULL, FILE_BEGIN);
    SetEndOfFile(file);
    CloseHandle(file);
}

int main(int argc, char **argv)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    int own = argc < 2 || !strcmp(argv[1], "-");
    const char *name = own ? "sliding.bin" : argv[1];
    unsigned long long view = (argc > 2 ? strtoull(argv[2], NULL, 10) : 64) * MIB;
    HANDLE file, section;
    LARGE_INTEGER size;

    if (own)
        make(name);
    file = CreateFileA(name, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, NULL);
    if (file == INVALID_HANDLE_VALUE || !GetFileSizeEx(file, &size))
        return failed(name);
    section = CreateFileMapping(file, NULL, PAGE_READONLY, 0, 0, NULL);
    if (section == NULL)
        return failed("CreateFileMapping");
    for (unsigned long long at = 0; at < (unsigned long long)size.QuadPart; at += view) {
        unsigned long long left = (unsigned long long)size.QuadPart - at;
        size_t count = left < view ? (size_t)left : (size_t)view, done = 0;
        const unsigned char *bytes = MapViewOfFile(section, FILE_MAP_READ, (DWORD)(at >> 32), (DWORD)at, count);

        if (bytes == NULL)
            return failed("MapViewOfFile");
        for (; done + 64 <= count; done += 64)
            block(state, bytes + done);
        if (left <= view)
            last_blocks(state, bytes + done, count - done, (unsigned long long)size.QuadPart);
        UnmapViewOfFile(bytes);
    }
    for (int i = 0; i < 8; i++)
        printf("%08lx", (unsigned long)state[i]);
    printf("  %s\n", name);
    CloseHandle(section);
    CloseHandle(file);
    if (own)
        DeleteFileA(name);
    return 0;
}
