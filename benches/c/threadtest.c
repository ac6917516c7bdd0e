/* Each thread allocates many tiny blocks and then frees them all, in the same order, again and again.
 *
 * After threadtest of Berger, McKinley, Blumofe and Wilson, "Hoard: a scalable memory allocator for multithreaded applications"
 * (2000). */

#include "bench.h"

enum { SIZE = 8, BLOCKS = 100000 };

static void prepare(struct thread *self)
{
    self->blocks = table(BLOCKS, sizeof(struct block));
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++) {
        for (size_t j = 0; j < BLOCKS; j++)
            self->blocks[j] = allocate(self, SIZE);
        drop(self, BLOCKS);
    }
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
