/* One thread allocates, another frees: every free is of another thread's block, and the one that allocates never frees.
 *
 * After malloc-test of Lever and Boreham, "malloc() performance in a multithreaded Linux environment" (2000), and the
 * producers and consumers of Hoard's paper (2000), whose memory grows without bound in some allocators.
 * What must hold: threads come in pairs, at least one; what is between the two of a pair is bounded. */

#include "bench.h"

#include <semaphore.h>

enum { BATCHES = 16, BATCH = 1024, SMALLEST = 16, LARGEST = 512 };

struct lane {
    sem_t filled, vacant;
    struct block blocks[BATCHES][BATCH];
};

static struct lane *lanes;

static void prepare(struct thread *self)
{
    struct lane *lane = &lanes[self->number / 2];

    if (self->number % 2 == 0) {
        sem_init(&lane->filled, 0, 0);
        sem_init(&lane->vacant, 0, BATCHES);
    }
}

static void work(struct thread *self)
{
    struct lane *lane = &lanes[self->number / 2];
    int produces = self->number % 2 == 0;

    for (uint64_t i = 0; i < self->rounds; i++) {
        struct block *batch = lane->blocks[i % BATCHES];

        sem_wait(produces ? &lane->vacant : &lane->filled);
        for (size_t j = 0; j < BATCH; j++) {
            if (produces)
                batch[j] = allocate(self, draw(self, SMALLEST, LARGEST));
            else
                release(batch[j]);
        }
        sem_post(produces ? &lane->filled : &lane->vacant);
    }
}

int main(int argc, char **argv)
{
    struct arguments arguments = read_arguments(argc, argv);

    arguments.threads += arguments.threads % 2;
    lanes = table(arguments.threads / 2, sizeof(*lanes));
    run(arguments, prepare, work);
    return 0;
}
