/* A program with a heap to be watched. What it does is its argument:

   still    builds a heap with blocks in all layers, remote frees and purged pages; waits for a line on stdin, writes what
            pymalloc_stats_json() says of it to stdout, and waits for the next
   busy     allocates and frees in four threads, and starts and ends others, until it is killed
   garbage  builds a heap, then writes random bytes all over its pools' and arenas' headers until it is killed

   Each writes "ready" to stdout when that holds. Only write(2) is used then, so that nothing allocates. */

#include <pthread.h>
#include <pymalloc.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 60000, THREADS = 4, HEADERS = 4096 };

static void *blocks[BLOCKS];

static int freed;

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        exit(1);
}

static void wait_for_line(void)
{
    char letter;
    while (read(0, &letter, 1) == 1 && letter != '\n')
        ;
}

static void build(void)
{
    uint64_t state = 42;
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = next(&state) % 100 == 0 ? next(&state) % 40000 : next(&state) % 1200;
        if (!(blocks[i] = malloc(size)))
            exit(1);
    }
}

/* Frees what another thread has allocated, and keeps its own heap alive after that. */
static void *free_some(void *unused)
{
    (void)unused;
    free(malloc(100));
    for (int i = 0; i < BLOCKS; i += 7)
        free(blocks[i]);
    __atomic_store_n(&freed, 1, __ATOMIC_RELEASE);
    for (;;)
        pause();
    return NULL;
}

static void still(void)
{
    static void *large[10], *mappings[3];
    pthread_t thread;

    build();
    for (int i = 0; i < 10; i++)
        large[i] = malloc(100000 + 10000 * i);
    for (int i = 0; i < 3; i++)
        mappings[i] = malloc(3000000);
    if (!large[9] || !mappings[2] || pthread_create(&thread, NULL, free_some, NULL))
        exit(1);
    while (!__atomic_load_n(&freed, __ATOMIC_ACQUIRE))
        sched_yield();
    /* Most of a long stretch, for free slots and purged pages. */
    for (int i = BLOCKS / 3; i < BLOCKS; i++)
        if (i % 500 && i % 7)
            free(blocks[i]);
    free(large[5]);
    free(mappings[1]);
    say("ready\n");
    for (;;) {
        wait_for_line();
        if (pymalloc_stats_json(1))
            exit(1);
    }
}

static void *short_life(void *block)
{
    free(block);
    return malloc(1000);
}

static void *work(void *seed)
{
    static void *shared[THREADS * 1000];
    void *own[1000] = {0};
    uint64_t state = (uintptr_t)seed;

    for (unsigned turn = 0;; turn++) {
        size_t size = next(&state) % 1000 == 0 ? next(&state) % 2000000 : next(&state) % 3000;
        void **place = next(&state) % 2 ? &own[next(&state) % 1000]
                                         : &shared[next(&state) % (THREADS * 1000)];
        free(__atomic_exchange_n(place, malloc(size), __ATOMIC_ACQ_REL));
        if (turn % 4096 == 0) {
            pthread_t thread;
            void *result = NULL;
            if (!pthread_create(&thread, NULL, short_life, malloc(200)))
                pthread_join(thread, &result);
            free(result);
        }
    }
    return NULL;
}

static void busy(void)
{
    pthread_t thread;
    for (uintptr_t seed = 1; seed <= THREADS; seed++)
        if (pthread_create(&thread, NULL, work, (void *)(seed * 1000003)))
            exit(1);
    say("ready\n");
    for (;;)
        pause();
}

static void garbage(void)
{
    static unsigned char *arenas[1024];
    uint64_t state = 4242;
    int count = 0;

    build();
    for (int i = 0; i < BLOCKS; i++) {
        pymalloc_info info;
        if (pymalloc_inspect(blocks[i], &info) && info.arena && count < 1024
            && (count == 0 || arenas[count - 1] != info.arena))
            arenas[count++] = (unsigned char *)info.arena;
    }
    say("ready\n");
    for (;;) {
        unsigned char *place = arenas[next(&state) % count] + next(&state) % HEADERS;
        *place = (unsigned char)next(&state);
    }
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "still"))
        still();
    if (!strcmp(what, "busy"))
        busy();
    if (!strcmp(what, "garbage"))
        garbage();
    return 2;
}
