/*
 * One misuse of the allocator: misuse KIND CALL SIZE.
 *
 * The pointer is made here; the call and what is said of it are in calls.h.
 */
#include "calls.h"

#include <sys/mman.h>

/* Blocks before and after the misused one stay alive: it is one among others, as in a real program. */
enum { NEIGHBOURS = 20 };

static char in_data[8192] __attribute__((aligned(64))) = {1};
/* Points into the frame of main, which is alive as long as any pointer to it is used. */
static char *main_frame;

static void *misused_block(size_t size)
{
    void *block = NULL;
    for (int at = 0; at < 2 * NEIGHBOURS; at++) {
        void *neighbour = hide(malloc(size));
        CHECK(neighbour != NULL, "malloc(%zu) fails", size);
        memset(neighbour, 1, size);
        if (at == NEIGHBOURS)
            block = neighbour;
    }
    return block;
}

static void in_another_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, argument) == 0, "pthread_create fails");
    pthread_join(thread, NULL);
}

static void *free_it(void *block)
{
    free(block);
    return NULL;
}

/* Each of these makes a pointer that the library must not be given. */

static void *stack(size_t size)
{
    (void)size;
    return main_frame;
}

static void *static_data(size_t size)
{
    return in_data + size % sizeof in_data / 64 * 64;
}

static void *text(size_t size)
{
    (void)size;
    return (void *)((uintptr_t)&misused_block & ~(uintptr_t)15);
}

static void *wild_mapped(size_t size)
{
    (void)size;
    char *mapped = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED, "mmap fails");
    memset(mapped, 0xa5, 8 * MIB);
    /* Wherever arenas are aligned to their size, one would begin inside. */
    return (void *)((((uintptr_t)mapped + 4 * MIB) & ~(uintptr_t)(4 * MIB - 1)) + 65536 + 64);
}

static void *wild_unreadable(size_t size)
{
    char *mapped = wild_mapped(size);
    CHECK(mprotect((void *)((uintptr_t)mapped & ~(uintptr_t)4095), 8192, PROT_NONE) == 0, "mprotect fails");
    return mapped;
}

static void *wild_unmapped(size_t size)
{
    (void)size;
    char *mapped = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED, "mmap fails");
    munmap(mapped, 8 * MIB);
    return mapped + 4 * MIB + 64;
}

static void *wild_small(size_t size)
{
    return (void *)(uintptr_t)(size / 16 * 16);
}

static void *wild_noncanonical(size_t size)
{
    return (void *)(((uintptr_t)1 << 62) + size / 16 * 16);
}

static void *wild_last(size_t size)
{
    (void)size;
    return (void *)(UINTPTR_MAX - 15);
}

static void *misaligned(size_t size)
{
    return (char *)misused_block(size) + 1;
}

static void *misaligned_by_8(size_t size)
{
    return (char *)misused_block(size) + 8;
}

static void *interior(size_t size)
{
    return (char *)misused_block(size) + 16;
}

static void *interior_half(size_t size)
{
    return (char *)misused_block(size) + (size / 2 + 15) / 16 * 16;
}

/* A block of the same pool that no malloc has returned yet, for sizes that have pools. */
static void *untouched(size_t size)
{
    char *block = misused_block(size);
    for (int tries = 0; tries < 100000; tries++) {
        pymalloc_info info = inspect(block);
        CHECK(info.kind == PYMALLOC_KIND_POOL, "blocks of %zu bytes are not in pools", size);
        for (const char *at = block; at + info.block_size <= (const char *)info.pool + info.pool_size; at += info.block_size)
            if (inspect(at).state == PYMALLOC_STATE_UNTOUCHED && inspect(at).block == at)
                return hide(at);
        block = hide(malloc(size));
    }
    FAIL("no pool of %zu-byte blocks has an untouched one", size);
}

static void *arena_header(size_t size)
{
    const void *arena = inspect(misused_block(size)).arena;
    CHECK(arena != NULL, "blocks of %zu bytes are not in arenas", size);
    return hide(arena);
}

static void *freed(size_t size)
{
    void *block = misused_block(size);
    free(hide(block));
    return block;
}

/* The only block of its kind: with it goes its pool, its run of slots or its mapping. */
static void *freed_alone(size_t size)
{
    void *block = hide(malloc(size));
    CHECK(block != NULL, "malloc(%zu) fails", size);
    memset(block, 1, size);
    free(hide(block));
    return block;
}

static void *freed_then_others(size_t size)
{
    void *others[8];
    void *block = misused_block(size);
    for (size_t at = 0; at < COUNT_OF(others); at++)
        others[at] = hide(malloc(size));
    free(others[0]);
    free(hide(block));
    for (size_t at = 1; at < COUNT_OF(others); at++)
        free(others[at]);
    return block;
}

static void *freed_by_another(size_t size)
{
    void *block = misused_block(size);
    in_another_thread(free_it, hide(block));
    return block;
}

static void *make_freed(void *size)
{
    return freed((size_t)(uintptr_t)size);
}

/* The block's owner has ended, and it is freed twice by a thread that never owned it. */
static void *freed_of_ended_thread(size_t size)
{
    pthread_t thread;
    void *block;
    CHECK(pthread_create(&thread, NULL, make_freed, (void *)size) == 0, "pthread_create fails");
    pthread_join(thread, &block);
    return block;
}

static void *make_freed_in_a_full_pool(void *size)
{
    static void *blocks[5000];
    for (size_t at = 0; at < COUNT_OF(blocks); at++)
        blocks[at] = hide(malloc((size_t)(uintptr_t)size));
    void *freed = blocks[COUNT_OF(blocks) / 2];
    free(freed);
    return freed;
}

/* The same; but for this block its pool is full as the owner ends. */
static void *freed_in_full_pool(size_t size)
{
    pthread_t thread;
    void *block;
    CHECK(pthread_create(&thread, NULL, make_freed_in_a_full_pool, (void *)size) == 0, "pthread_create fails");
    pthread_join(thread, &block);
    return block;
}

static const struct kind {
    const char *name;
    void *(*make)(size_t size);
} kinds[] = {
    {"stack", stack},
    {"static", static_data},
    {"text", text},
    {"wild-mapped", wild_mapped},
    {"wild-unreadable", wild_unreadable},
    {"wild-unmapped", wild_unmapped},
    {"wild-small", wild_small},
    {"wild-noncanonical", wild_noncanonical},
    {"wild-last", wild_last},
    {"misaligned", misaligned},
    {"misaligned-by-8", misaligned_by_8},
    {"interior", interior},
    {"interior-half", interior_half},
    {"untouched", untouched},
    {"arena-header", arena_header},
    {"freed", freed},
    {"freed-alone", freed_alone},
    {"freed-then-others", freed_then_others},
    {"freed-by-another-thread", freed_by_another},
    {"freed-of-ended-thread", freed_of_ended_thread},
    {"freed-in-full-pool", freed_in_full_pool},
};

int main(int count, char **arguments)
{
    char frame[8192] __attribute__((aligned(64)));
    memset(hide(frame), 0, sizeof frame);
    main_frame = hide(frame + 1024);
    require_pymalloc();
    CHECK(count == 4, "usage: %s KIND CALL SIZE", arguments[0]);
    const struct kind *kind = kinds;
    while (kind < kinds + COUNT_OF(kinds) && strcmp(kind->name, arguments[1]) != 0)
        kind++;
    CHECK(kind < kinds + COUNT_OF(kinds), "no such kind of misuse: %s", arguments[1]);
    const struct call *call = prepare_call(arguments[2]);
    misuse(call, kind->make(strtoull(arguments[3], NULL, 0)));
    return 0;
}
