/* Counts what a program asks of malloc, for scripts/count-locks: preloaded alone, before the C library, it passes every call on.
 *
 * Owns one number for each of some threads, so that they do not wait for each other. At the end it writes their sum to stderr.
 * What must hold: a call counts once. realloc of a block counts as a malloc and a free. */

#define _GNU_SOURCE
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

enum { PLACES = 64, LINE = 128 };

static struct {
    _Alignas(LINE) atomic_ulong calls;
} places[PLACES];
static atomic_uint threads;
static _Thread_local unsigned place;

static void count(unsigned calls)
{
    if (place == 0)
        place = 1 + atomic_fetch_add(&threads, 1) % PLACES;
    atomic_fetch_add_explicit(&places[place - 1].calls, calls, memory_order_relaxed);
}

void *malloc(size_t size)
{
    count(1);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count(1);
    return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size)
{
    count(block == NULL ? 1 : 2);
    return __libc_realloc(block, size);
}

void free(void *block)
{
    if (block != NULL)
        count(1);
    __libc_free(block);
}

__attribute__((destructor)) static void tell(void)
{
    unsigned long calls = 0;

    for (int i = 0; i < PLACES; i++)
        calls += places[i].calls;
    dprintf(STDERR_FILENO, "{\"calls\": %lu}\n", calls);
}
