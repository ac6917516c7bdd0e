/*
 * What the C standard, POSIX and glibc promise of malloc, calloc, realloc and free, one function per promise.
 */
#include "standards.h"

static int is_zero(const unsigned char *bytes, size_t size)
{
    return is_all(bytes, 0, size);
}

static void zero_sizes_give_blocks(void)
{
    enum { BLOCKS = 100 };
    void *blocks[BLOCKS];
    for (int at = 0; at < BLOCKS; at++) {
        switch (at % 5) {
        case 0: blocks[at] = hide(malloc(0)); break;
        case 1: blocks[at] = hide(calloc(0, 8)); break;
        case 2: blocks[at] = hide(calloc(8, 0)); break;
        case 3: blocks[at] = hide(realloc(NULL, 0)); break;
        default: blocks[at] = hide(aligned_alloc(64, 0)); break;
        }
        CHECK(blocks[at] != NULL, "a request for zero bytes (way %d) returns NULL", at % 5);
        CHECK(is_aligned(blocks[at], 16), "a block of zero bytes is at %p", blocks[at]);
        for (int other = 0; other < at; other++)
            CHECK(blocks[other] != blocks[at], "two live blocks of zero bytes are both at %p", blocks[at]);
    }
    for (int at = 0; at < BLOCKS; at++)
        free(blocks[at]);

    void *aligned = NULL;
    CHECK(posix_memalign(&aligned, 64, 0) == 0, "posix_memalign of zero bytes fails");
    free(aligned);
}

static void realloc_at_the_edges(void)
{
    void *fresh = hide(realloc(NULL, 100));
    CHECK(fresh != NULL && is_live(fresh), "realloc(NULL, 100) is not malloc(100)");
    memset(fresh, 1, 100);
    free(fresh);

    static const size_t of_each_layer[] = {0, 48, 3000, 100000, 700000, 5 * MIB};
    for (size_t at = 0; at < COUNT_OF(of_each_layer); at++) {
        void *block = must_malloc(of_each_layer[at]);
        void *result = hide(realloc(hide(block), hide_size(0)));
        CHECK(result == NULL, "realloc(p, 0) returns %p", result);
        CHECK(!is_live(block), "realloc(p, 0) did not free a block of %zu bytes", of_each_layer[at]);
    }
    free(hide(NULL));
    CHECK(malloc_usable_size(hide(NULL)) == 0, "malloc_usable_size(NULL) is not 0");
}

static void expect_refused(const char *call, size_t size, void *result)
{
    CHECK(result == NULL, "%s of %zu (0x%zx) returns %p", call, size, size, result);
    CHECK(errno == ENOMEM, "%s of %zu (0x%zx) sets errno to %d, not ENOMEM", call, size, size, errno);
    errno = UNTOUCHED_ERRNO;
}

static void impossible_sizes_are_refused(void)
{
    size_t impossible[400];
    size_t count = 0;
    for (size_t below = 0; below < 70; below++) {
        impossible[count++] = SIZE_MAX - below;
        impossible[count++] = (size_t)PTRDIFF_MAX + 1 + below;
        impossible[count++] = (size_t)PTRDIFF_MAX - below;
    }
    for (size_t below = 128; below <= 16 * MIB; below *= 2) {
        impossible[count++] = SIZE_MAX - below;
        impossible[count++] = SIZE_MAX - below + 1;
        impossible[count++] = (size_t)PTRDIFF_MAX - below;
        impossible[count++] = (size_t)PTRDIFF_MAX + below;
    }
    /* More than any address space of today, so that the system itself must refuse. */
    impossible[count++] = (size_t)1 << 57;
    impossible[count++] = ((size_t)1 << 60) - 1;
    CHECK(count <= COUNT_OF(impossible), "too many sizes");

    static const size_t old_sizes[] = {48, 3000, 100000, 5 * MIB};
    void *old[COUNT_OF(old_sizes)];
    for (size_t which = 0; which < COUNT_OF(old); which++) {
        old[which] = must_malloc(old_sizes[which]);
        fill(old[which], old_sizes[which], which);
    }

    errno = UNTOUCHED_ERRNO;
    for (size_t at = 0; at < count; at++) {
        size_t size = hide_size(impossible[at]);
        expect_refused("malloc", size, hide(malloc(size)));
        expect_refused("calloc(n, 1)", size, hide(calloc(size, 1)));
        expect_refused("calloc(1, n)", size, hide(calloc(1, size)));
        expect_refused("realloc(NULL)", size, hide(realloc(NULL, size)));
        expect_refused("reallocarray(NULL)", size, hide(reallocarray(NULL, 1, size)));
        expect_refused("aligned_alloc(64)", size, hide(aligned_alloc(64, size)));
        expect_refused("aligned_alloc(64 MiB)", size, hide(aligned_alloc(LARGEST_ALIGNMENT, size)));
        expect_refused("memalign(4096)", size, hide(memalign(4096, size)));
        expect_refused("valloc", size, hide(valloc(size)));
        expect_refused("pvalloc", size, hide(pvalloc(size)));
        for (size_t which = 0; which < COUNT_OF(old); which++)
            expect_refused("realloc", size, hide(realloc(hide(old[which]), size)));

        void *output = &output;
        errno = 0;
        CHECK(posix_memalign(&output, 64, size) == ENOMEM, "posix_memalign of 0x%zx does not return ENOMEM", size);
        CHECK(errno == ENOMEM, "posix_memalign of 0x%zx sets errno %d", size, errno);
        CHECK(output == &output, "posix_memalign of 0x%zx fails and yet writes its output", size);
        errno = UNTOUCHED_ERRNO;
    }
    for (size_t which = 0; which < COUNT_OF(old); which++) {
        CHECK(is_live(old[which]) && is_filled(old[which], old_sizes[which], which),
              "a refused realloc harms its block of %zu bytes", old_sizes[which]);
        free(old[which]);
    }
}

static void products_that_overflow_are_refused(void)
{
    /* Each product is small once it has wrapped around. */
    static const size_t pairs[][2] = {
        {SIZE_MAX, 2},
        {SIZE_MAX / 2 + 1, 2},
        {(size_t)1 << 32, (size_t)1 << 32},
        {((size_t)1 << 32) + 1, (size_t)1 << 32},
        {SIZE_MAX / 16 + 2, 16},
        {48, SIZE_MAX / 48 + 1},
        {SIZE_MAX, SIZE_MAX},
        {(size_t)PTRDIFF_MAX / 8 + 1, 8},
    };
    char *block = must_malloc(64);
    fill(block, 64, 7);
    errno = UNTOUCHED_ERRNO;
    for (size_t at = 0; at < COUNT_OF(pairs); at++) {
        size_t count = hide_size(pairs[at][0]), size = hide_size(pairs[at][1]);
        expect_refused("calloc", count, hide(calloc(count, size)));
        expect_refused("reallocarray(NULL)", count, hide(reallocarray(NULL, count, size)));
        expect_refused("reallocarray", count, hide(reallocarray(hide(block), count, size)));
    }
    CHECK(is_filled(block, 64, 7), "a refused reallocarray changes its block");
    block = hide(reallocarray(block, 100, 30));
    CHECK(block != NULL && malloc_usable_size(block) >= 3000, "reallocarray(p, 100, 30) is too small");
    CHECK(is_filled(block, 64, 7), "reallocarray loses the content");
    free(block);
}

static void expect_same_errno(const char *call, size_t size)
{
    CHECK(errno == UNTOUCHED_ERRNO, "a successful %s of %zu bytes sets errno to %d", call, size, errno);
}

static void success_and_free_leave_errno_alone(void)
{
    errno = UNTOUCHED_ERRNO;
    /* Twice: the second round meets what the first one left in caches. */
    for (size_t at = 0; at < 2 * COUNT_OF(sizes); at++) {
        size_t size = sizes[at % COUNT_OF(sizes)];
        void *block = must_malloc(size);
        expect_same_errno("malloc", size);
        block = hide(realloc(block, size + size / 2 + 1));
        expect_same_errno("growing realloc", size);
        block = hide(realloc(block, size / 2 + 1));
        expect_same_errno("shrinking realloc", size);
        free(block);
        expect_same_errno("free", size);
        block = hide(calloc(1, size));
        expect_same_errno("calloc", size);
        free(block);
        expect_same_errno("free", size);
        block = hide(aligned_alloc(4096, size));
        expect_same_errno("aligned_alloc", size);
        free(block);
        CHECK(posix_memalign(&block, 256, size) == 0, "posix_memalign of %zu bytes fails", size);
        expect_same_errno("posix_memalign", size);
        free(block);
        expect_same_errno("free", size);
    }
    /* Far larger than any cache would hold, so that free unmaps it. */
    void *huge = must_malloc(1024 * MIB);
    memset(huge, 1, 4096);
    free(huge);
    expect_same_errno("free", 1024 * MIB);
    free(hide(NULL));
    expect_same_errno("free(NULL)", 0);
}

static void blocks_are_as_large_as_they_say_and_apart(void)
{
    enum { BLOCKS = 6000 };
    static struct {
        void *start;
        size_t usable;
    } blocks[BLOCKS];
    uint64_t seed = 1;
    for (int at = 0; at < BLOCKS; at++) {
        size_t size = at < 5001 ? (size_t)at : random_between(&seed, 5000, 300000);
        if (at % 500 == 499)
            size = random_between(&seed, 300000, 3 * MIB);
        blocks[at].start = must_malloc(size);
        blocks[at].usable = malloc_usable_size(blocks[at].start);
        CHECK(blocks[at].usable >= size, "malloc(%zu): usable size is %zu", size, blocks[at].usable);
        fill(blocks[at].start, blocks[at].usable, (uint64_t)at);
    }
    for (int at = 0; at < BLOCKS; at++) {
        CHECK(is_filled(blocks[at].start, blocks[at].usable, (uint64_t)at),
              "block %d of %zu usable bytes at %p was overwritten", at, blocks[at].usable, blocks[at].start);
        /* The gaps let later blocks take the place of earlier ones. */
        if (at % 2 == 0) {
            free(blocks[at].start);
            blocks[at].start = must_malloc(blocks[at].usable);
            blocks[at].usable = malloc_usable_size(blocks[at].start);
            fill(blocks[at].start, blocks[at].usable, (uint64_t)at + BLOCKS);
        }
    }
    for (int at = 0; at < BLOCKS; at++) {
        CHECK(is_filled(blocks[at].start, blocks[at].usable, (uint64_t)(at % 2 ? at : at + BLOCKS)),
              "block %d of %zu usable bytes at %p was overwritten after reuse", at, blocks[at].usable,
              blocks[at].start);
        free(blocks[at].start);
    }
}

static void calloc_clears(void)
{
    enum { SAME = 4 };
    unsigned char *blocks[SAME];
    for (size_t size = 1; size <= 12 * MIB; size += size < 5000 ? 1 : size / 9) {
        /* A live neighbour keeps the others' pool from being given back, which would clear it. */
        void *neighbour = must_malloc(size);
        for (int round = 0; round < 2; round++) {
            for (int at = 0; at < SAME; at++) {
                blocks[at] = hide(calloc(at % 2 ? size : 1, at % 2 ? 1 : size));
                CHECK(blocks[at] != NULL, "calloc of %zu bytes fails", size);
                CHECK(is_zero(blocks[at], size), "calloc of %zu bytes is not zero (round %d)", size, round);
                memset(blocks[at], 0xff, malloc_usable_size(blocks[at]));
                /* The larger sizes are slow to fill; one block of each shows as much. */
                if (size > MIB) {
                    for (int other = at + 1; other < SAME; other++)
                        blocks[other] = NULL;
                    break;
                }
            }
            for (int at = 0; at < SAME; at++) {
                /* What cleared the others left this one alone. */
                CHECK(blocks[at] == NULL || is_all(blocks[at], 0xff, size), "calloc of %zu bytes clears another block", size);
                free(blocks[at]);
            }
        }
        free(neighbour);
    }
    /* A block that shrank and was given its room back must be cleared whole. */
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        void *block = must_malloc(sizes[at]);
        memset(block, 0xff, sizes[at]);
        block = hide(realloc(block, sizes[at] / 3 + 1));
        free(block);
        unsigned char *zeroed = hide(calloc(1, sizes[at]));
        CHECK(is_zero(zeroed, sizes[at]), "calloc of %zu bytes is not zero after a shrunk block", sizes[at]);
        free(zeroed);
    }
}

static size_t kept(size_t from, size_t to)
{
    return from < to ? from : to & ~(size_t)7;
}

static void realloc_keeps_the_content(void)
{
    for (size_t from = 0; from < COUNT_OF(sizes); from++) {
        for (size_t to = 0; to < COUNT_OF(sizes); to++) {
            void *block = must_malloc(sizes[from]);
            fill(block, sizes[from], from);
            block = hide(realloc(block, sizes[to]));
            CHECK(block != NULL, "realloc from %zu to %zu fails", sizes[from], sizes[to]);
            CHECK(malloc_usable_size(block) >= sizes[to], "realloc from %zu to %zu: usable size is %zu", sizes[from],
                  sizes[to], malloc_usable_size(block));
            CHECK(is_filled(block, kept(sizes[from], sizes[to]), from), "realloc from %zu to %zu loses the content",
                  sizes[from], sizes[to]);
            fill(block, sizes[to], to);
            CHECK(is_filled(block, sizes[to], to), "realloc from %zu to %zu is not writable", sizes[from], sizes[to]);
            free(block);
        }
    }

    /* One block through all the layers and back, by steps of many sizes, beside a neighbour that must not change. */
    uint64_t seed = 2;
    size_t size = 1;
    void *block = must_malloc(size);
    fill(block, size, 0);
    for (uint64_t step = 1; step <= 400; step++) {
        size_t next = sizes[next_random(&seed) % COUNT_OF(sizes)];
        void *neighbour = must_malloc(size);
        fill(neighbour, size, ~step);
        block = hide(realloc(block, next));
        CHECK(block != NULL && is_filled(block, kept(size, next), step - 1), "step %d: realloc from %zu to %zu fails",
              (int)step, size, next);
        fill(block, next, step);
        CHECK(is_filled(neighbour, size, ~step), "step %d: realloc from %zu to %zu writes into its neighbour",
              (int)step, size, next);
        free(neighbour);
        size = next;
    }
    free(block);
}

static void a_shrunk_block_gives_its_pages_back(void)
{
    /* Else a mapping that was kept serves, which is resident already. */
    malloc_trim(0);
    size_t before = resident();
    void *block = must_malloc(64 * MIB);
    fill(block, 64 * MIB, 3);
    CHECK(resident() >= before + 60 * MIB, "64 MiB that were written are not resident");
    block = hide(realloc(block, MIB));
    CHECK(block != NULL && is_filled(block, MIB, 3), "shrinking from 64 MiB to 1 MiB loses the content");
    CHECK(resident() <= before + 12 * MIB, "after shrinking 64 MiB to 1 MiB, %.1f MiB more are resident than before",
          mib(resident() - before));
    free(block);
}

static void sized_frees_free(void)
{
    sized_free(hide(NULL), 0);
    aligned_sized_free(hide(NULL), 64, 0);
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        void *block = must_malloc(sizes[at]);
        sized_free(block, sizes[at]);
        CHECK(!is_live(block), "free_sized of %zu bytes does not free", sizes[at]);
        block = hide(aligned_alloc(256, sizes[at]));
        aligned_sized_free(block, 256, sizes[at]);
        CHECK(!is_live(block), "free_aligned_sized of %zu bytes does not free", sizes[at]);
    }
    void *block = must_malloc(100);
    old_free(block);
    CHECK(!is_live(block), "cfree does not free");
}

int main(void)
{
    require_pymalloc();
    find_rare_functions();
    zero_sizes_give_blocks();
    realloc_at_the_edges();
    impossible_sizes_are_refused();
    products_that_overflow_are_refused();
    success_and_free_leave_errno_alone();
    blocks_are_as_large_as_they_say_and_apart();
    calloc_clears();
    realloc_keeps_the_content();
    a_shrunk_block_gives_its_pages_back();
    sized_frees_free();
    return 0;
}
