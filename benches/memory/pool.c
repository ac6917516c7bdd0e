/* A pool of threads that works and then idles: `pool THREADS BLOCKS IDLE`.
 *
 * Each thread allocates BLOCKS blocks of 16 to 2,048 bytes, frees every other one and sleeps for ever. The main thread goes on:
 * it frees what they left, but for every hundredth block. No thread ends before the process does. */

#include "meter.h"

#include <pthread.h>
#include <semaphore.h>

static size_t count;
static struct block *blocks; /* of all threads, BLOCKS each */
static sem_t start, done;

static void *work(void *number)
{
    size_t first = (size_t)(uintptr_t)number * count;
    uint64_t random = first;

    sem_wait(&start);
    for (size_t i = first; i < first + count; i++)
        blocks[i] = allocate(draw(&random, 16, 2048), i);
    for (size_t i = first + 1; i < first + count; i += 2)
        release(&blocks[i]);
    sem_post(&done);
    for (;;)
        pause();
    return NULL;
}

int main(int argc, char **argv)
{
    struct figures figures = { 0 };

    if (argc != 4) {
        fputs("usage: pool THREADS BLOCKS IDLE\n", stderr);
        return 2;
    }
    size_t threads = read_count(argv[1]);
    count = read_count(argv[2]) & ~(size_t)1;
    double idle = read_seconds(argv[3]);
    blocks = table(threads * count, sizeof(*blocks));
    sem_init(&start, 0, 0);
    sem_init(&done, 0, 0);
    for (size_t i = 0; i < threads; i++) {
        pthread_t thread;
        if ((errno = pthread_create(&thread, NULL, work, (void *)(uintptr_t)i)) != 0)
            fail("pthread_create");
    }
    begin(&figures);
    double started = now();
    for (size_t i = 0; i < threads; i++)
        sem_post(&start);
    for (size_t i = 0; i < threads; i++)
        sem_wait(&done);
    figures.peak = resident();
    for (size_t i = 0; i < threads * count; i += 2)
        if (i % 100 != 0)
            release(&blocks[i]);
    double seconds = now() - started;
    end(&figures, idle);
    count_survivors(&figures, blocks, threads * count);
    report(&figures, seconds, "");
    return 0;
}
