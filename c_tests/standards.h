/*
 * What the programs share that test what the C standard, POSIX and glibc promise of malloc and its family (standards*.c).
 *
 * What must hold: nothing in them knows how pymalloc works inside; every check would hold of any correct malloc that takes
 * glibc's side where the standards leave a choice (realloc(p, 0) frees, malloc(0) is a block).
 */
#ifndef PYMALLOC_STANDARDS_H
#define PYMALLOC_STANDARDS_H

#include "check.h"

/* An errno that no call sets. */
#define UNTOUCHED_ERRNO 4321
#define LARGEST_ALIGNMENT (64 * MIB)

/* From the smallest block to mappings of their own, with the edges of pages, pools and arenas. */
MAYBE_UNUSED static const size_t sizes[] = {
    1,         8,         15,          16,           17,           48,          100,          511,       512,
    513,       1000,      1024,        1025,         2048,         3000,        4095,         4096,      4097,
    8192,      10000,     16384,       16385,        20000,        32768,       32769,        65536,     100000,
    131072,    200000,    262144,      262145,       400000,       524288,      600000,       MIB - 64,  MIB,
    MIB + 1,   3 * MIB,   4 * MIB + 5, 9 * MIB,
};

MAYBE_UNUSED static int is_aligned(const void *pointer, size_t alignment)
{
    return ((uintptr_t)pointer & (alignment - 1)) == 0;
}

MAYBE_UNUSED static int is_all(const unsigned char *bytes, unsigned char value, size_t size)
{
    return size == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0);
}

MAYBE_UNUSED static void *must_malloc(size_t size)
{
    void *block = hide(malloc(size));
    CHECK(block != NULL, "malloc(%zu) returns NULL", size);
    return block;
}

MAYBE_UNUSED static int is_live(const void *block)
{
    return inspect(block).state == PYMALLOC_STATE_ALLOCATED;
}

/* Looked up, because not every C library has them: a program that pymalloc is preloaded into could not be linked. */
MAYBE_UNUSED static void (*sized_free)(void *block, size_t size);
MAYBE_UNUSED static void (*aligned_sized_free)(void *block, size_t alignment, size_t size);
MAYBE_UNUSED static void (*old_free)(void *block);

MAYBE_UNUSED static void find_rare_functions(void)
{
    sized_free = (__typeof__(sized_free))find("free_sized");
    aligned_sized_free = (__typeof__(aligned_sized_free))find("free_aligned_sized");
    /* glibc's headers no longer declare it, but old programs still call it. */
    old_free = (__typeof__(old_free))find("cfree");
}

#endif
