/*
 * 10,000 short threads, each of which leaves blocks for later ones to free.
 *
 * What must hold: memory and address space are bounded by what is live and by how many threads live at once, never by how
 * many have ever lived. The live blocks are as many after the first thousand threads as at the end.
 */
#include "check.h"

#include <pthread.h>

enum { THREADS = 10000, AT_ONCE = 8, WARM_UP = 1000, LEFT = 40, HELD = 200 };

/* What was left behind, oldest first; a full ring means that each new block drives out one that a thread now dead had left. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    void *block;
    size_t size;
    uint64_t id;
} ring[LEFT * HELD];
static uint64_t left;
/* In the warm-up all threads of a round live at once, so that what so many cost is known. */
static pthread_barrier_t all_live;

static size_t random_size(uint64_t *seed)
{
    uint64_t kind = next_random(seed) % 1000;
    return kind < 900 ? random_between(seed, 1, 1000) : kind < 999 ? random_between(seed, 1, 8000) : 100000;
}

static void *live_shortly(void *number)
{
    uint64_t seed = (uint64_t)(uintptr_t)number;
    /* Some of its own, that it frees itself. */
    void *own[100];
    for (size_t at = 0; at < COUNT_OF(own); at++)
        own[at] = hide(malloc(random_size(&seed)));
    if ((uintptr_t)number < WARM_UP)
        pthread_barrier_wait(&all_live);
    for (int at = 0; at < LEFT; at++) {
        size_t size = random_size(&seed);
        void *block = malloc(size);
        CHECK(block != NULL, "malloc(%zu) fails", size);
        pthread_mutex_lock(&lock);
        uint64_t id = left++;
        void *old_block = ring[id % COUNT_OF(ring)].block;
        size_t old_size = ring[id % COUNT_OF(ring)].size;
        uint64_t old_id = ring[id % COUNT_OF(ring)].id;
        fill(block, size, id);
        ring[id % COUNT_OF(ring)].block = block;
        ring[id % COUNT_OF(ring)].size = size;
        ring[id % COUNT_OF(ring)].id = id;
        pthread_mutex_unlock(&lock);
        CHECK(!old_block || is_filled(old_block, old_size, old_id),
              "block %p of %zu bytes, left by an earlier thread, was overwritten", old_block, old_size);
        free(old_block);
    }
    for (size_t at = 0; at < COUNT_OF(own); at++)
        free(own[at]);
    return NULL;
}

int main(void)
{
    require_pymalloc();
    pthread_attr_t small_stack;
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, 128 * KIB);
    pthread_barrier_init(&all_live, NULL, AT_ONCE);
    size_t resident_then = 0, mapped_then = 0, resident_most = 0, mapped_most = 0;
    for (uintptr_t first = 0; first < THREADS; first += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        for (uintptr_t at = 0; at < AT_ONCE; at++)
            CHECK(pthread_create(&threads[at], &small_stack, live_shortly, (void *)(first + at)) == 0, "pthread_create fails");
        for (int at = 0; at < AT_ONCE; at++)
            pthread_join(threads[at], NULL);
        if (first == WARM_UP) {
            resident_then = resident();
            mapped_then = address_space();
        }
        if (first > WARM_UP && first % 500 == 0) {
            size_t now = resident(), mapped_now = address_space();
            resident_most = now > resident_most ? now : resident_most;
            mapped_most = mapped_now > mapped_most ? mapped_now : mapped_most;
        }
    }
    say(STDOUT_FILENO, "after %d threads: resident %.1f MiB, mapped %.1f MiB; most in the %d since: %.1f and %.1f\n", WARM_UP,
        mib(resident_then), mib(mapped_then), THREADS - WARM_UP, mib(resident_most), mib(mapped_most));
    CHECK(resident_most <= resident_then + 4 * MIB, "resident grows with the number of threads: from %.1f to %.1f MiB",
          mib(resident_then), mib(resident_most));
    CHECK(mapped_most <= mapped_then + 16 * MIB, "address space grows with the number of threads: from %.1f to %.1f MiB",
          mib(mapped_then), mib(mapped_most));
    for (size_t at = 0; at < COUNT_OF(ring); at++)
        free(ring[at].block);
    return 0;
}
