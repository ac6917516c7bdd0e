/* Threads that are born, work a little on blocks of their own, leave some to others, and die.
 *
 * After what Larson and Krishnan (1998) call bleeding, taken to its end: the work is short, so that a thread's first and
 * last steps in the allocator count, and what is left is freed by whichever thread comes to that shelf, long after its owner died.
 * What must hold: THREADS of them are alive at a time. */

#include "bench.h"

enum { SHELVES = 128, LEFT = 256, OWN = 1024, SMALLEST = 16, LARGEST = 512 };

struct shelf {
    pthread_mutex_t lock;
    struct block blocks[LEFT];
};

static struct shelf *shelves;
static unsigned shelf_count;

static void prepare(struct thread *self)
{
    for (unsigned i = self->number * SHELVES; i < (self->number + 1) * SHELVES; i++) {
        pthread_mutex_init(&shelves[i].lock, NULL);
        for (size_t j = 0; j < LEFT; j++)
            shelves[i].blocks[j] = allocate(self, draw(self, SMALLEST, LARGEST));
    }
}

static void *live_shortly(void *thread)
{
    struct thread *self = thread;
    struct shelf *shelf = &shelves[draw(self, 0, shelf_count - 1)];
    struct block own[OWN];

    for (size_t i = 0; i < OWN; i++)
        own[i] = allocate(self, draw(self, SMALLEST, LARGEST));
    pthread_mutex_lock(&shelf->lock);
    for (size_t i = 0; i < LEFT; i++)
        replace(self, &shelf->blocks[i], SMALLEST, LARGEST);
    pthread_mutex_unlock(&shelf->lock);
    for (size_t i = 0; i < OWN; i++)
        release(own[i]);
    return NULL;
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++)
        pthread_join(start_thread(live_shortly, self), NULL);
}

int main(int argc, char **argv)
{
    struct arguments arguments = read_arguments(argc, argv);

    shelf_count = arguments.threads * SHELVES;
    shelves = table(shelf_count, sizeof(*shelves));
    run(arguments, prepare, work);
    for (unsigned i = 0; i < shelf_count; i++)
        for (size_t j = 0; j < LEFT; j++)
            release(shelves[i].blocks[j]);
    return 0;
}
