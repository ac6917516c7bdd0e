/* How long single calls take: `latency ROUNDS` prints the seconds of all, and as figures for malloc, free, realloc, the first malloc of a thread, and the end
 * of a thread the median, 99.9 and 99.99 % and the worst, in nanoseconds, as a line of JSON.
 *
 * A round is what a cache does that fills, works and is dropped: blocks of 16 to 1,024 bytes are allocated, replaced in any order, and all but one in
 * twenty freed in any order. Then arrays grow by realloc, and short threads come and go that leave some blocks to others.
 *
 * Owns the times, in tables of its own. What must hold: a call in which the thread lost its processor tells of the machine and not of the allocator. Such a
 * call counts in no figure; it is noticed only where it is long. What reading the clock takes is in every figure, some 30 ns. */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum {
    BLOCKS = 400000,
    SMALLEST = 16,
    LARGEST = 1024,
    KEPT_OF = 20,
    ARRAYS = 2000,
    LONGEST_ARRAY = 1 << 18,
    BIRTHS = 2000,
    OF_A_THREAD = 1000,
    LEFT_BY_A_THREAD = 50,
    MOST_TIMES = 1 << 24,
    /* A call that takes longer may have lost its processor. */
    LONG = 5000,
};

struct times {
    const char *name;
    uint32_t *nanoseconds;
    size_t count;
};

static struct times mallocs = { "malloc", NULL, 0 }, frees = { "free", NULL, 0 }, reallocs = { "realloc", NULL, 0 },
                    births = { "thread birth", NULL, 0 }, ends = { "thread end", NULL, 0 };
static uint64_t seed = 1;

static void *table(size_t count, size_t size)
{
    void *address = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (address == MAP_FAILED) {
        perror("a table");
        exit(1);
    }
    return address;
}

static uint32_t draw(uint32_t low, uint32_t high)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return low + (uint32_t)(((seed >> 32) * (high - low + 1)) >> 32);
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* How often the calling thread has lost its processor to another. */
static long losses(void)
{
    struct rusage usage;

    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void enter(struct times *times, uint64_t start, uint64_t end)
{
    static _Thread_local long known;

    if (end - start > LONG) {
        long found = losses();
        int lost = found != known;

        known = found;
        if (lost)
            return;
    }
    if (times->count < MOST_TIMES)
        times->nanoseconds[times->count++] = end - start < UINT32_MAX ? (uint32_t)(end - start) : UINT32_MAX;
}

static void *timed_malloc(struct times *times, size_t size)
{
    uint64_t start = now();
    char *block = malloc(size);

    enter(times, start, now());
    if (block == NULL)
        exit(1);
    block[0] = block[size - 1] = 1;
    return block;
}

static void timed_free(void *block)
{
    uint64_t start = now();

    free(block);
    enter(&frees, start, now());
}

static void shuffle(void **blocks, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = draw(0, (uint32_t)i - 1);
        void *block = blocks[i - 1];

        blocks[i - 1] = blocks[other];
        blocks[other] = block;
    }
}

static void fill_and_drop(void **blocks)
{
    for (size_t i = 0; i < BLOCKS; i++)
        if (blocks[i] == NULL)
            blocks[i] = timed_malloc(&mallocs, draw(SMALLEST, LARGEST));
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t place = draw(0, BLOCKS - 1);

        timed_free(blocks[place]);
        blocks[place] = timed_malloc(&mallocs, draw(SMALLEST, LARGEST));
    }
    shuffle(blocks, BLOCKS);
    for (size_t i = BLOCKS / KEPT_OF; i < BLOCKS; i++) {
        timed_free(blocks[i]);
        blocks[i] = NULL;
    }
}

static void grow(void)
{
    for (int i = 0; i < ARRAYS; i++) {
        size_t most = draw(SMALLEST, LONGEST_ARRAY);
        char *array = NULL;

        for (size_t size = SMALLEST; size < most; size += size / 2) {
            uint64_t start = now();

            array = realloc(array, size);
            enter(&reallocs, start, now());
            if (array == NULL)
                exit(1);
            array[size - 1] = 1;
        }
        free(array);
    }
}

static void *left[LEFT_BY_A_THREAD];
static uint64_t end_began;

static void *live(void *argument)
{
    void *blocks[OF_A_THREAD];
    uint64_t start = now();

    blocks[0] = malloc(SMALLEST);
    /* The first call of a thread that has counted nothing: whether it lost its processor is told by the count alone. */
    uint64_t end = now();
    if (losses() == 0)
        births.nanoseconds[births.count++] = (uint32_t)(end - start);
    for (int i = 1; i < OF_A_THREAD; i++)
        blocks[i] = malloc(draw(SMALLEST, LARGEST));
    for (int i = 0; i < OF_A_THREAD; i++)
        if (i < LEFT_BY_A_THREAD)
            left[i] = blocks[i];
        else
            free(blocks[i]);
    end_began = now();
    return argument;
}

static void come_and_go(void)
{
    for (int i = 0; i < BIRTHS; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, live, NULL) != 0)
            exit(1);
        pthread_join(thread, NULL);
        ends.nanoseconds[ends.count++] = (uint32_t)(now() - end_began);
        for (int j = 0; j < LEFT_BY_A_THREAD; j++)
            free(left[j]);
    }
}

static int ascending(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

    return (a > b) - (a < b);
}

static void print(struct times *times, const char *before)
{
    uint32_t *sorted = times->nanoseconds;
    size_t last = times->count - 1;

    qsort(sorted, times->count, sizeof(*sorted), ascending);
    printf("%s\"%s\": {\"median\": %u, \"99.9 %%\": %u, \"99.99 %%\": %u, \"worst\": %u}", before, times->name, sorted[last / 2],
        sorted[last - last / 1000], sorted[last - last / 10000], sorted[last]);
}

int main(int argc, char **argv)
{
    struct times *all[] = { &mallocs, &frees, &reallocs, &births, &ends };
    enum { KINDS = sizeof(all) / sizeof(all[0]) };
    void **blocks = table(BLOCKS, sizeof(*blocks));

    if (argc != 2)
        return 1;
    for (int i = 0; i < KINDS; i++)
        all[i]->nanoseconds = table(MOST_TIMES, sizeof(uint32_t));
    uint64_t start = now();
    for (int round = atoi(argv[1]); round > 0; round--) {
        fill_and_drop(blocks);
        grow();
        come_and_go();
    }
    printf("{\"seconds\": %.3f, \"figures\": {", (double)(now() - start) / 1e9);
    for (int i = 0; i < KINDS; i++)
        print(all[i], i == 0 ? "" : ", ");
    puts("}}");
    return 0;
}
