/* What all workloads share: arguments, threads, the clock, random numbers, blocks that know their contents, the result.
 *
 * Owns: the form `PROGRAM THREADS ROUNDS`, in which every thread does ROUNDS on its own, and the line of JSON at the end.
 * What must hold: a workload's own tables never come from the allocator that is measured; with one thread none is created by
 * this file, as C libraries are faster in a process that never had a second; every block is written when it is
 * allocated, and checked when it is freed, so that an allocator that gives memory out twice fails instead of winning. */

#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_THREADS = 4096,
    /* A block is written at its end and evenly along its length, as a program fills part of what it asked for: in every cache line
     * if it is small, in every page if it is large, and between the two so often. */
    LINE = 64,
    PAGE = 4096,
    SAMPLES = 16,
    WORD = sizeof(uint32_t), /* of what is written */
};

/* Two adjacent cache lines, which the processor fetches together, so that no two threads write to the same ones. */
struct thread {
    unsigned number, threads;
    uint64_t rounds;
    uint64_t random;
    uint32_t tag;
    struct block *blocks; /* a table for the workload's own use */
} __attribute__((aligned(128)));

struct block {
    void *address;
    uint32_t size;
    uint32_t tag; /* the block's contents: different in all blocks of a thread */
};

struct arguments {
    unsigned threads;
    uint64_t rounds;
};

/* One line on stderr, whole whatever other threads say, and out, all without the allocator, which may be what is broken. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
    char why[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, sizeof(why), format, arguments);
    va_end(arguments);
    dprintf(STDERR_FILENO, "%s: %s\n", program_invocation_short_name, why);
    _exit(1);
}

static inline uint64_t read_number(const char *text, uint64_t most)
{
    char *end;

    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < 1 || number > most)
        fail("%s is not a number from 1 to %llu", text, (unsigned long long)most);
    return number;
}

static inline struct arguments read_arguments(int argc, char **argv)
{
    struct arguments arguments;

    if (argc != 3)
        fail("usage: %s THREADS ROUNDS", program_invocation_short_name);
    arguments.threads = (unsigned)read_number(argv[1], MOST_THREADS);
    arguments.rounds = read_number(argv[2], UINT32_MAX);
    return arguments;
}

/* Zeroed memory straight from the kernel. */
static inline void *table(size_t count, size_t size)
{
    void *address = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (address == MAP_FAILED)
        fail("no memory for a table of %zu bytes", count * size);
    return address;
}

/* Evenly from `low` to `high`: Knuth's linear congruential generator, whose upper bits are the good ones. */
static inline uint32_t draw(struct thread *self, uint32_t low, uint32_t high)
{
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    return low + (uint32_t)(((self->random >> 32) * (high - low + 1)) >> 32);
}

static inline size_t stride(size_t size)
{
    size_t even = size / SAMPLES;

    if (even < LINE)
        return LINE;
    return even < PAGE ? even : (size_t)PAGE;
}

/* The block is the workload's now. */
static inline struct block claim(struct thread *self, void *address, size_t size)
{
    /* Odd, and its bytes unlike: tags that follow each other differ in the first byte too, which is all that fits in one byte. */
    uint32_t tag = self->tag += 0x9e3779b9;
    struct block block = { address, (uint32_t)size, tag };
    char *bytes = (char *)address;

    if (address == NULL)
        fail("no memory for a block of %zu bytes", size);
    if (size < 2 * WORD) {
        memset(bytes, (uint8_t)tag, size);
        return block;
    }
    for (size_t at = 0, step = stride(size); at + 2 * WORD <= size; at += step)
        memcpy(bytes + at, &tag, WORD);
    memcpy(bytes + size - WORD, &tag, WORD);
    return block;
}

static inline struct block allocate(struct thread *self, size_t size)
{
    return claim(self, malloc(size), size);
}

static inline void check(struct block block)
{
    const char *bytes = (const char *)block.address;
    uint32_t wrong = 0, word;

    if (block.size < 2 * WORD) {
        for (size_t at = 0; at < block.size; at++)
            wrong |= (uint8_t)bytes[at] ^ (uint8_t)block.tag;
    } else {
        for (size_t at = 0, step = stride(block.size); at + 2 * WORD <= block.size; at += step) {
            memcpy(&word, bytes + at, WORD);
            wrong |= word ^ block.tag;
        }
        memcpy(&word, bytes + block.size - WORD, WORD);
        wrong |= word ^ block.tag;
    }
    if (wrong != 0)
        fail("the block of %u bytes at %p was changed by someone else", block.size, block.address);
}

static inline void release(struct block block)
{
    check(block);
    free(block.address);
}

/* A table with `count` blocks of sizes from `low` to `high`. */
static inline void fill(struct thread *self, size_t count, uint32_t low, uint32_t high)
{
    self->blocks = (struct block *)table(count, sizeof(struct block));
    for (size_t i = 0; i < count; i++)
        self->blocks[i] = allocate(self, draw(self, low, high));
}

/* Another block in the place of this one. */
static inline void replace(struct thread *self, struct block *place, uint32_t low, uint32_t high)
{
    release(*place);
    *place = allocate(self, draw(self, low, high));
}

static inline void drop(struct thread *self, size_t count)
{
    for (size_t i = 0; i < count; i++)
        release(self->blocks[i]);
}

static inline pthread_t start_thread(void *(*function)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, function, argument);

    if (error != 0)
        fail("a thread cannot be created: %s", strerror(error));
    return thread;
}

static inline double seconds(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

typedef void step(struct thread *self);

static struct {
    step *prepare, *work;
    pthread_barrier_t prepared;
} plan;

static inline void prepare_and_wait(struct thread *self)
{
    if (plan.prepare != NULL)
        plan.prepare(self);
    pthread_barrier_wait(&plan.prepared);
}

static inline void *live(void *thread)
{
    prepare_and_wait((struct thread *)thread);
    plan.work((struct thread *)thread);
    return NULL;
}

/* Runs `prepare` (which may be NULL) in all threads, then `work`, which is timed up to the end of the last thread: by the
 * clock, and in processor time of the whole process. The first thread is the one that calls. */
static inline void run(struct arguments arguments, step *prepare, step *work)
{
    struct thread *threads = (struct thread *)table(arguments.threads, sizeof(struct thread));
    pthread_t *others = (pthread_t *)table(arguments.threads, sizeof(pthread_t));

    plan.prepare = prepare;
    plan.work = work;
    pthread_barrier_init(&plan.prepared, NULL, arguments.threads);
    for (unsigned i = 0; i < arguments.threads; i++) {
        threads[i].number = i;
        threads[i].threads = arguments.threads;
        threads[i].rounds = arguments.rounds;
        threads[i].random = threads[i].tag = i * 0x01000193;
    }
    for (unsigned i = 1; i < arguments.threads; i++)
        others[i] = start_thread(live, &threads[i]);
    prepare_and_wait(&threads[0]);
    double wall = seconds(CLOCK_MONOTONIC), processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
    work(&threads[0]);
    for (unsigned i = 1; i < arguments.threads; i++)
        pthread_join(others[i], NULL);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    processor = seconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
    if (printf("{\"seconds\": %.6f, \"processor\": %.6f}\n", wall, processor) < 0 || fflush(stdout) != 0)
        fail("the result cannot be written: %s", strerror(errno));
}

#endif
