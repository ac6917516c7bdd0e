/*
 * malloc_usable_size of blocks that the program has protected from being read, a page of each or all, at every layer, its own and
 * another thread's.
 *
 * What must hold: it says at least the size that was asked for, without a look at the block.
 */
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>

static const size_t sizes[] = {4096, 8192, 12288, 16384, 20480, 32768, 65536, 200 * KIB, 3 * MIB};
static void *blocks[COUNT_OF(sizes)];

static void protect(int protection)
{
    for (size_t at = 0; at < COUNT_OF(sizes); at++)
        CHECK(mprotect(blocks[at], sizes[at], protection) == 0, "mprotect fails with errno %d", errno);
}

static void *ask(void *unused)
{
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        size_t usable = malloc_usable_size(blocks[at]);
        CHECK(usable >= sizes[at] && usable <= 2 * sizes[at], "%zu bytes have %zu", sizes[at], usable);
    }
    return unused;
}

int main(void)
{
    require_pymalloc();
    CHECK(malloc_usable_size(NULL) == 0, "null has a size");
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        blocks[at] = aligned_alloc((size_t)sysconf(_SC_PAGESIZE), sizes[at]);
        CHECK(blocks[at] != NULL, "no memory");
    }
    protect(PROT_NONE);
    ask(NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, ask, NULL) == 0, "pthread_create fails");
    pthread_join(thread, NULL);
    protect(PROT_READ | PROT_WRITE);
    for (size_t at = 0; at < COUNT_OF(sizes); at++)
        free(blocks[at]);
    return 0;
}
