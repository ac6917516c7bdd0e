/* Small blocks of all sizes: one of those that are live, whichever, gives way to another.
 *
 * After alloc-test (OLogN Technologies), with sizes evenly spread. */

#include "bench.h"

enum { LIVE = 1 << 15, SMALLEST = 1, LARGEST = 512 };

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
