/* Mixed sizes that drift: in each era the blocks that come are of another size than those that go.
 *
 * After the programs that work in phases in Johnstone and Wilson, "The memory fragmentation problem: solved?" (1998): the peak
 * shows how much of the memory of one phase serves the next.
 * What must hold: the last era is one of small blocks, so that there are holes that are too large as well as too small. */

#include "bench.h"

enum { LIVE = 60000 };

/* Sizes of an era spread evenly from a half to one and a half of this. */
static const uint32_t eras[] = { 32, 64, 128, 256, 512, 1024, 384, 96 };

static void prepare(struct thread *self)
{
    fill(self, LIVE, eras[0] / 2, eras[0] * 3 / 2);
}

static void work(struct thread *self)
{
    for (size_t era = 0; era < sizeof(eras) / sizeof(eras[0]); era++)
        for (uint64_t i = 0; i < self->rounds; i++)
            replace(self, &self->blocks[draw(self, 0, LIVE - 1)], eras[era] / 2, eras[era] * 3 / 2);
    drop(self, LIVE);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
