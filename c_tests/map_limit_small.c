/*
 * At the limit of mappings (vm.max_map_count) with half of all memory free, in pieces smaller than an arena, between live blocks: what
 * the system refuses to unmap serves small blocks as well.
 *
 * What must hold: no malloc fails as long as so much is free; contents stay; calloc clears; and when all is freed, all goes back.
 */
#include "check.h"

/* Above this the test would take seconds and a gigabyte of kernel memory. */
enum { MOST_MAPPINGS = 300000 };
/* Too large for a run, too small for an arena to find room in it. */
enum { SIZE = 600000, SMALL_COUNT = 100000, SMALL_LIVE_ONE_IN = 10 };

static long most_mappings(void)
{
    char text[64];
    read_proc("/proc/sys/vm/max_map_count", text, sizeof text);
    return strtol(text, NULL, 10);
}

static void allocate_large(char **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(SIZE);
        CHECK(blocks[i], "block %zu of %zu cannot be had", i, count);
        blocks[i][0] = blocks[i][SIZE / 2] = (char)(i % 127 + 1);
    }
}

static void free_every_second(char **blocks, size_t count, size_t first)
{
    for (size_t i = first; i < count; i += 2) {
        CHECK(blocks[i][0] == (char)(i % 127 + 1) && blocks[i][SIZE / 2] == blocks[i][0], "block %zu was changed", i);
        free(blocks[i]);
    }
}

static void serve_small(void)
{
    static void *small[SMALL_COUNT];
    for (size_t i = 0; i < SMALL_COUNT; i++) {
        size_t size = i % 3000 + 1;
        small[i] = malloc(size);
        CHECK(small[i], "malloc(%zu) fails with half of all memory free", size);
        fill(small[i], size, i);
        if (i % SMALL_LIVE_ONE_IN != 0) {
            CHECK(is_filled(small[i], size, i), "a small block was changed");
            free(small[i]);
        }
    }
    for (size_t i = 0; i < SMALL_COUNT; i += SMALL_LIVE_ONE_IN) {
        CHECK(is_filled(small[i], i % 3000 + 1, i), "a small block was changed");
        free(small[i]);
    }
}

int main(void)
{
    require_pymalloc();
    long most = most_mappings();
    if (most > MOST_MAPPINGS) {
        say(STDOUT_FILENO, "skipped: %ld mappings are too many to use up\n", most);
        return 0;
    }
    /* Every second one that is freed takes a mapping more. */
    size_t count = (size_t)most * 2 + 10000;
    char **blocks = malloc(count * sizeof *blocks);
    size_t before = resident();
    allocate_large(blocks, count);
    free_every_second(blocks, count, 0);
    serve_small();
    unsigned char *cleared = calloc(1, SIZE);
    CHECK(cleared, "calloc fails");
    for (size_t byte = 0; byte < SIZE; byte++)
        CHECK(cleared[byte] == 0, "byte %zu of calloc is not zero", byte);
    free(cleared);
    free_every_second(blocks, count, 1);
    CHECK(resident() < before + 24 * MIB, "%.1f MiB stay resident with all blocks freed", mib(resident() - before));
    free(blocks);
    return 0;
}
