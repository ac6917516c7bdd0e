/*
 * Transparent huge pages that are always on, and a khugepaged that never sleeps: what was given back stays given back.
 *
 * The system's settings are the caller's to set: `huge_pages SECONDS` is run under each of `always`, `madvise` and `never`.
 *
 * What must hold: the promise at once, after so many seconds of sleep, and after a little work, and a process with few blocks takes
 * no more than it would without huge pages.
 */
#include "page_floor.h"

enum { BLOCKS = 400000, SIZE = 500, KEPT_ONE_IN = 50 };
static char **blocks;

static void expect_bound(size_t before, size_t floor, const char *when)
{
    size_t now = resident_since(before);
    say(STDOUT_FILENO, "%s: %.1f MiB resident, %.1f hold a live block\n", when, mib(now), mib(floor));
    CHECK(now <= bound(floor), "%s %.1f MiB are resident, %.1f may be", when, mib(now), mib(bound(floor)));
}

static void drop(unsigned seconds)
{
    size_t before = resident();
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
        memset(blocks[i], 1, SIZE);
    }
    begin_floor();
    for (size_t i = 0; i < BLOCKS; i++) {
        if (i % KEPT_ONE_IN == 0)
            add_to_floor(blocks[i], SIZE);
        else
            free(blocks[i]);
    }
    size_t floor = end_floor();
    expect_bound(before, floor, "at once");
    sleep(seconds);
    expect_bound(before, floor, "after the sleep");
    for (size_t i = 1; i < 2000; i += KEPT_ONE_IN)
        free(hide(malloc(SIZE)));
    expect_bound(before, floor, "after a little work");
    for (size_t i = 0; i < BLOCKS; i += KEPT_ONE_IN)
        free(blocks[i]);
}

/* One block of each size, as a small program has. */
static void small(unsigned seconds)
{
    enum { SIZES = 64 };
    size_t before = resident();
    for (size_t i = 0; i < SIZES; i++)
        memset(hide(blocks[i] = malloc(i * 16 + 1)), 1, i * 16 + 1);
    sleep(seconds);
    size_t now = resident_since(before);
    CHECK(now <= MIB, "a small process takes %.1f MiB", mib(now));
    for (size_t i = 0; i < SIZES; i++)
        free(blocks[i]);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    CHECK(count == 2, "usage: %s SECONDS", arguments[0]);
    unsigned seconds = (unsigned)strtoul(arguments[1], NULL, 10);
    blocks = map_array(BLOCKS, sizeof *blocks);
    small(seconds < 5 ? seconds : 5);
    drop(seconds);
    return 0;
}
