/*
 * Memory goes back in spite of what a program does with it: it asks for zeroed memory that it never touches, shrinks, locks,
 * protects, and spikes.
 *
 * What must hold, each under the name of its check:
 * - zeroed: calloc of very large blocks makes nothing resident, whichever freed mappings are kept, and every byte is zero.
 * - shrunk: what realloc cuts off goes back under the same bound as what free gives.
 * - locked: one locked page keeps no other memory from going back.
 * - protected: the library never reads a live block, which the program may have protected; free looks at its own only.
 * - learned: what is kept of equal spikes is at most what one of them takes, however many there are.
 */
#include "page_floor.h"

#include <stdbool.h>
#include <sys/mman.h>

enum { MOST = 400000 };
static char *blocks[MOST];

/* The bytes that malloc_info tells under a name. */
static size_t figure(const char *name)
{
    static char text[16 * KIB];
    FILE *stream = fmemopen(text, sizeof text, "w");
    CHECK(stream && malloc_info(0, stream) == 0, "malloc_info fails");
    fclose(stream);
    const char *found = strstr(text, name);
    CHECK(found, "malloc_info does not tell %s", name);
    return strtoull(found + strlen(name) + 1, NULL, 10);
}

static void zeroed(void)
{
    const size_t sizes[] = {2 * MIB, 3 * MIB, 64 * MIB, 1024 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (int again = 0; again < 20; again++) {
            char *dirty = malloc(MIB << (again % 3));
            memset(dirty, 1, MIB << (again % 3));
            free(hide(dirty));
            size_t before = resident();
            char *block = calloc(1, sizes[i]);
            CHECK(block, "calloc of %zu bytes fails", sizes[i]);
            CHECK(resident() < before + MIB, "calloc of %zu bytes makes %zu resident", sizes[i], resident() - before);
            for (size_t at = 0; at < 8 * MIB && at < sizes[i]; at += 512)
                CHECK(block[at] == 0, "byte %zu of calloc(%zu) is not zero", at, sizes[i]);
            memset(block, 1, MIB);
            free(hide(block));
        }
    }
}

static void shrunk(void)
{
    enum { COUNT = 400, LONG = 500000, SHORT = 40000 };
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = malloc(LONG);
        fill(blocks[i], LONG, i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = realloc(blocks[i], SHORT);
        CHECK(is_filled(blocks[i], SHORT, i), "realloc changed a block");
    }
    /* Ends of slots that hold nothing come to a fifth of such blocks at most. */
    size_t most = (size_t)COUNT * SHORT * 6 / 5 / 8 * 9 + 8 * MIB;
    CHECK(resident() < most, "%zu bytes resident, at most %zu expected", resident(), most);
}

static void locked(void)
{
    enum { SIZE = 512, ONE_IN = 320 };
    for (size_t i = 0; i < MOST; i++) {
        blocks[i] = malloc(SIZE);
        fill(blocks[i], SIZE, i);
    }
    CHECK(mlock(blocks[1000], 1) == 0, "mlock fails with errno %d", errno);
    size_t kept = 0;
    for (size_t i = 0; i < MOST; i++) {
        /* Few in the first arena, so that the locked page is in the emptiest. */
        if (i % (i < 2500 ? 1500 : ONE_IN) == 5)
            CHECK(++kept && is_filled(blocks[i], SIZE, i), "a block was changed");
        else
            free(blocks[i]);
    }
    size_t floor = kept * (size_t)sysconf(_SC_PAGESIZE), most = floor / 8 * 9 + 16 * MIB;
    CHECK(resident() < most, "%zu bytes resident, at most %zu expected", resident(), most);
}

static void protected(void)
{
    const size_t sizes[] = {4096, 8192, 20480};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    enum { COUNT = 6000 };
    for (size_t size = 0; size < COUNT_OF(sizes); size++) {
        for (size_t i = 0; i < COUNT; i++) {
            void *block;
            CHECK(posix_memalign(&block, page, sizes[size]) == 0, "posix_memalign fails");
            blocks[i] = block;
            memset(block, 1, sizes[size]);
        }
        for (size_t i = 0; i < COUNT; i += 5)
            CHECK(mprotect(blocks[i], page, PROT_NONE) == 0, "mprotect fails with errno %d", errno);
        for (size_t i = 0; i < COUNT; i++)
            if (i % 5 != 0)
                free(blocks[i]);
        malloc_trim(0);
        for (size_t i = 0; i < COUNT; i += 5)
            CHECK(inspect(blocks[i]).state == PYMALLOC_STATE_ALLOCATED, "a protected block is not allocated");
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        CHECK(((int (*)(int, int))find("pymalloc_heapmap"))(null, 0) == 0, "pymalloc_heapmap fails with errno %d", errno);
        close(null);
        for (size_t i = 0; i < COUNT; i += 5) {
            CHECK(mprotect(blocks[i], page, PROT_READ | PROT_WRITE) == 0, "mprotect fails with errno %d", errno);
            CHECK(blocks[i][0] == 1 && blocks[i][sizes[size] - 1] == 1, "a block was changed");
            free(blocks[i]);
        }
    }
}

/* Spikes of `count` blocks of `size` bytes. What was learned may not exceed what a spike takes, rounded up. */
static void spike(size_t count, size_t size)
{
    for (int again = 0; again < 25; again++) {
        for (size_t i = 0; i < count; i++) {
            blocks[i] = malloc(size);
            blocks[i][0] = blocks[i][size / 2] = blocks[i][size - 1] = 1;
        }
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
        size_t most = count * size / 4 * 5 + 8 * MIB;
        CHECK(figure("<learned_bytes>") < most, "%zu bytes learned of spikes of %zu", figure("<learned_bytes>"), count * size);
    }
    malloc_trim(0);
}

static void learned(void)
{
    spike(MOST, 400);
    spike(300, 500000);
    spike(40, 2 * MIB);
    /* A large and a small one in turn. */
    for (int again = 0; again < 500; again++) {
        memset(hide(blocks[0] = malloc(4000000)), 1, 4000000);
        free(blocks[0]);
        memset(hide(blocks[0] = malloc(600000)), 1, 600000);
        free(blocks[0]);
        CHECK(figure("<learned_bytes>") < 8 * MIB, "%zu bytes learned of a block of 4 MB", figure("<learned_bytes>"));
    }
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*check)(void);
    } checks[] = {{"zeroed", zeroed}, {"shrunk", shrunk}, {"locked", locked}, {"protected", protected}, {"learned", learned}};

    require_pymalloc();
    want_small_pages();
    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        if (count == 2 && strcmp(arguments[1], checks[i].name) == 0) {
            checks[i].check();
            return 0;
        }
    }
    FAIL("usage: %s zeroed|shrunk|locked|protected|learned", arguments[0]);
}
