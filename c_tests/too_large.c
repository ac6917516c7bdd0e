/*
 * Requests that cannot be served, in a process with a large heap of which most was freed here and there.
 *
 * What must hold: what no memory of the process could serve fails at once. Where what is kept might serve, a failure costs no look at each page, however many follow each other.
 */
#include "check.h"

#include <sys/resource.h>
#include <time.h>

#define BLOCKS 400000
#define FAILURES 200

static void *blocks[BLOCKS];

/* Microseconds of this thread, whatever others do. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* A request that fails: microseconds on average. */
static double failure(size_t size)
{
    double start = now();
    for (int time = 0; time < FAILURES; time++) {
        errno = 0;
        CHECK(hide(malloc(size)) == NULL && errno == ENOMEM, "malloc(%zu) works, or sets errno %d", size, errno);
    }
    return (now() - start) / FAILURES;
}

int main(void)
{
    require_pymalloc();
    for (size_t at = 0; at < BLOCKS; at++)
        CHECK((blocks[at] = malloc(200)) != NULL, "no memory");
    for (size_t at = 0; at < BLOCKS; at++)
        if (at % 100)
            free(blocks[at]);
    double impossible = failure(hide_size((size_t)1 << 50));

    /* All that is left is taken; then a part of the heap comes free, here and there. */
    struct rlimit limit = {address_space() + 64 * MIB, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit fails");
    while (hide(malloc(MIB)))
        ;
    while (hide(malloc(5000)))
        ;
    double exhausted = failure(MIB);
    say(STDOUT_FILENO, "microseconds a failure: %.1f of 2^50 bytes, %.1f of a MiB when nothing is left\n", impossible, exhausted);
    CHECK(impossible < 100, "a request that cannot be served takes %.1f us", impossible);
    CHECK(exhausted < 300, "a failure takes %.1f us when nothing is left", exhausted);
    return 0;
}
