/*
 * pymalloc_inspect: what it says of blocks of every layer, in every state, and of addresses that are not the library's.
 *
 * What must hold: the tests of the arenas and of the states trust pymalloc_inspect, so it is tested here against what
 * the program knows by itself: what it asked for, what it holds, and what /proc/self/maps says.
 */
#include "check.h"

#include <pthread.h>
#include <sys/mman.h>

static const char *address_of(const void *pointer)
{
    return (const char *)pointer;
}

static int is_inside(const void *inner, size_t inner_size, const void *outer, size_t outer_size)
{
    return address_of(inner) >= address_of(outer) && inner_size <= outer_size &&
           (size_t)(address_of(inner) - address_of(outer)) <= outer_size - inner_size;
}

/* All that must hold of a block that malloc(size) has returned. */
static pymalloc_info check_live(void *block, size_t size)
{
    pymalloc_info info = inspect(block);
    CHECK(info.state == PYMALLOC_STATE_ALLOCATED, "malloc(%zu) at %p: state %d", size, block, (int)info.state);
    CHECK(info.block == block, "malloc(%zu) at %p: inspect says that the block starts at %p", size, block, info.block);
    CHECK(info.block_size >= size && info.block_size >= malloc_usable_size(block),
          "malloc(%zu): inspect says %zu bytes, malloc_usable_size %zu", size, info.block_size,
          malloc_usable_size(block));
    CHECK(is_inside(info.block, info.block_size, info.pool, info.pool_size),
          "malloc(%zu): block %p of %zu bytes is outside of its pool %p of %zu", size, info.block, info.block_size,
          info.pool, info.pool_size);
    switch (info.kind) {
    case PYMALLOC_KIND_POOL:
    case PYMALLOC_KIND_LARGE:
        CHECK(info.arena != NULL && is_inside(info.pool, info.pool_size, info.arena, info.arena_size),
              "malloc(%zu): pool %p of %zu bytes is outside of its arena %p of %zu", size, info.pool, info.pool_size,
              info.arena, info.arena_size);
        break;
    case PYMALLOC_KIND_MAPPING:
        CHECK(info.arena == NULL, "malloc(%zu): a mapping of its own is said to be in arena %p", size, info.arena);
        break;
    default:
        FAIL("malloc(%zu) at %p: kind %d", size, block, (int)info.kind);
    }

    /* Every address inside belongs to the same block. */
    const size_t offsets[] = {1, size / 3, size / 2, size - 1, info.block_size - 1};
    for (size_t at = 0; at < COUNT_OF(offsets); at++) {
        pymalloc_info inside = inspect(address_of(block) + offsets[at]);
        CHECK(inside.kind == info.kind && inside.state == info.state && inside.block == info.block &&
                  inside.block_size == info.block_size && inside.pool == info.pool && inside.arena == info.arena &&
                  inside.block_index == info.block_index && inside.size_class == info.size_class,
              "malloc(%zu) at %p: inspect tells another story at offset %zu (kind %d, state %d, block %p)", size, block,
              offsets[at], (int)inside.kind, (int)inside.state, inside.block);
    }
    return info;
}

static void layers_come_in_order(void)
{
    enum { BLOCKS = 400 };
    static void *blocks[BLOCKS];
    int count = 0;
    size_t largest_pooled = 0, largest_in_arena = 0;
    pymalloc_kind last = PYMALLOC_KIND_POOL;
    for (size_t size = 1; size < 16 * MIB; size += size / 16 + 1, count++) {
        CHECK(count < BLOCKS, "too many sizes");
        blocks[count] = hide(malloc(size));
        pymalloc_info info = check_live(blocks[count], size);
        CHECK(info.kind >= last, "malloc(%zu) is of kind %d, yet a smaller size was of kind %d", size, (int)info.kind,
              (int)last);
        last = info.kind;
        if (info.kind == PYMALLOC_KIND_POOL)
            largest_pooled = size;
        if (info.kind == PYMALLOC_KIND_LARGE)
            largest_in_arena = size;
    }
    CHECK(largest_pooled >= 512, "the largest pooled size is %zu", largest_pooled);
    CHECK(largest_in_arena > largest_pooled, "no size is served by slots of an arena");
    CHECK(last == PYMALLOC_KIND_MAPPING, "16 MiB are not a mapping of their own");
    while (count > 0)
        free(blocks[--count]);
}

static void size_classes_waste_little(void)
{
    enum { LAST = 4096 };
    static void *blocks[LAST + 1];
    uint32_t last_class = 0;
    size_t last_block_size = 0;
    for (size_t size = 1; size <= LAST; size++) {
        blocks[size] = hide(malloc(size));
        pymalloc_info info = check_live(blocks[size], size);
        size_t rounded = (size + 15) / 16 * 16;
        if (size <= 512)
            CHECK(info.block_size == rounded, "malloc(%zu) takes a block of %zu", size, info.block_size);
        CHECK(info.block_size <= rounded + size / 8, "malloc(%zu) takes a block of %zu", size, info.block_size);
        if (info.kind == PYMALLOC_KIND_POOL) {
            CHECK(info.size_class >= last_class, "malloc(%zu) is of class %u, a smaller size was of class %u", size,
                  info.size_class, last_class);
            CHECK((info.size_class == last_class) == (info.block_size == last_block_size),
                  "class %u has blocks of %zu, class %u of %zu", last_class, last_block_size, info.size_class,
                  info.block_size);
            last_class = info.size_class;
            last_block_size = info.block_size;
        }
    }
    for (size_t size = 1; size <= LAST; size++)
        free(blocks[size]);
}

/*
 * A size whose class no other code of this process uses, so that its pools hold our blocks alone; and whose pools are longer
 * than a page, since blocks are carved a page at a time.
 */
static size_t lonely_size(void)
{
    static const size_t candidates[] = {208, 1136, 2000, 4000};
    for (size_t at = 0; at < COUNT_OF(candidates); at++) {
        void *block = hide(malloc(candidates[at]));
        size_t pool_size = inspect(block).pool_size;
        free(block);
        if (pool_size >= 2 * (size_t)sysconf(_SC_PAGESIZE))
            return candidates[at];
    }
    FAIL("no pool is longer than a page");
}

static void a_pool_is_carved_into_equal_blocks(void)
{
    enum { BLOCKS = 2000 };
    static void *blocks[BLOCKS];
    size_t size = lonely_size();
    for (int at = 0; at < BLOCKS; at++)
        blocks[at] = hide(malloc(size));
    ptrdiff_t start = 0;
    const void *pool_of_start = NULL;
    int pools = 0;
    for (int at = 0; at < BLOCKS; at++) {
        pymalloc_info info = check_live(blocks[at], size);
        CHECK(info.kind == PYMALLOC_KIND_POOL, "malloc(%zu) is not in a pool", size);
        ptrdiff_t first = address_of(info.block) - address_of(info.pool) - (ptrdiff_t)(info.block_index * info.block_size);
        if (info.pool != pool_of_start) {
            pool_of_start = info.pool;
            start = first;
            pools++;
        }
        CHECK(first >= 0 && first == start, "block %u of pool %p is at %p", info.block_index, info.pool, info.block);
    }
    CHECK(pools > 10, "%d blocks are in %d pools", BLOCKS, pools);
    for (int at = 0; at < BLOCKS; at++)
        free(blocks[at]);
}

/* A pool that is ours alone, and all blocks that were allocated to come by it. */
enum { MOST = 4000 };
static struct {
    void *blocks[MOST];
    int count;
    size_t size;
    pymalloc_info fresh;
    const char *start;
    size_t capacity;
} lonely;

/* Allocates until a block comes of a pool that was never used. */
static void begin_a_pool(void)
{
    lonely.size = lonely_size();
    /* Empty pools that are kept for the next use go back, so that the next pool is one that was never used. */
    malloc_trim(0);
    /* The blocks of a pool that some earlier call has begun. */
    void *first = hide(malloc(lonely.size));
    lonely.blocks[lonely.count++] = first;
    const void *begun = inspect(first).pool;
    do {
        CHECK(lonely.count < MOST, "%d blocks of %zu bytes fit into one pool", MOST, lonely.size);
        lonely.blocks[lonely.count] = hide(malloc(lonely.size));
    } while (inspect(lonely.blocks[lonely.count++]).pool == begun);

    pymalloc_info fresh = lonely.fresh = inspect(lonely.blocks[lonely.count - 1]);
    lonely.start = address_of(fresh.block) - fresh.block_index * fresh.block_size;
    lonely.capacity = (fresh.pool_size - (size_t)(lonely.start - address_of(fresh.pool))) / fresh.block_size;
    CHECK(lonely.capacity >= 8, "a pool has room for %zu blocks", lonely.capacity);
}

static void the_last_block_is_untouched(void)
{
    pymalloc_info fresh = lonely.fresh;
    const char *last = lonely.start + (lonely.capacity - 1) * fresh.block_size;
    pymalloc_info info = inspect(last);
    CHECK(info.kind == PYMALLOC_KIND_POOL && info.pool == fresh.pool && info.block == last,
          "the last block of pool %p is not known at %p", fresh.pool, (const void *)last);
    CHECK(info.block_index == lonely.capacity - 1, "the last of %zu blocks has index %u", lonely.capacity, info.block_index);
    CHECK(info.state == PYMALLOC_STATE_UNTOUCHED, "the last block of a pool with one block in use is in state %d",
          (int)info.state);
    CHECK(inspect(last + fresh.block_size - 1).state == PYMALLOC_STATE_UNTOUCHED,
          "the last byte of an untouched block is in another state");
}

/* Fills the pool to its end: each block of it is allocated exactly once. */
static void fill_the_pool(void)
{
    for (size_t filled = 1; filled < lonely.capacity; filled++) {
        CHECK(lonely.count < MOST, "pool %p does not fill", lonely.fresh.pool);
        lonely.blocks[lonely.count] = hide(malloc(lonely.size));
        pymalloc_info next = check_live(lonely.blocks[lonely.count++], lonely.size);
        CHECK(next.pool == lonely.fresh.pool, "a block is taken from pool %p while pool %p has %zu left", next.pool,
              lonely.fresh.pool, lonely.capacity - filled);
    }
    for (size_t at = 0; at < lonely.capacity; at++)
        CHECK(inspect(lonely.start + at * lonely.fresh.block_size).state == PYMALLOC_STATE_ALLOCATED,
              "block %zu of a full pool is not allocated", at);
}

/* One free block among live ones: its page is in use, so it can only be free, and is the next to be handed out. */
static void a_freed_block_is_free(void)
{
    size_t size = lonely.fresh.block_size;
    char *middle = hide(lonely.start + lonely.capacity / 2 * size);
    for (int at = 0; at < lonely.count; at++)
        if (lonely.blocks[at] == middle)
            lonely.blocks[at] = NULL;
    free(hide(middle));
    pymalloc_info info = inspect(middle);
    CHECK(info.kind == PYMALLOC_KIND_POOL && info.state == PYMALLOC_STATE_FREE && info.block == middle,
          "a freed block among live ones: kind %d, state %d, block %p", (int)info.kind, (int)info.state, info.block);
    CHECK(inspect(middle + size - 1).state == PYMALLOC_STATE_FREE, "the last byte of a free block is not free");
    CHECK(inspect(middle + size).state == PYMALLOC_STATE_ALLOCATED, "the block after a free one is not allocated");
    CHECK(inspect(middle - 1).state == PYMALLOC_STATE_ALLOCATED, "the block before a free one is not allocated");
    void *again = hide(malloc(lonely.size));
    CHECK(again == middle, "the pool with one free block is not the next to be used: %p, not %p", again, (void *)middle);
    free(again);
}

/* The three states of a block. */
static void blocks_are_untouched_then_allocated_then_free(void)
{
    begin_a_pool();
    the_last_block_is_untouched();
    fill_the_pool();
    a_freed_block_is_free();
    for (int at = 0; at < lonely.count; at++)
        free(hide(lonely.blocks[at]));
    for (size_t at = 0; at < lonely.capacity; at++)
        CHECK(inspect(lonely.start + at * lonely.fresh.block_size).state != PYMALLOC_STATE_ALLOCATED,
              "all is freed, yet block %zu is still allocated", at);
}

static void other_layers_are_free_once_freed(void)
{
    static const size_t sizes[] = {40000, 100000, 300000, MIB, 3 * MIB, 40 * MIB};
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        void *block = hide(malloc(sizes[at]));
        pymalloc_info info = check_live(block, sizes[at]);
        if (info.arena) {
            pymalloc_info header = inspect(info.arena);
            CHECK(header.kind == PYMALLOC_KIND_ARENA && header.arena == info.arena && header.arena_size == info.arena_size,
                  "the start of arena %p is of kind %d", info.arena, (int)header.kind);
            CHECK(header.state != PYMALLOC_STATE_ALLOCATED, "an arena header is said to be an allocated block");
        }
        free(hide(block));
        for (size_t offset = 0; offset < sizes[at]; offset += sizes[at] / 7) {
            pymalloc_info freed = inspect(address_of(block) + offset);
            CHECK(freed.state != PYMALLOC_STATE_ALLOCATED, "%zu freed bytes are still allocated at offset %zu", sizes[at],
                  offset);
        }
    }
}

static void aligned_blocks_are_found(void)
{
    for (size_t alignment = 32; alignment <= 8 * MIB; alignment *= 2) {
        for (size_t size = 1; size <= 4 * MIB; size = size * 3 + 5) {
            void *block = hide(aligned_alloc(alignment, size));
            pymalloc_info info = inspect(block);
            CHECK(info.state == PYMALLOC_STATE_ALLOCATED && is_inside(block, size, info.block, info.block_size),
                  "aligned_alloc(%zu, %zu) at %p: state %d, block %p of %zu", alignment, size, block, (int)info.state,
                  info.block, info.block_size);
            CHECK(inspect(address_of(block) + size - 1).block == info.block,
                  "aligned_alloc(%zu, %zu): its last byte is in another block", alignment, size);
            free(block);
        }
    }
}

static void *inspect_for_another_thread(void *block)
{
    pymalloc_info info = inspect(block);
    CHECK(info.state == PYMALLOC_STATE_ALLOCATED && info.block == block, "another thread sees state %d of block %p",
          (int)info.state, block);
    free(hide(block));
    /* Freed by one thread, still to be collected by its owner: it must not look alive to either. */
    CHECK(inspect(block).state != PYMALLOC_STATE_ALLOCATED, "a block freed by another thread looks alive to that thread");
    return NULL;
}

static void other_threads_see_the_same(void)
{
    static const size_t sizes[] = {48, 3000, 100000, 2 * MIB};
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        void *neighbour = hide(malloc(sizes[at]));
        void *block = hide(malloc(sizes[at]));
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, inspect_for_another_thread, hide(block)) == 0, "pthread_create fails");
        pthread_join(thread, NULL);
        CHECK(inspect(block).state != PYMALLOC_STATE_ALLOCATED, "a block freed by another thread looks alive to its owner");
        free(neighbour);
    }
}

static char in_bss[4096];
static char in_data[4096] = {1};
static const char in_rodata[4096] = {1};

static void expect_foreign(const void *address, const char *what)
{
    pymalloc_info info = inspect(address);
    CHECK(info.kind == PYMALLOC_KIND_NONE, "%s (%p) is said to be the library's: kind %d", what, address,
          (int)info.kind);
}

static void foreign_addresses_are_not_ours(void)
{
    char on_stack[64];
    expect_foreign(NULL, "NULL");
    expect_foreign(on_stack, "the stack");
    expect_foreign(in_bss + 2048, "zeroed static data");
    expect_foreign(in_data + 2048, "static data");
    expect_foreign(in_rodata + 2048, "constant data");
    expect_foreign((const void *)(uintptr_t)&foreign_addresses_are_not_ours, "this program's code");
    expect_foreign((const void *)(uintptr_t)&dlsym, "the C library's code");
    expect_foreign(&errno, "thread-local data");

    char *mapped = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED, "mmap fails");
    expect_foreign(mapped, "the program's own mapping");
    expect_foreign(mapped + 2 * MIB + 16, "the middle of the program's own mapping");
    CHECK(mprotect(mapped, 4 * MIB, PROT_NONE) == 0, "mprotect fails");
    expect_foreign(mapped + MIB, "memory that cannot be read");
    munmap(mapped, 4 * MIB);
    expect_foreign(mapped + MIB, "unmapped memory");

    for (uintptr_t small = 1; small < 70000; small++)
        expect_foreign((const void *)small, "a small number");
    for (int shift = 47; shift < 64; shift++) {
        expect_foreign((const void *)((uintptr_t)1 << shift), "an address beyond user space");
        expect_foreign((const void *)(((uintptr_t)1 << shift) + 16), "an address beyond user space");
        expect_foreign((const void *)-((uintptr_t)1 << shift), "an address at the very top");
    }
    expect_foreign((const void *)(uintptr_t)0xdeadbeefdeadbeef, "a non-canonical address");
    expect_foreign((const void *)UINTPTR_MAX, "the last address");

    /* Live blocks with a wrong high half: a registry that looks only at the low bits would take them for its own. */
    char *block = hide(malloc(48));
    for (int bit = 47; bit < 64; bit++)
        expect_foreign((const void *)((uintptr_t)block ^ (uintptr_t)1 << bit), "a block's address with a bit flipped");
    free(block);
}

static void any_address_can_be_asked_about(void)
{
    uint64_t seed = 3;
    for (int at = 0; at < 300000; at++) {
        uint64_t bits = next_random(&seed);
        inspect((const void *)(uintptr_t)bits);
        inspect((const void *)(uintptr_t)(bits >> 17));
    }

    /* Each mapping of the process: those of files, the stack and the kernel are not the library's. */
    static char text[1 << 20];
    read_proc("/proc/self/maps", text, sizeof text);
    int foreign = 0, ours = 0;
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        unsigned long start, end;
        int name_at = 0;
        CHECK(sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &name_at) == 2, "/proc/self/maps: %.80s", line);
        const char *name = line + name_at;
        int is_foreign = *name == '/' || (*name == '[' && strncmp(name, "[anon", 5) != 0 && strncmp(name, "[heap", 5) != 0);
        size_t step = (end - start) / 64 + 16;
        for (unsigned long address = start; address < end && address >= start; address += step) {
            pymalloc_info info = inspect((const void *)address);
            CHECK(!is_foreign || info.kind == PYMALLOC_KIND_NONE, "%p is said to be the library's, in %.80s",
                  (const void *)address, line);
            ours += info.kind != PYMALLOC_KIND_NONE;
        }
        inspect((const void *)(start - 1));
        inspect((const void *)end);
        foreign += is_foreign;
    }
    CHECK(foreign > 3 && ours > 0, "/proc/self/maps has %d foreign mappings and %d addresses of the library", foreign, ours);
}

int main(void)
{
    require_pymalloc();
    layers_come_in_order();
    size_classes_waste_little();
    a_pool_is_carved_into_equal_blocks();
    blocks_are_untouched_then_allocated_then_free();
    other_layers_are_free_once_freed();
    aligned_blocks_are_found();
    other_threads_see_the_same();
    foreign_addresses_are_not_ours();
    any_address_can_be_asked_about();
    return 0;
}
