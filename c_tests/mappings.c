/*
 * Blocks so large that each is a mapping of its own, split off freed ones and joined again.
 *
 * What must hold, each under the name of its check:
 * - contents: whatever comes and goes, no block shares a byte with another, zeroed ones are zero, aligned ones are aligned, and realloc
 *   keeps what was there.
 * - reused: where blocks of all sizes give way to each other, nine in ten pages have served before, and what is kept adds
 *   little to what was live at one time.
 * - unwritten: of blocks that are written at their start alone, nothing else ever becomes resident; and a large one that was freed is no reason to
 *   keep others.
 * - holes: a page that was not written costs no more than itself.
 * - resized: blocks that are made larger after they were written find pages that have served before.
 */
#include "page_floor.h"

#include <sys/resource.h>

enum { LIVE = 6, ROUNDS = 600 };
static const size_t smallest = 600 * KIB, largest = 24 * MIB;

struct large {
    char *start;
    size_t size;
    uint64_t stamp;
};

static uint64_t state = 1;

static uint64_t draw(uint64_t below)
{
    return next_random(&state) % below;
}

/* A word of each page, and the last word. */
static void stamp(struct large *block)
{
    for (size_t at = 0; at + sizeof(uint64_t) <= block->size; at += 4 * KIB)
        *(uint64_t *)(block->start + at) = block->stamp + at;
    memcpy(block->start + block->size - sizeof block->stamp, &block->stamp, sizeof block->stamp);
}

/* Those of the pages that end within the first `size` bytes, so that none is the last word too. */
static void expect_pages(const struct large *block, size_t size)
{
    for (size_t at = 0; at + 2 * sizeof(uint64_t) <= size; at += 4 * KIB)
        CHECK(*(uint64_t *)(block->start + at) == block->stamp + at, "byte %zu of %zu was changed", at, block->size);
}

static void expect_end(const struct large *block)
{
    const char *end = block->start + block->size - sizeof block->stamp;
    CHECK(memcmp(end, &block->stamp, sizeof block->stamp) == 0, "the end of %zu was changed", block->size);
}

static size_t any_size(void)
{
    return (smallest + draw(largest - smallest)) & ~(size_t)7;
}

static void allocate(struct large *block)
{
    static uint64_t stamps;
    block->size = any_size();
    block->stamp = ++stamps << 32 | 1;
    switch (draw(4)) {
    case 0:
        block->start = calloc(1, block->size);
        for (size_t at = 0; block->start && at < block->size; at += 512)
            CHECK(block->start[at] == 0, "byte %zu of calloc(%zu) is not zero", at, block->size);
        break;
    case 1: {
        void *start;
        block->start = posix_memalign(&start, MIB, block->size) == 0 ? start : NULL;
        CHECK((uintptr_t)hide(block->start) % MIB == 0, "a block at %p", (void *)block->start);
        break;
    }
    default:
        block->start = malloc(block->size);
    }
    CHECK(block->start, "no block of %zu bytes", block->size);
    stamp(block);
}

static void contents(void)
{
    static struct large blocks[LIVE];
    for (int round = 0; round < ROUNDS; round++) {
        struct large *block = &blocks[draw(LIVE)];
        if (!block->start) {
            allocate(block);
        } else if (draw(3) == 0) {
            size_t before = block->size;
            block->size = any_size();
            block->start = realloc(block->start, block->size);
            CHECK(block->start, "realloc to %zu bytes fails", block->size);
            expect_pages(block, before < block->size ? before - sizeof block->stamp : block->size);
            stamp(block);
        } else {
            expect_pages(block, block->size);
            expect_end(block);
            free(block->start);
            block->start = NULL;
        }
    }
    for (int i = 0; i < LIVE; i++)
        free(blocks[i].start);
}

static struct rusage usage(void)
{
    struct rusage used;
    CHECK(getrusage(RUSAGE_SELF, &used) == 0, "getrusage fails");
    return used;
}

/* Not ru_maxrss: that counts the process which started this one, too. */
static void expect_most_resident(size_t bytes)
{
    static char text[4096];
    static const char name[] = "\nVmHWM:";
    read_proc("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, name);
    CHECK(line, "/proc/self/status has no VmHWM line");
    size_t resident = (size_t)strtoull(line + sizeof name - 1, NULL, 10) * KIB;
    CHECK(resident < bytes + 8 * MIB, "%zu bytes resident at one time, %zu should be", resident, bytes);
}

static void expect_few_faults(size_t written)
{
    size_t faulted = (size_t)usage().ru_minflt * (size_t)sysconf(_SC_PAGESIZE);
    CHECK(faulted < written / 10, "%zu bytes were faulted in of %zu written", faulted, written);
}

static void reused(void)
{
    static struct large blocks[LIVE];
    size_t live = 0, most = 0, written = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct large *block = &blocks[draw(LIVE)];
        live -= block->start ? block->size : 0;
        free(block->start);
        block->size = any_size();
        block->start = malloc(block->size);
        CHECK(block->start, "no block of %zu bytes", block->size);
        stamp(block);
        live += block->size;
        written += block->size;
        most = live > most ? live : most;
    }
    expect_most_resident(most + largest);
    expect_few_faults(written);
}

/* What is written must be seen by someone, or the compiler leaves it out: so blocks are freed by a pointer that it does not know. */
static void unwritten(void)
{
    static char *blocks[LIVE];
    for (int round = 0; round < 20 * ROUNDS; round++) {
        char **block = &blocks[draw(LIVE)];
        free(*block);
        *block = malloc(any_size());
        CHECK(*block, "no block");
        memset(*block, 1, 64 * KIB);
    }
    expect_most_resident(LIVE * 64 * KIB);
    char *sparse = hide(malloc(1024 * MIB));
    CHECK(sparse, "no block of 1 GiB");
    memset(sparse, 1, 64 * KIB);
    free(hide(sparse));
    char *block = hide(malloc(64 * MIB));
    CHECK(block, "no block of 64 MiB");
    memset(block, 1, 64 * MIB);
    free(hide(block));
    CHECK(resident() < 16 * MIB, "%.1f MiB stay resident", mib(resident()));
}

static void holes(void)
{
    static const size_t small = 600 * KIB, page = 4 * KIB;
    size_t written = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char *block = hide(malloc(3 * MIB));
        CHECK(block, "no block of 3 MiB");
        memset(block, 1, small - page);
        memset(block + small + page, 1, 3 * MIB - small - page);
        free(hide(block));
        block = hide(malloc(small));
        CHECK(block, "no block of %zu bytes", small);
        memset(block, 1, small);
        free(hide(block));
        written += 3 * MIB + small;
    }
    expect_few_faults(written);
}

static void resized(void)
{
    static const size_t sizes[] = {600 * KIB, 2 * MIB};
    static char *blocks[LIVE][COUNT_OF(sizes)];
    size_t written = 0;
    for (int round = 0; round < ROUNDS / 6; round++) {
        for (int i = 0; i < LIVE; i++)
            for (size_t kind = 0; kind < COUNT_OF(sizes); kind++) {
                char **block = &blocks[i][kind];
                *block = hide(malloc(sizes[kind]));
                CHECK(*block, "no block of %zu bytes", sizes[kind]);
                memset(*block, i + 1, sizes[kind]);
                written += sizes[kind];
                *block = hide(realloc(*block, 2 * sizes[kind]));
                CHECK(*block, "realloc to %zu bytes fails", 2 * sizes[kind]);
            }
        for (int left = LIVE * (int)COUNT_OF(sizes); left > 0;) {
            uint64_t which = draw(LIVE * COUNT_OF(sizes));
            char **block = &blocks[which / COUNT_OF(sizes)][which % COUNT_OF(sizes)];
            CHECK(!*block || (*block)[0] == (int)(which / COUNT_OF(sizes)) + 1, "a block was changed");
            left -= *block != NULL;
            free(*block);
            *block = NULL;
        }
    }
    expect_few_faults(written);
}

int main(int count, char **arguments)
{
    static const struct mode modes[] = {{"contents", contents}, {"reused", reused}, {"unwritten", unwritten}, {"holes", holes}, {"resized", resized}};

    require_pymalloc();
    want_small_pages();
    want_processor();
    if (count == 2 && run_mode(modes, COUNT_OF(modes), arguments[1]))
        return 0;
    FAIL("usage: %s contents|reused|unwritten|holes|resized", arguments[0]);
}
