/* A queue of small blocks that fills up and is worked off: first in, first out.
 *
 * After the queues of servers and event loops: what is freed is always the block that was allocated longest ago. */

#include "bench.h"

enum { SIZE = 48, LONGEST = 1 << 16 };

static void prepare(struct thread *self)
{
    self->blocks = table(LONGEST, sizeof(struct block));
}

/* A round goes to another length, on average a third of the longest away. */
static void work(struct thread *self)
{
    uint64_t in = 0, out = 0;

    for (uint64_t i = 0; i < self->rounds; i++) {
        uint32_t target = draw(self, 0, LONGEST);

        while (in - out < target)
            self->blocks[in++ % LONGEST] = allocate(self, SIZE);
        while (in - out > target)
            release(self->blocks[out++ % LONGEST]);
    }
    while (out < in)
        release(self->blocks[out++ % LONGEST]);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
