/* What a memory scenario in C is measured with.
 *
 * Owns: what the figures mean, the idle time after the drop, the little work after that, and the line of JSON.
 * What must hold: taking a figure allocates nothing; the tables of a scenario come from the kernel, whole, before the first
 * figure; a block is written whole when it is allocated, and the survivors are checked in the end. */

#ifndef METER_H
#define METER_H

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    /* The little work after the idle time: rounds of blocks that are freed again, about 1 MiB each. */
    ROUNDS = 10,
    ROUND = 4000,
};

/* In bytes. `live` is what the scenario asked for and did not free; `floor` the pages that hold a byte of it; the others are what
 * is resident and not the kernel's to take: before the work, before the drop, at once after it, after the idle time, after the little work. */
struct figures {
    size_t live, floor, before, peak, at_once, idle, after_work;
};

struct block {
    unsigned char *address; /* NULL once it is freed */
    size_t size;
};

static inline void fail(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    _exit(1);
}

static inline size_t read_count(const char *text)
{
    char *end;
    unsigned long count = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || count == 0 || count > UINT32_MAX) {
        errno = EINVAL;
        fail(text);
    }
    return count;
}

static inline double read_seconds(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= 60)) {
        errno = EINVAL;
        fail(text);
    }
    return seconds;
}

static inline double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Evenly from `low` to `high`: Knuth's linear congruential generator, whose upper bits are the good ones. */
static inline size_t draw(uint64_t *random, size_t low, size_t high)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return low + (size_t)(((*random >> 32) * (high - low + 1)) >> 32);
}

static inline void *table(size_t count, size_t size)
{
    void *address = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (address == MAP_FAILED)
        fail("mmap");
    return address;
}

static inline size_t kilobytes(const char *text, const char *name, size_t otherwise)
{
    const char *line = strstr(text, name);

    return line == NULL ? otherwise : strtoul(line + strlen(name), NULL, 10);
}

/* What the kernel counts now, but for what it may take at any moment (MADV_FREE). /proc/self/statm is up to a few pages per thread
 * and processor behind. */
static inline size_t resident(void)
{
    char text[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text) - 1);

    if (length <= 0)
        fail("/proc/self/smaps_rollup");
    close(file);
    text[length] = '\0';
    size_t all = kilobytes(text, "\nRss:", SIZE_MAX);
    if (all == SIZE_MAX) {
        errno = ENODATA;
        fail("/proc/self/smaps_rollup");
    }
    return (all - kilobytes(text, "\nLazyFree:", 0)) * 1024;
}

/* The byte that a block is filled with. */
static inline unsigned char filling(size_t number)
{
    return (unsigned char)(number % 251 + 1);
}

static inline struct block allocate(size_t size, size_t number)
{
    struct block block = { malloc(size), size };

    if (block.address == NULL)
        fail("malloc");
    memset(block.address, filling(number), size);
    return block;
}

static inline void release(struct block *block)
{
    free(block->address);
    block->address = NULL;
}

static inline void little_work(void)
{
    static struct block blocks[ROUND];
    uint64_t random = 1;

    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < ROUND; i++)
            blocks[i] = allocate(draw(&random, 16, 512), i);
        for (size_t i = 0; i < ROUND; i++)
            release(&blocks[i]);
    }
}

/* Before the first figure: what the scenario runs is in memory then, and the allocator has begun. */
static inline void begin(struct figures *figures)
{
    little_work();
    figures->before = resident();
}

static inline void end(struct figures *figures, double idle)
{
    figures->at_once = resident();
    struct timespec time = { (time_t)idle, (long)((idle - (double)(time_t)idle) * 1e9) };
    nanosleep(&time, NULL);
    figures->idle = resident();
    little_work();
    figures->after_work = resident();
}

/* Live bytes and the page floor. A block that was written over by someone else ends the scenario. */
static inline void count_survivors(struct figures *figures, const struct block *blocks, size_t count)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), low = UINTPTR_MAX, high = 0;

    for (size_t i = 0; i < count; i++) {
        const unsigned char *bytes = blocks[i].address;
        if (bytes == NULL)
            continue;
        if (bytes[0] != filling(i) || memcmp(bytes, bytes + 1, blocks[i].size - 1) != 0) {
            errno = EFAULT;
            fail("a block was changed by someone else");
        }
        figures->live += blocks[i].size;
        low = (uintptr_t)bytes < low ? (uintptr_t)bytes : low;
        high = (uintptr_t)bytes + blocks[i].size > high ? (uintptr_t)bytes + blocks[i].size : high;
    }
    if (high == 0)
        return;
    /* A byte for each page between the lowest block and the highest, of which only the few that are written to take memory. */
    size_t pages = high / page - low / page + 1;
    char *marked = mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (marked == MAP_FAILED)
        fail("mmap");
    for (size_t i = 0; i < count; i++) {
        uintptr_t start = (uintptr_t)blocks[i].address;
        for (uintptr_t at = start / page; start != 0 && at <= (start + blocks[i].size - 1) / page; at++) {
            figures->floor += marked[at - low / page] == 0 ? page : 0;
            marked[at - low / page] = 1;
        }
    }
    munmap(marked, pages);
}

/* `more` is further members of the figures, each with a comma before it. */
static inline void report(const struct figures *figures, double seconds, const char *more)
{
    printf("{\"seconds\": %.6f, \"figures\": {\"live\": %zu, \"floor\": %zu, ", seconds, figures->live, figures->floor);
    printf("\"before\": %zu, \"peak\": %zu, \"at_once\": %zu, ", figures->before, figures->peak, figures->at_once);
    printf("\"idle\": %zu, \"after_work\": %zu%s}}\n", figures->idle, figures->after_work, more);
    if (fflush(stdout) != 0)
        fail("stdout");
}

#endif
