/*
 * Random traffic from four threads that hand blocks to each other: stress SEED [OPERATIONS].
 *
 * What must hold: every byte of every block is filled when the block is born and checked whenever it changes hands, is
 * resized or dies. The numbers of a seed are the same in each run; only the interleaving of the threads is not.
 */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, OWN = 512, SHARED = 1024 };
#define DEFAULT_OPERATIONS 100000

/* What is known of a block. It is itself allocated, and freed by whichever thread has it last. */
struct item {
    unsigned char *block;
    size_t size;
    uint64_t id;
};

static _Atomic(struct item *) shared[SHARED];
static _Atomic uint64_t next_id;
static uint64_t first_seed;
static long operations;

static size_t random_size(uint64_t *seed)
{
    uint64_t kind = next_random(seed) % 2000;
    if (kind < 1200)
        return random_between(seed, 1, 256);
    if (kind < 1850)
        return random_between(seed, 1, 2048);
    if (kind < 1985)
        return random_between(seed, 1, 20000);
    if (kind < 1998)
        return random_between(seed, 1, 300000);
    return random_between(seed, 1, 4 * MIB);
}

static void refill(struct item *item)
{
    item->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    fill(item->block, item->size, item->id);
}

static void check_item(const struct item *item, size_t size, const char *when)
{
    CHECK(is_filled(item->block, size, item->id), "seed %lu: block %p of %zu bytes is not what it was %s",
          (unsigned long)first_seed, (void *)item->block, item->size, when);
}

static struct item *new_item(uint64_t *seed)
{
    struct item *item = malloc(sizeof *item);
    CHECK(item != NULL, "malloc(%zu) fails", sizeof *item);
    size_t alignment = 16;
    item->size = random_size(seed);
    switch (next_random(seed) % 8) {
    case 0:
        item->block = calloc(1, item->size);
        for (size_t at = 0; item->block && at < item->size; at++)
            CHECK(item->block[at] == 0, "seed %lu: calloc(1, %zu) at %p has %d at offset %zu", (unsigned long)first_seed,
                  item->size, (void *)item->block, item->block[at], at);
        break;
    case 1:
        alignment = (size_t)16 << random_between(seed, 0, 9);
        item->block = aligned_alloc(alignment, item->size);
        break;
    case 2:
        item->block = realloc(NULL, item->size);
        break;
    default:
        item->block = malloc(item->size);
    }
    CHECK(item->block != NULL, "seed %lu: %zu bytes at alignment %zu are refused", (unsigned long)first_seed, item->size,
          alignment);
    CHECK((uintptr_t)item->block % alignment == 0, "seed %lu: %zu bytes at alignment %zu are at %p",
          (unsigned long)first_seed, item->size, alignment, (void *)item->block);
    CHECK(malloc_usable_size(item->block) >= item->size, "seed %lu: %zu bytes at %p, usable are %zu",
          (unsigned long)first_seed, item->size, (void *)item->block, malloc_usable_size(item->block));
    refill(item);
    return item;
}

static void end_item(struct item *item)
{
    if (!item)
        return;
    check_item(item, item->size, "before free");
    free(item->block);
    free(item);
}

static void resize_item(struct item *item, uint64_t *seed)
{
    size_t size = random_size(seed);
    check_item(item, item->size, "before realloc");
    item->block = realloc(item->block, size);
    CHECK(item->block != NULL, "seed %lu: realloc to %zu bytes fails", (unsigned long)first_seed, size);
    check_item(item, size < item->size ? size & ~(size_t)7 : item->size, "after realloc");
    item->size = size;
    refill(item);
}

static void *run(void *number)
{
    uint64_t seed = first_seed * THREADS + (uint64_t)(uintptr_t)number;
    struct item *own[OWN] = {NULL};
    for (long count = 0; count < operations; count++) {
        /* Half of the traffic in a few places gives short lives beside long ones. */
        struct item **place = &own[next_random(&seed) % (count % 2 ? 16 : OWN)];
        uint64_t action = next_random(&seed) % 16;
        if (!*place) {
            *place = new_item(&seed);
        } else if (action < 3) {
            resize_item(*place, &seed);
        } else if (action < 9) {
            *place = atomic_exchange_explicit(&shared[next_random(&seed) % SHARED], *place, memory_order_acq_rel);
            if (*place)
                check_item(*place, (*place)->size, "when handed over");
        } else {
            end_item(*place);
            *place = NULL;
        }
    }
    for (int at = 0; at < OWN; at++)
        end_item(own[at]);
    return NULL;
}

int main(int count, char **arguments)
{
    require_pymalloc();
    CHECK(count >= 2, "usage: %s SEED [OPERATIONS]", arguments[0]);
    first_seed = strtoull(arguments[1], NULL, 0);
    operations = count > 2 ? strtol(arguments[2], NULL, 0) : DEFAULT_OPERATIONS;

    /* Two generations: the second one's threads take over what the first one's have left. */
    for (uintptr_t generation = 0; generation < 2; generation++) {
        pthread_t threads[THREADS];
        for (uintptr_t at = 0; at < THREADS; at++)
            CHECK(pthread_create(&threads[at], NULL, run, (void *)(generation * THREADS + at)) == 0, "pthread_create fails");
        for (int at = 0; at < THREADS; at++)
            pthread_join(threads[at], NULL);
    }
    for (int at = 0; at < SHARED; at++)
        end_item(atomic_load(&shared[at]));
    return 0;
}
