/* Blocks of 1 to 32 MiB, written in every page, as images and matrices are: a few are live, and one gives way to another.
 *
 * After malloc-large of mimalloc-bench, which goes to 25 MiB. */

#include "bench.h"

enum { LIVE = 4, SMALLEST = 1 << 20, LARGEST = 32 << 20 };

static void prepare(struct thread *self)
{
    fill(self, LIVE, SMALLEST, LARGEST);
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++)
        replace(self, &self->blocks[draw(self, 0, LIVE - 1)], SMALLEST, LARGEST);
    drop(self, LIVE);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
