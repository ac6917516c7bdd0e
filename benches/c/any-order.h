/* What random, medium and large do: of the blocks that are live one, whichever, gives way to another of any of the sizes.
 *
 * What must hold: the program says how many are LIVE, of SMALLEST to LARGEST bytes, before it includes this: they are constants,
 * which the compiler knows in the loop that is timed. */

#include "bench.h"

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
