/*
 * What the C standard, POSIX and glibc promise of malloc and its family, one function per promise.
 *
 * What must hold: nothing here knows how pymalloc works inside; every check would hold of any correct malloc that takes
 * glibc's side where the standards leave a choice (realloc(p, 0) frees, malloc(0) is a block).
 */
#include "check.h"

/* Looked up, because not every C library has them: a program that pymalloc is preloaded into could not be linked. */
static void (*sized_free)(void *block, size_t size);
static void (*aligned_sized_free)(void *block, size_t alignment, size_t size);
static void (*old_free)(void *block);

/* An errno that no call sets. */
#define UNTOUCHED_ERRNO 4321
#define LARGEST_ALIGNMENT (64 * MIB)

/* From the smallest block to mappings of their own, with the edges of pages, pools and arenas. */
static const size_t sizes[] = {
    1,         8,         15,          16,           17,           48,          100,          511,       512,
    513,       1000,      1024,        1025,         2048,         3000,        4095,         4096,      4097,
    8192,      10000,     16384,       16385,        20000,        32768,       32769,        65536,     100000,
    131072,    200000,    262144,      262145,       400000,       524288,      600000,       MIB - 64,  MIB,
    MIB + 1,   3 * MIB,   4 * MIB + 5, 9 * MIB,
};

static int is_aligned(const void *pointer, size_t alignment)
{
    return ((uintptr_t)pointer & (alignment - 1)) == 0;
}

static int is_all(const unsigned char *bytes, unsigned char value, size_t size)
{
    return size == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static int is_zero(const unsigned char *bytes, size_t size)
{
    return is_all(bytes, 0, size);
}

static void *must_malloc(size_t size)
{
    void *block = hide(malloc(size));
    CHECK(block != NULL, "malloc(%zu) returns NULL", size);
    return block;
}

static int is_live(const void *block)
{
    return inspect(block).state == PYMALLOC_STATE_ALLOCATED;
}

static void find_rare_functions(void)
{
    sized_free = (__typeof__(sized_free))find("free_sized");
    aligned_sized_free = (__typeof__(aligned_sized_free))find("free_aligned_sized");
    /* glibc's headers no longer declare it, but old programs still call it. */
    old_free = (__typeof__(old_free))find("cfree");
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

static void every_block_is_aligned(void)
{
    enum { LAST = 5000 };
    static void *blocks[LAST + 1];
    for (size_t size = 0; size <= LAST; size++) {
        blocks[size] = must_malloc(size);
        CHECK(is_aligned(blocks[size], _Alignof(max_align_t)), "malloc(%zu) is at %p", size, blocks[size]);
        blocks[size] = hide(realloc(blocks[size], size + 1));
        CHECK(is_aligned(blocks[size], _Alignof(max_align_t)), "realloc to %zu is at %p", size + 1, blocks[size]);
        void *zeroed = hide(calloc(1, size));
        CHECK(is_aligned(zeroed, _Alignof(max_align_t)), "calloc(1, %zu) is at %p", size, zeroed);
        free(zeroed);
    }
    for (size_t size = 0; size <= LAST; size++)
        free(blocks[size]);
    for (size_t size = LAST; size <= 40 * MIB; size += size / 7) {
        void *block = must_malloc(size);
        CHECK(is_aligned(block, _Alignof(max_align_t)), "malloc(%zu) is at %p", size, block);
        free(block);
    }
}

static void *aligned_by(int way, size_t alignment, size_t size)
{
    void *block = NULL;
    switch (way) {
    case 0: return hide(aligned_alloc(alignment, size));
    case 1: return hide(memalign(alignment, size));
    default: return posix_memalign(&block, alignment, size) == 0 ? hide(block) : NULL;
    }
}

static void every_alignment_is_kept(void)
{
    enum { WAYS = 3 };
    static const char *const names[WAYS] = {"aligned_alloc", "memalign", "posix_memalign"};
    static char *blocks[COUNT_OF(sizes)];
    for (size_t alignment = sizeof(void *); alignment <= LARGEST_ALIGNMENT; alignment *= 2) {
        for (int way = 0; way < WAYS; way++) {
            for (size_t at = 0; at < COUNT_OF(sizes); at++) {
                size_t size = sizes[at];
                char *block = blocks[at] = aligned_by(way, alignment, size);
                CHECK(block != NULL, "%s(%zu, %zu) fails", names[way], alignment, size);
                CHECK(is_aligned(block, alignment), "%s(%zu, %zu) is at %p", names[way], alignment, size,
                      (void *)block);
                CHECK(malloc_usable_size(block) >= size, "%s(%zu, %zu): usable size is %zu", names[way], alignment,
                      size, malloc_usable_size(block));
                CHECK(is_live(block), "%s(%zu, %zu): inspect does not know %p", names[way], alignment, size,
                      (void *)block);
                /* The ends suffice to show an overlap, and 64 MiB need not be touched a thousand times. */
                fill(block, size < 64 ? size : 64, at);
                block[size - 1] = (char)at;
            }
            for (size_t at = 0; at < COUNT_OF(sizes); at++) {
                size_t size = sizes[at], head = size < 64 ? size - 1 : 64;
                CHECK(is_filled(blocks[at], head & ~(size_t)7, at) && blocks[at][size - 1] == (char)at,
                      "%s(%zu, %zu) shares bytes with another block", names[way], alignment, size);
            }
            /* A third each: freed as it is, freed with its size, moved by realloc. */
            for (size_t at = 0; at < COUNT_OF(sizes); at++) {
                size_t size = sizes[at], head = (size < 64 ? size - 1 : 64) & ~(size_t)7;
                if (at % 3 == 0) {
                    free(blocks[at]);
                } else if (at % 3 == 1) {
                    aligned_sized_free(blocks[at], alignment, size);
                } else {
                    char *moved = hide(realloc(blocks[at], 2 * size));
                    CHECK(moved != NULL && is_filled(moved, head, at),
                          "realloc of %s(%zu, %zu) loses the content", names[way], alignment, size);
                    free(moved);
                }
            }
        }
    }
}

static void bad_alignments_are_refused(void)
{
    static const size_t never_powers[] = {0, 3, 5, 12, 24, 48, 100, 4095, 4097, 12288, SIZE_MAX};
    for (size_t at = 0; at < COUNT_OF(never_powers); at++) {
        size_t alignment = hide_size(never_powers[at]);
        void *output = &output;
        errno = 0;
        CHECK(posix_memalign(&output, alignment, 100) == EINVAL && errno == EINVAL, "posix_memalign(%zu) does not return EINVAL",
              alignment);
        CHECK(output == &output, "posix_memalign(%zu) fails and yet writes its output", alignment);
        errno = UNTOUCHED_ERRNO;
        void *block = hide(aligned_alloc(alignment, 96));
        CHECK(block == NULL && errno == EINVAL, "aligned_alloc(%zu) returns %p with errno %d, not NULL with EINVAL",
              alignment, block, errno);
    }
    /* Powers of two, but not multiples of the size of a pointer: an error to posix_memalign alone. */
    for (size_t alignment = 1; alignment < sizeof(void *); alignment *= 2) {
        void *output = &output;
        errno = 0;
        CHECK(posix_memalign(&output, alignment, 100) == EINVAL && errno == EINVAL, "posix_memalign(%zu) does not return EINVAL",
              alignment);
        CHECK(output == &output, "posix_memalign(%zu) fails and yet writes its output", alignment);
        void *block = hide(aligned_alloc(alignment, 100));
        CHECK(block != NULL, "aligned_alloc(%zu, 100) fails", alignment);
        free(block);
    }
    /* A size that is no multiple of the alignment is allowed since C17. */
    void *odd = hide(aligned_alloc(4096, 100));
    CHECK(odd != NULL && is_aligned(odd, 4096), "aligned_alloc(4096, 100) is %p", odd);
    free(odd);

    /* Good powers of two beyond what any address space has. */
    for (int shift = 48; shift < 64; shift++) {
        void *output = &output;
        size_t alignment = (size_t)1 << shift;
        CHECK(posix_memalign(&output, alignment, 16) == ENOMEM, "posix_memalign(2^%d) does not return ENOMEM", shift);
        CHECK(output == &output, "posix_memalign(2^%d) fails and yet writes its output", shift);
        errno = UNTOUCHED_ERRNO;
        void *block = hide(memalign(alignment, 16));
        CHECK(block == NULL && errno == ENOMEM, "memalign(2^%d) returns %p with errno %d", shift, block, errno);
    }
}

static void page_allocators_align_to_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        char *block = hide(valloc(sizes[at]));
        CHECK(block != NULL && is_aligned(block, page), "valloc(%zu) is %p", sizes[at], (void *)block);
        block[sizes[at] - 1] = 1;
        free(block);
        size_t rounded = (sizes[at] + page - 1) / page * page;
        block = hide(pvalloc(sizes[at]));
        CHECK(block != NULL && is_aligned(block, page), "pvalloc(%zu) is %p", sizes[at], (void *)block);
        CHECK(malloc_usable_size(block) >= rounded, "pvalloc(%zu) is not a whole number of pages", sizes[at]);
        memset(block, 1, rounded);
        free(block);
    }
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

static size_t in_use(const struct mallinfo2 *figures)
{
    return figures->uordblks + figures->hblkhd;
}

static void mallinfo_follows_the_program(void)
{
    enum { SMALL = 30000, LARGE = 30, HUGE_BLOCKS = 3 };
    static void *blocks[SMALL + LARGE + HUGE_BLOCKS];
    struct mallinfo2 before = mallinfo2();
    size_t asked = 0;
    for (size_t at = 0; at < COUNT_OF(blocks); at++) {
        size_t size = at < SMALL ? 100 : at < SMALL + LARGE ? 100000 : 8 * MIB;
        blocks[at] = must_malloc(size);
        asked += size;
    }
    struct mallinfo2 full = mallinfo2();
    for (size_t at = 0; at < COUNT_OF(blocks); at++)
        free(blocks[at]);
    struct mallinfo2 after = mallinfo2();

    CHECK(in_use(&full) >= in_use(&before) + asked, "%.1f MiB were allocated, yet mallinfo2 counts %.1f more",
          mib(asked), mib(in_use(&full)) - mib(in_use(&before)));
    CHECK(in_use(&full) <= in_use(&before) + asked + asked / 4, "%.1f MiB were allocated, yet mallinfo2 counts %.1f more",
          mib(asked), mib(in_use(&full)) - mib(in_use(&before)));
    CHECK(in_use(&after) <= in_use(&before) + asked / 50, "all is freed, yet mallinfo2 counts %.1f MiB in use, %.1f before",
          mib(in_use(&after)), mib(in_use(&before)));
    CHECK(full.arena + full.hblkhd >= in_use(&before) + asked, "mallinfo2: %.1f MiB are allocated out of %.1f mapped",
          mib(asked), mib(full.arena + full.hblkhd));
    /* As in glibc, the blocks that are mappings of their own are not counted in uordblks. */
    CHECK(full.hblkhd >= before.hblkhd + HUGE_BLOCKS * 8 * MIB, "mallinfo2 counts %zu bytes of mappings, %zu before", full.hblkhd,
          before.hblkhd);
    CHECK(full.uordblks <= full.arena, "mallinfo2: %zu bytes are in use of %zu in arenas", full.uordblks, full.arena);
    CHECK(after.fordblks > 0, "mallinfo2 counts nothing free after %zu bytes were freed", asked);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    CHECK(narrow.arena >= 0 && narrow.hblkhd >= 0 && narrow.uordblks >= 0, "mallinfo has negative figures");
    CHECK((size_t)narrow.uordblks <= in_use(&after) + MIB, "mallinfo counts %d bytes in use, mallinfo2 %zu",
          narrow.uordblks, in_use(&after));
}

/* Just enough XML to see that every tag is closed by its own name and that there is one root. */
static void check_xml(const char *text, const char *wanted_root)
{
    enum { DEEPEST = 32 };
    struct {
        const char *name;
        size_t length;
    } open_tags[DEEPEST];
    int depth = 0, roots = 0;
    for (const char *at = text; *at;) {
        if (*at != '<') {
            CHECK(depth > 0 || strchr(" \t\r\n", *at), "malloc_info: text outside of the root: %.40s", at);
            CHECK(*at != '&' && *at != '>', "malloc_info: a bare '%c' in the text: %.40s", *at, at);
            at++;
            continue;
        }
        const char *end = at;
        for (char quote = 0; *end && (quote || *end != '>'); end++)
            if (*end == '"' || *end == '\'')
                quote = quote == *end ? 0 : quote ? quote : *end;
        CHECK(*end == '>', "malloc_info: a tag is not closed: %.40s", at);
        if (at[1] == '?' || at[1] == '!') {
            at = end + 1;
            continue;
        }
        int closing = at[1] == '/';
        const char *name = at + 1 + closing;
        size_t length = strcspn(name, " \t\r\n/>");
        CHECK(length > 0, "malloc_info: a tag has no name: %.40s", at);
        if (closing) {
            CHECK(depth > 0, "malloc_info: a closing tag too many: %.40s", at);
            depth--;
            CHECK(open_tags[depth].length == length && memcmp(open_tags[depth].name, name, length) == 0,
                  "malloc_info: <%.*s> is closed by %.40s", (int)open_tags[depth].length, open_tags[depth].name, at);
        } else {
            if (depth == 0) {
                CHECK(++roots == 1, "malloc_info: a second root: %.40s", at);
                CHECK(length == strlen(wanted_root) && memcmp(name, wanted_root, length) == 0,
                      "malloc_info: the root is not <%s>: %.40s", wanted_root, at);
            }
            if (end[-1] != '/') {
                CHECK(depth < DEEPEST, "malloc_info: tags are nested too deep");
                open_tags[depth].name = name;
                open_tags[depth++].length = length;
            }
        }
        at = end + 1;
    }
    CHECK(roots == 1 && depth == 0, "malloc_info: %d roots, %d tags left open", roots, depth);
}

static void malloc_info_is_xml(void)
{
    /* A memory stream grows by realloc while malloc_info writes to it, which a lock held meanwhile would not survive. */
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    CHECK(stream != NULL, "open_memstream fails");
    CHECK(malloc_info(0, stream) == 0, "malloc_info(0) fails");
    CHECK(fclose(stream) == 0, "the stream of malloc_info fails");
    CHECK(size > 0 && strlen(text) == size, "malloc_info wrote %zu bytes", size);
    check_xml(text, "malloc");
    free(text);
    /* No options exist, so that any is an error. */
    CHECK(malloc_info(1, stderr) != 0, "malloc_info(1) succeeds");
}

static void malloc_stats_prints(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe fails");
    int saved = dup(STDERR_FILENO);
    /* The pipe must not fill: nobody reads it until all is written. */
    CHECK(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) >= 0, "the pipe cannot be enlarged");
    CHECK(dup2(ends[1], STDERR_FILENO) >= 0, "dup2 fails");
    malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    char text[4096];
    ssize_t length = read(ends[0], text, sizeof text);
    close(ends[0]);
    CHECK(length > 0, "malloc_stats writes nothing to stderr");
    CHECK(text[length - 1] == '\n' || length == sizeof text, "malloc_stats ends in the middle of a line");
}

static void trim_and_mallopt_answer(void)
{
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    for (int at = 0; at < BLOCKS; at++)
        memset(blocks[at] = must_malloc(1000), 1, 1000);
    for (int at = 0; at < BLOCKS; at++)
        if (at % 100)
            free(blocks[at]);
    int answer = malloc_trim(0);
    CHECK(answer == 0 || answer == 1, "malloc_trim returns %d", answer);
    CHECK(malloc_trim(0) == 0, "a second malloc_trim in a row claims to give memory back once more");
    for (int at = 0; at < BLOCKS; at += 100)
        free(blocks[at]);
    static const int parameters[] = {M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX, M_MXFAST, -12345};
    for (size_t at = 0; at < COUNT_OF(parameters); at++) {
        answer = mallopt(parameters[at], 64);
        CHECK(answer == 0 || answer == 1, "mallopt(%d) returns %d", parameters[at], answer);
    }
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
    every_block_is_aligned();
    every_alignment_is_kept();
    bad_alignments_are_refused();
    page_allocators_align_to_pages();
    blocks_are_as_large_as_they_say_and_apart();
    calloc_clears();
    realloc_keeps_the_content();
    a_shrunk_block_gives_its_pages_back();
    sized_frees_free();
    mallinfo_follows_the_program();
    malloc_info_is_xml();
    malloc_stats_prints();
    trim_and_mallopt_answer();
    return 0;
}
