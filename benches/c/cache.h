/* What cache-thrash and cache-scratch do with a block: write to it so often that it costs time if another thread writes to the same
 * cache line.
 *
 * What must hold: the block is checked before it is freed, and no write is left out by the compiler. */

#include "bench.h"

enum { SIZE = 8, WRITES = 1000 };

static void use_repeatedly(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++) {
        struct block block = allocate(self, SIZE);
        volatile uint32_t *word = block.address;

        for (uint32_t j = 0; j < WRITES; j++)
            *word += 1;
        *word -= WRITES;
        release(block);
    }
}
