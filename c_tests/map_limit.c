/*
 * The number of mappings of a process runs out (vm.max_map_count), so that munmap fails: it would have to split one in two.
 *
 *   map_limit large   of mappings and arenas, many are freed between others
 *   map_limit small   half of all memory is free, in pieces smaller than an arena, between live blocks
 *
 * What must hold: free still succeeds and leaves errno alone; memory that cannot be unmapped is given back page by page
 * and serves later requests, small ones as well, cleared where calloc promises it; no malloc fails as long as so much is free; contents stay; and
 * once there is room again all is as before.
 */
#include "check.h"

#include <sys/mman.h>

/* Above this the test would take seconds and a gigabyte of kernel memory. */
enum { MOST_MAPPINGS = 300000 };
enum { HUGE_COUNT = 48, SMALL_COUNT = 120000, SMALL = 480 };
#define HUGE_SIZE (3 * MIB)

static void *huge_blocks[HUGE_COUNT];
static void *small_blocks[SMALL_COUNT];

static long most_mappings(void)
{
    char text[64];
    read_proc("/proc/sys/vm/max_map_count", text, sizeof text);
    return strtol(text, NULL, 10);
}

/* Splits a mapping of the program's own into single pages until there is no mapping left. */
static void *use_up_mappings(size_t pages, size_t page)
{
    char *split = mmap(NULL, pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(split != MAP_FAILED, "mmap fails");
    for (size_t at = 1; at < pages; at += 2) {
        if (mprotect(split + at * page, page, PROT_READ) != 0) {
            CHECK(errno == ENOMEM, "mprotect fails with errno %d", errno);
            return split;
        }
    }
    FAIL("%zu splits did not use up the mappings", pages);
}

static void fill_all(void)
{
    for (size_t at = 0; at < HUGE_COUNT; at++) {
        huge_blocks[at] = malloc(HUGE_SIZE);
        CHECK(huge_blocks[at] != NULL, "malloc(%zu) fails", HUGE_SIZE);
        fill(huge_blocks[at], HUGE_SIZE, at);
    }
    for (size_t at = 0; at < SMALL_COUNT; at++) {
        small_blocks[at] = malloc(SMALL);
        CHECK(small_blocks[at] != NULL, "malloc(%d) fails", SMALL);
        fill(small_blocks[at], SMALL, at);
    }
}

/* Frees what lies in the middle of others: every second huge block, and small ones arena by arena. */
static size_t free_many(void)
{
    size_t freed = 0;
    errno = 4321;
    for (size_t at = 0; at < HUGE_COUNT; at += 2) {
        free(huge_blocks[at]);
        huge_blocks[at] = NULL;
        freed += HUGE_SIZE;
    }
    for (size_t at = 0; at < SMALL_COUNT; at++) {
        if (at / 6000 % 2 == 0) {
            free(small_blocks[at]);
            small_blocks[at] = NULL;
            freed += SMALL;
        }
    }
    CHECK(errno == 4321, "free sets errno to %d when munmap fails", errno);
    return freed;
}

static void survivors_are_intact(void)
{
    for (size_t at = 0; at < HUGE_COUNT; at++)
        CHECK(!huge_blocks[at] || is_filled(huge_blocks[at], HUGE_SIZE, at), "huge block %zu was overwritten", at);
    for (size_t at = 0; at < SMALL_COUNT; at++)
        CHECK(!small_blocks[at] || is_filled(small_blocks[at], SMALL, at), "small block %zu was overwritten", at);
}

static void free_all(void)
{
    for (size_t at = 0; at < HUGE_COUNT; at++)
        free(huge_blocks[at]);
    for (size_t at = 0; at < SMALL_COUNT; at++)
        free(small_blocks[at]);
    memset(huge_blocks, 0, sizeof huge_blocks);
    memset(small_blocks, 0, sizeof small_blocks);
}

/* What could not be unmapped serves again, without new mappings. */
static void fill_again(void)
{
    for (size_t at = 0; at < HUGE_COUNT; at += 2) {
        unsigned char *block = calloc(1, HUGE_SIZE);
        CHECK(block != NULL, "calloc(1, %zu) fails after as much was freed", HUGE_SIZE);
        for (size_t byte = 0; byte < HUGE_SIZE; byte += 512)
            CHECK(block[byte] == 0, "calloc(1, %zu) is not zero", HUGE_SIZE);
        fill(block, HUGE_SIZE, at);
        huge_blocks[at] = block;
    }
    for (size_t at = 0; at < SMALL_COUNT; at++) {
        if (small_blocks[at])
            continue;
        small_blocks[at] = malloc(SMALL);
        CHECK(small_blocks[at] != NULL, "malloc(%d) fails after as much was freed", SMALL);
        fill(small_blocks[at], SMALL, at);
    }
    survivors_are_intact();
}

/* Neighbours that are stuck together serve alone. */
static void reuse_neighbours(void)
{
    size_t mapped = address_space();
    for (int round = 0; round < 2; round++) {
        for (size_t at = 0; at < HUGE_COUNT; at++)
            if (at % 3 != 0)
                free(huge_blocks[at]);
        for (size_t at = 0; at < HUGE_COUNT; at++) {
            if (at % 3 == 0)
                continue;
            huge_blocks[at] = malloc(HUGE_SIZE);
            CHECK(huge_blocks[at] != NULL, "malloc(%zu) fails in round %d", HUGE_SIZE, round);
            fill(huge_blocks[at], HUGE_SIZE, at);
        }
    }
    survivors_are_intact();
    CHECK(address_space() <= mapped + 16 * MIB, "%.1f MiB of addresses, %.1f before", mib(address_space()), mib(mapped));
}

static void large(size_t most)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = resident();
    fill_all();
    size_t full = resident();
    void *split = use_up_mappings(most + 100, page);
    size_t full_and_split = resident();
    size_t freed = free_many();
    size_t after = resident();
    say(STDOUT_FILENO, "resident %.1f MiB before, %.1f with all blocks; %.1f MiB freed, %.1f resident\n", mib(before), mib(full),
        mib(freed), mib(after));
    /* The library may keep 8 MiB and an eighth of what is live. */
    CHECK(after + freed <= full_and_split + 8 * MIB + (full - freed) / 8,
          "%.1f MiB were freed, but only %.1f are no longer resident", mib(freed), mib(full_and_split) - mib(after));
    survivors_are_intact();
    fill_again();
    reuse_neighbours();
    free_many();
    free_all();

    /* And with room for mappings, everything goes. */
    CHECK(munmap(split, (most + 100) * page) == 0, "munmap fails");
    for (int round = 0; round < 2; round++) {
        fill_all();
        survivors_are_intact();
        free_all();
    }
    malloc_trim(0);
    /* The tables of the blocks are the program's own. */
    CHECK(resident() <= before + sizeof huge_blocks + sizeof small_blocks + 12 * MIB, "all is freed, yet %.1f MiB stay resident",
          mib(resident()));
}

/* Too large for a run, too small for an arena to find room in it. */
enum { PIECE = 600000, SERVED_COUNT = 100000, SERVED_LIVE_ONE_IN = 10 };

static void allocate_pieces(char **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(PIECE);
        CHECK(blocks[i], "block %zu of %zu cannot be had", i, count);
        blocks[i][0] = blocks[i][PIECE / 2] = (char)(i % 127 + 1);
    }
}

static void free_every_second(char **blocks, size_t count, size_t first)
{
    for (size_t i = first; i < count; i += 2) {
        CHECK(blocks[i][0] == (char)(i % 127 + 1) && blocks[i][PIECE / 2] == blocks[i][0], "block %zu was changed", i);
        free(blocks[i]);
    }
}

static void serve_small(void)
{
    static void *small[SERVED_COUNT];
    for (size_t i = 0; i < SERVED_COUNT; i++) {
        size_t size = i % 3000 + 1;
        small[i] = malloc(size);
        CHECK(small[i], "malloc(%zu) fails with half of all memory free", size);
        fill(small[i], size, i);
        if (i % SERVED_LIVE_ONE_IN != 0) {
            CHECK(is_filled(small[i], size, i), "a small block was changed");
            free(small[i]);
        }
    }
    for (size_t i = 0; i < SERVED_COUNT; i += SERVED_LIVE_ONE_IN) {
        CHECK(is_filled(small[i], i % 3000 + 1, i), "a small block was changed");
        free(small[i]);
    }
}

static void small(size_t most)
{
    /* Every second one that is freed takes a mapping more. */
    size_t count = most * 2 + 10000;
    char **blocks = malloc(count * sizeof *blocks);
    size_t before = resident();
    allocate_pieces(blocks, count);
    free_every_second(blocks, count, 0);
    serve_small();
    unsigned char *cleared = calloc(1, PIECE);
    CHECK(cleared, "calloc fails");
    for (size_t byte = 0; byte < PIECE; byte++)
        CHECK(cleared[byte] == 0, "byte %zu of calloc is not zero", byte);
    free(cleared);
    free_every_second(blocks, count, 1);
    CHECK(resident() < before + 24 * MIB, "%.1f MiB stay resident with all blocks freed", mib(resident() - before));
    free(blocks);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    CHECK(count == 2, "map_limit large|small");
    long most = most_mappings();
    if (most > MOST_MAPPINGS) {
        say(STDOUT_FILENO, "skipped: %ld mappings are too many to use up\n", most);
        return 0;
    }
    if (strcmp(arguments[1], "large") == 0)
        large((size_t)most);
    else
        small((size_t)most);
    return 0;
}
