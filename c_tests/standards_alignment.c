/*
 * What the C standard, POSIX and glibc promise of alignments, one function per promise.
 */
#include "standards.h"

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

int main(void)
{
    require_pymalloc();
    find_rare_functions();
    every_block_is_aligned();
    every_alignment_is_kept();
    bad_alignments_are_refused();
    page_allocators_align_to_pages();
    return 0;
}
