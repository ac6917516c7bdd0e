/* One small block again and again: allocated, written, freed.
 *
 * After malloc-simple of glibc's benchtests.
 * What must hold: the other blocks stay live and are checked at the end, so that the pair runs in a heap that is in use. */

#include "bench.h"

enum { SIZE = 48, OTHERS = 1 << 16 };

static void prepare(struct thread *self)
{
    fill(self, OTHERS, SIZE, SIZE);
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++)
        release(allocate(self, SIZE));
    drop(self, OTHERS);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
