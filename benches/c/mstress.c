/* Phases of a server: in each a new thread allocates and frees at random, keeps some blocks to the end of the phase, swaps others
 * with other threads, and dies. Few blocks are a hundred times as large as the rest.
 *
 * After mstress (Leijen, in mimalloc-bench).
 * What must hold: THREADS of them are alive at a time; a block is in one place at a time, so exactly one thread frees it. */

#include "bench.h"

enum { SHORT = 20000, KEPT = 2000, SHARED = 1000, SMALLEST = 8, LARGEST = 1024, KEPT_LARGEST = 4096, RARE = 100 };

struct shelf {
    pthread_mutex_t lock;
    struct block block; /* its address is NULL where there is none */
};

static struct shelf *shelves;

static int chance(struct thread *self, uint32_t percent)
{
    return draw(self, 1, 100) <= percent;
}

static struct block allocate_any(struct thread *self, uint32_t largest)
{
    size_t size = draw(self, SMALLEST, largest);

    return allocate(self, chance(self, 1) ? size * RARE : size);
}

/* Leaves `*block` on a shelf and takes from there. */
static void swap(struct thread *self, struct block *block)
{
    struct shelf *shelf = &shelves[draw(self, 0, SHARED - 1)];
    struct block left = *block;

    pthread_mutex_lock(&shelf->lock);
    *block = shelf->block;
    shelf->block = left;
    pthread_mutex_unlock(&shelf->lock);
}

static void *live_a_phase(void *thread)
{
    struct thread *self = thread;
    struct block *own = self->blocks, *kept = self->blocks + SHORT;
    size_t owned = 0, keeps = 0;

    for (size_t to_come = SHORT; to_come > 0;) {
        if (keeps == KEPT || chance(self, 90)) {
            own[owned++] = allocate_any(self, LARGEST);
            to_come--;
        } else {
            kept[keeps++] = allocate_any(self, KEPT_LARGEST);
        }
        if (owned > 0 && chance(self, 66)) {
            struct block *place = &own[draw(self, 0, (uint32_t)owned - 1)];

            release(*place);
            *place = own[--owned];
        }
        if (owned > 0 && chance(self, 25)) {
            struct block *place = &own[draw(self, 0, (uint32_t)owned - 1)];

            swap(self, place);
            if (place->address == NULL)
                *place = own[--owned];
        }
    }
    while (owned > 0)
        release(own[--owned]);
    while (keeps > 0)
        release(kept[--keeps]);
    return NULL;
}

static void prepare(struct thread *self)
{
    self->blocks = table(SHORT + KEPT, sizeof(struct block));
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++)
        pthread_join(start_thread(live_a_phase, self), NULL);
}

int main(int argc, char **argv)
{
    shelves = table(SHARED, sizeof(*shelves));
    for (size_t i = 0; i < SHARED; i++)
        pthread_mutex_init(&shelves[i].lock, NULL);
    run(read_arguments(argc, argv), prepare, work);
    for (size_t i = 0; i < SHARED; i++)
        if (shelves[i].block.address != NULL)
            release(shelves[i].block);
    return 0;
}
