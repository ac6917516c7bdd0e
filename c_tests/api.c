/*
 * The library's own names, called as the header declares them by a program that is linked with it.
 *
 * What must hold: each pymalloc_* function does what the standard function of that name does, on the same memory, so that
 * either family frees what the other has allocated.
 */
#include "check.h"

static void expect_live(void *block, size_t size, const char *call)
{
    pymalloc_info info;
    CHECK(block != NULL, "%s returns NULL", call);
    CHECK(pymalloc_inspect(block, &info) == 1 && info.state == PYMALLOC_STATE_ALLOCATED, "%s: the block is not live", call);
    CHECK(pymalloc_malloc_usable_size(block) >= size, "%s: usable size is %zu", call, pymalloc_malloc_usable_size(block));
    CHECK(pymalloc_malloc_usable_size(block) == malloc_usable_size(block), "%s: the two usable sizes differ", call);
    memset(block, 0x5a, size);
}

static void expect_dead(void *block, const char *call)
{
    pymalloc_info info;
    memset(&info, 0, sizeof info);
    pymalloc_inspect(block, &info);
    CHECK(info.state != PYMALLOC_STATE_ALLOCATED, "%s did not free", call);
}

static void both_families_share_their_memory(void)
{
    static const size_t sizes[] = {1, 48, 600, 3000, 40000, 100000, MIB, 5 * MIB};
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        size_t size = sizes[at];
        void *block = hide(pymalloc_malloc(size));
        expect_live(block, size, "pymalloc_malloc");
        free(block);
        expect_dead(block, "free of a pymalloc_malloc");

        block = hide(malloc(size));
        expect_live(block, size, "malloc");
        block = hide(pymalloc_realloc(block, 2 * size));
        expect_live(block, 2 * size, "pymalloc_realloc");
        block = hide(pymalloc_reallocarray(block, 3, size));
        expect_live(block, 3 * size, "pymalloc_reallocarray");
        pymalloc_free(block);
        expect_dead(block, "pymalloc_free");

        unsigned char *zeroed = hide(pymalloc_calloc(size, 2));
        for (size_t byte = 0; byte < 2 * size; byte++)
            CHECK(zeroed[byte] == 0, "pymalloc_calloc is not zero");
        expect_live(zeroed, 2 * size, "pymalloc_calloc");
        pymalloc_free_sized(zeroed, 2 * size);
        expect_dead(zeroed, "pymalloc_free_sized");

        CHECK(pymalloc_posix_memalign(&block, 512, size) == 0 && (uintptr_t)block % 512 == 0, "pymalloc_posix_memalign");
        expect_live(block, size, "pymalloc_posix_memalign");
        pymalloc_free_aligned_sized(hide(block), 512, size);
        expect_dead(block, "pymalloc_free_aligned_sized");

        block = hide(pymalloc_aligned_alloc(1024, size));
        CHECK((uintptr_t)block % 1024 == 0, "pymalloc_aligned_alloc is at %p", block);
        expect_live(block, size, "pymalloc_aligned_alloc");
        free(block);
        block = hide(pymalloc_memalign(2048, size));
        CHECK((uintptr_t)block % 2048 == 0, "pymalloc_memalign is at %p", block);
        expect_live(block, size, "pymalloc_memalign");
        free(block);

        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        block = hide(pymalloc_valloc(size));
        CHECK((uintptr_t)block % page == 0, "pymalloc_valloc is at %p", block);
        expect_live(block, size, "pymalloc_valloc");
        free(block);
        block = hide(pymalloc_pvalloc(size));
        CHECK((uintptr_t)block % page == 0, "pymalloc_pvalloc is at %p", block);
        expect_live(block, (size + page - 1) / page * page, "pymalloc_pvalloc");
        free(block);
    }
}

static void errors_are_the_standard_ones(void)
{
    errno = 0;
    CHECK(hide(pymalloc_malloc(hide_size(SIZE_MAX))) == NULL && errno == ENOMEM, "pymalloc_malloc(SIZE_MAX): errno %d", errno);
    errno = 0;
    CHECK(hide(pymalloc_calloc(hide_size(SIZE_MAX / 2 + 1), 2)) == NULL && errno == ENOMEM, "pymalloc_calloc: errno %d", errno);
    void *block = pymalloc_malloc(10);
    CHECK(pymalloc_posix_memalign(&block, 3, 10) == EINVAL, "pymalloc_posix_memalign(3) does not return EINVAL");
    CHECK(pymalloc_realloc(block, 0) == NULL, "pymalloc_realloc(p, 0) returns a block");
    pymalloc_free(NULL);
    CHECK(pymalloc_malloc_usable_size(NULL) == 0, "pymalloc_malloc_usable_size(NULL) is not 0");
}

static void figures_are_told(void)
{
    const char *version = pymalloc_version();
    int major, minor, patch, end = 0;
    CHECK(sscanf(version, "%d.%d.%d%n", &major, &minor, &patch, &end) == 3 && version[end] == 0, "the version is %s", version);

    void *block = hide(pymalloc_malloc(5 * MIB));
    struct mallinfo2 own = pymalloc_mallinfo2(), standard = mallinfo2();
    CHECK(own.uordblks + own.hblkhd >= 5 * MIB, "pymalloc_mallinfo2 does not see 5 MiB");
    CHECK(own.uordblks == standard.uordblks && own.hblkhd == standard.hblkhd, "pymalloc_mallinfo2 and mallinfo2 differ");
    pymalloc_free(block);
    int trimmed = pymalloc_trim(0);
    CHECK(trimmed == 0 || trimmed == 1, "pymalloc_trim returns %d", trimmed);

    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    CHECK(pymalloc_malloc_info(0, stream) == 0 && fclose(stream) == 0, "pymalloc_malloc_info fails");
    CHECK(size > 0 && text[0] == '<', "pymalloc_malloc_info wrote %zu bytes", size);
    free(text);
    pymalloc_malloc_stats();
}

int main(void)
{
    require_pymalloc();
    both_families_share_their_memory();
    errors_are_the_standard_ones();
    figures_are_told();
    return 0;
}
