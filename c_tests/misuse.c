/*
 * One misuse of the allocator: misuse KIND CALL SIZE.
 *
 * It prints the pointer that it is about to misuse, and `survived` should the call return. The runner (tests/c_tests.rs)
 * expects that it never does, and that the library says on one line of stderr which call met which pointer.
 */
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

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
};

static void do_free(void *pointer)
{
    free(pointer);
}

static void do_realloc(void *pointer)
{
    hide(realloc(pointer, 10000));
}

static void do_realloc_to_nothing(void *pointer)
{
    hide(realloc(pointer, hide_size(0)));
}

static void do_usable_size(void *pointer)
{
    hide_size(malloc_usable_size(pointer));
}

/*
 * The other thread exists before the misused pointer does: to create it then would allocate, perhaps the very block that
 * was freed.
 */
static pthread_barrier_t turn;
static void *handed_over;

static void *wait_and_free(void *unused)
{
    pthread_barrier_wait(&turn);
    free(handed_over);
    pthread_barrier_wait(&turn);
    return unused;
}

static void do_free_in_another_thread(void *pointer)
{
    handed_over = pointer;
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
}

static const struct call {
    const char *name;
    void (*make)(void *pointer);
} calls[] = {
    {"free", do_free},
    {"realloc", do_realloc},
    {"realloc-to-nothing", do_realloc_to_nothing},
    {"malloc_usable_size", do_usable_size},
    {"free-in-another-thread", do_free_in_another_thread},
};

int main(int count, char **arguments)
{
    char frame[8192] __attribute__((aligned(64)));
    memset(hide(frame), 0, sizeof frame);
    main_frame = hide(frame + 1024);
    require_pymalloc();
    CHECK(count == 4, "usage: %s KIND CALL SIZE", arguments[0]);
    /* The abort is the expected end, and needs no core file. */
    CHECK(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0, "setrlimit fails");

    const struct kind *kind = kinds;
    while (kind < kinds + COUNT_OF(kinds) && strcmp(kind->name, arguments[1]) != 0)
        kind++;
    const struct call *call = calls;
    while (call < calls + COUNT_OF(calls) && strcmp(call->name, arguments[2]) != 0)
        call++;
    CHECK(kind < kinds + COUNT_OF(kinds) && call < calls + COUNT_OF(calls), "no such misuse: %s of %s", arguments[2],
          arguments[1]);

    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    CHECK(pthread_create(&thread, NULL, wait_and_free, NULL) == 0, "pthread_create fails");
    void *pointer = kind->make(strtoull(arguments[3], NULL, 0));
    say(STDOUT_FILENO, "%p\n", pointer);
    call->make(hide(pointer));
    say(STDOUT_FILENO, "survived\n");
    return 0;
}
