/* A stack of blocks that grows and shrinks, as in a program that recurses: last in, first out.
 *
 * After sh6bench (MicroQuill), which frees most of its blocks in this order. */

#include "bench.h"

enum { DEEPEST = 1 << 16, SMALLEST = 16, LARGEST = 128 };

static void prepare(struct thread *self)
{
    self->blocks = table(DEEPEST, sizeof(struct block));
}

/* A round goes to another depth, on average a third of the deepest away. */
static void work(struct thread *self)
{
    uint32_t depth = 0;

    for (uint64_t i = 0; i < self->rounds; i++) {
        uint32_t target = draw(self, 0, DEEPEST);

        while (depth < target)
            self->blocks[depth++] = allocate(self, draw(self, SMALLEST, LARGEST));
        while (depth > target)
            release(self->blocks[--depth]);
    }
    drop(self, depth);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
