/*
 * What the GNU C library's <malloc.h> declares and musl's does not, for tests that are compiled against musl: the library has these
 * functions on either.
 */
#ifndef PYMALLOC_MUSL_MALLOC_H
#define PYMALLOC_MUSL_MALLOC_H

#include_next <malloc.h>
#include <stddef.h>
#include <stdio.h>

/* Parameters of mallopt. */
#define M_MXFAST 1
#define M_TRIM_THRESHOLD -1
#define M_TOP_PAD -2
#define M_MMAP_THRESHOLD -3
#define M_MMAP_MAX -4
#define M_ARENA_MAX -8

struct mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};

struct mallinfo mallinfo(void);
struct mallinfo2 mallinfo2(void);
int mallopt(int parameter, int value);
int malloc_trim(size_t pad);
int malloc_info(int options, FILE *stream);
void malloc_stats(void);
void *pvalloc(size_t size);

#endif
