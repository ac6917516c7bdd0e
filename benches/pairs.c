/* Loops of malloc/free pairs, and of realloc, for counting instructions: `pairs LOOP COUNT` runs COUNT of one loop and prints nothing.
 *
 * Owns: the loops that scripts/bench-instructions names. Counting is done from outside (callgrind), as the difference
 * between COUNT and twice COUNT, so that the start of the process drops out.
 * What must hold: a pair's calls go through the PLT as in any program (the compiler is told not to know malloc), and what the
 * loop itself costs stays near ten instructions. */

#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL = 48,
    FIFO_BLOCKS = 4096,
    LIFO_BLOCKS = 128,
    SIZES = 1 << 14,
    LARGE_BLOCKS = 256,
    REMOTE_BLOCKS = 1024,
    RESIZED_BLOCKS = 64,
};

static void *ring[FIFO_BLOCKS];
static uint32_t sizes[SIZES];

/* Fills `sizes` evenly from `low` to `high`, always with the same numbers (Marsaglia's xorshift). */
static void draw_sizes(uint32_t low, uint32_t high)
{
    uint32_t x = 2463534242;

    for (size_t i = 0; i < SIZES; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        sizes[i] = low + x % (high - low + 1);
    }
}

static void one_size(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ring[0] = malloc(SMALL);
        free(ring[0]);
    }
}

static void lifo(size_t count)
{
    for (size_t done = 0; done < count; done += LIFO_BLOCKS) {
        for (size_t i = 0; i < LIFO_BLOCKS; i++)
            ring[i] = malloc(SMALL);
        for (size_t i = LIFO_BLOCKS; i-- > 0;)
            free(ring[i]);
    }
}

static void fifo(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void **slot = &ring[i % FIFO_BLOCKS];

        free(*slot);
        *slot = malloc(SMALL);
    }
}

/* First in, first out over `live` blocks of the sizes drawn. */
static void drawn(size_t count, size_t live)
{
    for (size_t i = 0; i < count; i++) {
        void **slot = &ring[i & (live - 1)];

        free(*slot);
        *slot = malloc(sizes[i % SIZES]);
    }
}

static void random_small(size_t count)
{
    draw_sizes(1, 512);
    drawn(count, FIFO_BLOCKS);
}

static void random_large(size_t count)
{
    draw_sizes(1024, 17 * 1024);
    drawn(count, LARGE_BLOCKS);
}

static void zeroed(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ring[0] = calloc(1, 96);
        free(ring[0]);
    }
}

/* Resizes that a block has room for, as strings and lists make that grow by a little. */
static void resized(size_t count)
{
    for (size_t i = 0; i < RESIZED_BLOCKS; i++)
        ring[i] = malloc(SMALL);
    for (size_t i = 0; i < count; i++) {
        void **slot = &ring[i % RESIZED_BLOCKS];

        *slot = realloc(*slot, SMALL - 7 + i / RESIZED_BLOCKS % 8);
    }
}

/* Grows blocks by half until they have 512 bytes. */
static void grown(size_t count)
{
    size_t done = 0;

    while (done < count) {
        void *block = malloc(16);

        for (size_t size = 32; size <= 512 && done < count; size += size / 2, done++)
            block = realloc(block, size);
        free(block);
    }
}

static sem_t full, empty;

/* Frees the whole ring each time it is full; ends on a ring that starts with NULL. */
static void *free_ring(void *unused)
{
    for (;;) {
        sem_wait(&full);
        if (ring[0] == NULL)
            return unused;
        for (size_t i = 0; i < REMOTE_BLOCKS; i++)
            free(ring[i]);
        sem_post(&empty);
    }
}

static void remote(size_t count)
{
    pthread_t consumer;

    sem_init(&full, 0, 0);
    sem_init(&empty, 0, 1);
    if (pthread_create(&consumer, NULL, free_ring, NULL) != 0)
        abort();
    for (size_t done = 0; done < count; done += REMOTE_BLOCKS) {
        sem_wait(&empty);
        for (size_t i = 0; i < REMOTE_BLOCKS; i++)
            ring[i] = malloc(SMALL);
        sem_post(&full);
    }
    sem_wait(&empty);
    ring[0] = NULL;
    sem_post(&full);
    pthread_join(consumer, NULL);
}

static const struct {
    const char *name;
    void (*run)(size_t count);
} loops[] = {
    { "one-size", one_size },         { "lifo", lifo },     { "fifo", fifo },     { "random-small", random_small },
    { "random-large", random_large }, { "zeroed", zeroed }, { "remote", remote },
    { "resized", resized },           { "grown", grown },
};

int main(int argc, char **argv)
{
    if (argc == 3) {
        for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
            if (strcmp(argv[1], loops[i].name) == 0) {
                loops[i].run(strtoull(argv[2], NULL, 10));
                return 0;
            }
        }
    }
    fputs("usage: pairs LOOP COUNT\n", stderr);
    return 2;
}
