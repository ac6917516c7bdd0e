/*
 * Requests that cannot be served, in a process with a large heap of which most was freed here and there.
 *
 * What must hold: what no memory of the process could serve fails at once. Where what is kept might serve, failures that follow each other cost the same
 * however large the heap is.
 */
#include "check.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
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

/* A request that fails: microseconds on average, in the best of a few attempts. */
static double failure(size_t size)
{
    double best = 1e9;
    for (int attempt = 0; attempt < 5; attempt++) {
        double start = now();
        for (int time = 0; time < FAILURES; time++) {
            errno = 0;
            CHECK(hide(malloc(size)) == NULL && errno == ENOMEM, "malloc(%zu) works, or sets errno %d", size, errno);
        }
        double each = (now() - start) / FAILURES;
        best = each < best ? each : best;
    }
    return best;
}

struct failures {
    double impossible, of_run, of_small;
};

static struct failures failures_with(size_t count)
{
    struct failures each;
    for (size_t at = 0; at < count; at++)
        CHECK((blocks[at] = malloc(200)) != NULL, "no memory");
    for (size_t at = 0; at < count; at++)
        if (at % 100)
            free(blocks[at]);
    each.impossible = failure(hide_size((size_t)1 << 50));

    /* All that is left is taken; then a part of the heap comes free, here and there. */
    struct rlimit limit = {address_space() + 64 * MIB, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit fails");
    while (hide(malloc(MIB)))
        ;
    while (hide(malloc(5000)))
        ;
    each.of_run = failure(MIB);
    each.of_small = failure(5000);
    return each;
}

int main(void)
{
    require_pymalloc();
    struct failures *in_child = mmap(NULL, sizeof *in_child, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(in_child != MAP_FAILED, "mmap fails");
    pid_t child = fork();
    CHECK(child >= 0, "fork fails");
    if (child == 0) {
        *in_child = failures_with(BLOCKS / 100);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ends with status %d", status);
    struct failures few = *in_child, many = failures_with(BLOCKS);
    say(STDOUT_FILENO, "microseconds a failure with few blocks and many: %.1f %.1f of 2^50 bytes, %.1f %.1f of a MiB, %.1f %.1f of 5000 bytes\n",
        few.impossible, many.impossible, few.of_run, many.of_run, few.of_small, many.of_small);
    CHECK(many.impossible < 3 * few.impossible + 1, "a request that cannot be served takes %.1f us, %.1f with few blocks", many.impossible,
          few.impossible);
    CHECK(many.of_run < 3 * few.of_run + 1, "a failure of a MiB takes %.1f us when nothing is left, %.1f with few blocks", many.of_run,
          few.of_run);
    CHECK(many.of_small < 3 * few.of_small + 1, "a failure of 5000 bytes takes %.1f us when nothing is left, %.1f with few blocks",
          many.of_small, few.of_small);
    return 0;
}
