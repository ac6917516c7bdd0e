/* Blocks of 1 to 17 KiB, as buffers are: one of those that are live, whichever, gives way to another.
 *
 * After rpmalloc-benchmark (Jansson), which goes to 16,000 bytes. */

#include "bench.h"

enum { LIVE = 1 << 10, SMALLEST = 1 << 10, LARGEST = 17 << 10 };

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
