/*
 * A program to be run with settings in PYMALLOC_CONF: settings work | mapping SIZE | secure.
 *
 * The runner (tests/c_tests.rs) sets the variable and judges what is printed; here it is only made sure that the allocator works
 * whatever the settings are.
 */
#include "check.h"

#include <sys/auxv.h>
#include <sys/mman.h>

static void work(void)
{
    static void *blocks[2000];
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        void **place = &blocks[next_random(&seed) % COUNT_OF(blocks)];
        size_t size = random_between(&seed, 1, round % 100 ? 2000 : MIB);
        if (*place)
            CHECK(is_filled(*place, 1, 9), "a block was overwritten");
        free(*place);
        *place = malloc(size);
        CHECK(*place != NULL, "malloc(%zu) fails", size);
        fill(*place, 1, 9);
    }
    for (size_t at = 0; at < COUNT_OF(blocks); at++)
        free(blocks[at]);
}

/* Whether the memory of a freed mapping is still there. */
static void show_what_becomes_of_a_mapping(size_t size)
{
    char *block = malloc(size);
    CHECK(block != NULL && inspect(block).kind == PYMALLOC_KIND_MAPPING, "%zu bytes are no mapping of their own", size);
    memset(block, 1, size);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *inside = (void *)(((uintptr_t)block + size / 2) / page * page);
    free(block);
    unsigned char present;
    int mapped = mincore(inside, 1, &present) == 0;
    CHECK(mapped || errno == ENOMEM, "mincore fails with errno %d", errno);
    say(STDOUT_FILENO, mapped ? "kept\n" : "returned\n");
}

int main(int count, char **arguments)
{
    require_pymalloc();
    if (count == 2 && strcmp(arguments[1], "work") == 0) {
        work();
        say(STDERR_FILENO, "worked\n");
    } else if (count == 3 && strcmp(arguments[1], "mapping") == 0) {
        show_what_becomes_of_a_mapping(strtoull(arguments[2], NULL, 0));
    } else if (count == 2 && strcmp(arguments[1], "secure") == 0) {
        work();
        say(STDOUT_FILENO, getauxval(AT_SECURE) ? "secure\n" : "not secure\n");
    } else {
        FAIL("usage: %s work | mapping SIZE | secure", arguments[0]);
    }
    return 0;
}
