/* Zeroed blocks, most of them small, some large, as the tables of interpreters and servers are: one gives way to another.
 *
 * After Yang, Blackburn, Frampton, Sartor and McKinley, "Why nothing matters: the impact of zeroing" (2011).
 * What must hold: a block is checked for zeros before it is written. */

#include "bench.h"

/* One block in RARE is large. */
enum { LIVE = 1 << 14, RARE = 64, SMALLEST = 16, SMALL = 512, LARGEST = 64 << 10 };

static struct block allocate_zeroed(struct thread *self)
{
    size_t size = draw(self, SMALLEST, draw(self, 1, RARE) == 1 ? LARGEST : SMALL);
    char *bytes = calloc(1, size);
    char wrong = bytes != NULL ? bytes[size - 1] : 0;

    for (size_t at = 0; bytes != NULL && at < size; at += LINE)
        wrong |= bytes[at];
    if (wrong != 0)
        fail("the block of %zu bytes at %p is not zeroed", size, (void *)bytes);
    return claim(self, bytes, size);
}

static void prepare(struct thread *self)
{
    self->blocks = table(LIVE, sizeof(struct block));
    for (size_t i = 0; i < LIVE; i++)
        self->blocks[i] = allocate_zeroed(self);
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++) {
        struct block *place = &self->blocks[draw(self, 0, LIVE - 1)];

        release(*place);
        *place = allocate_zeroed(self);
    }
    drop(self, LIVE);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
