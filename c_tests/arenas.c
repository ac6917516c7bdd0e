/*
 * The story of the arenas, told by pymalloc_inspect and by the kernel: arenas KEPT, where KEPT is how many wholly empty
 * arenas may stay mapped (1, or 0 with the setting empty_arenas=0).
 *
 * What must hold: new pools come from the arena that has the fewest free ones, so that nearly empty arenas drain; an arena
 * whose last pool is freed is unmapped, but for KEPT of them; an emptied pool serves any size class.
 */
#include "check.h"

#include <sys/mman.h>

enum { MOST_BLOCKS = 200000, MOST_ARENAS = 64, MOST_POOLS = 128 };
/* The filling class and the one that asks for new pools: neither is used by the C library. Both have pools of one slot. */
enum { FILLING = 240, ASKING = 432 };
/*
 * Empty pools that a thread may keep until malloc_trim, besides the one that each class allocates from. They keep their
 * arenas.
 */
enum { KEPT_POOLS = 4 };

static struct block {
    char *start;
    int arena;
    const void *pool;
} blocks[MOST_BLOCKS];
static int block_count;

/* The arenas that the blocks have been seen in, in the order of their first block. */
static struct {
    const char *start;
    int pools;
} arenas[MOST_ARENAS];
static int arena_count;

static size_t arena_size, slot_size;
/* What inspect calls free in an arena that has no free pool: the slots of the header. */
static int header_slots;

static int number_of_arena(const void *start)
{
    for (int at = 0; at < arena_count; at++)
        if (arenas[at].start == start)
            return at;
    return -1;
}

/* Allocates a block of the filling class and notes where it is. */
static const struct block *add_block(void)
{
    CHECK(block_count < MOST_BLOCKS, "%d blocks of %d bytes do not fill the arenas", MOST_BLOCKS, FILLING);
    struct block *block = &blocks[block_count++];
    block->start = malloc(FILLING);
    CHECK(block->start != NULL, "malloc(%d) fails", FILLING);
    memset(block->start, block_count, FILLING);
    pymalloc_info info = inspect(block->start);
    CHECK(info.kind == PYMALLOC_KIND_POOL, "a block of %d bytes is not in a pool", FILLING);
    arena_size = info.arena_size;
    slot_size = info.pool_size;
    block->pool = info.pool;
    block->arena = number_of_arena(info.arena);
    if (block->arena < 0) {
        CHECK(arena_count < MOST_ARENAS, "more than %d arenas", MOST_ARENAS);
        block->arena = arena_count;
        arenas[arena_count++].start = info.arena;
    }
    if (block_count == 1 || block->pool != block[-1].pool)
        arenas[block->arena].pools++;
    return block;
}

static int is_mapped(int arena)
{
    unsigned char present;
    int mapped = mincore((void *)(uintptr_t)arenas[arena].start, 1, &present) == 0;
    CHECK(mapped || errno == ENOMEM, "mincore fails with errno %d", errno);
    pymalloc_kind kind = inspect(arenas[arena].start).kind;
    CHECK(mapped || kind == PYMALLOC_KIND_NONE, "arena %p is unmapped, but inspect says kind %d", (const void *)arenas[arena].start,
          (int)kind);
    return mapped && kind == PYMALLOC_KIND_ARENA;
}

static int slots_without_pool(int arena)
{
    int slots = 0;
    for (size_t offset = 0; offset < arena_size; offset += slot_size)
        slots += inspect(arenas[arena].start + offset).kind == PYMALLOC_KIND_ARENA;
    return slots;
}

static int free_pools(int arena)
{
    return is_mapped(arena) ? slots_without_pool(arena) - header_slots : 0;
}

/* Frees all blocks of the filling class in `count` pools of an arena. */
static void free_pools_of(int arena, int count)
{
    const void *pools[MOST_POOLS];
    int found = 0;
    for (int at = 0; at < block_count; at++) {
        struct block *block = &blocks[at];
        if (block->arena != arena || !block->start)
            continue;
        int known = 0;
        while (known < found && pools[known] != block->pool)
            known++;
        if (known == found) {
            if (found == count)
                continue;
            CHECK(found < MOST_POOLS, "more than %d pools in an arena", MOST_POOLS);
            pools[found++] = block->pool;
        }
        free(block->start);
        block->start = NULL;
    }
    CHECK(found == count, "arena %d has %d pools to free, not %d", arena, found, count);
}

static int mapped_and_empty(int capacity)
{
    int empty = 0;
    for (int arena = 0; arena < arena_count; arena++)
        empty += is_mapped(arena) && free_pools(arena) == capacity;
    return empty;
}

enum { FIRST_FULLER = 2, FULLER = 8, FIRST_EMPTIER = 12, EMPTIER = 16, WANTED = 30 };

static int fill_arenas(void)
{
    while (arena_count <= WANTED)
        add_block();
    /* The first and the last arena hold other things, and are not filled by us alone. */
    int capacity = arenas[1].pools;
    CHECK(capacity >= 16, "an arena has room for %d pools", capacity);
    for (int arena = 1; arena < WANTED; arena++)
        CHECK(arenas[arena].pools == capacity, "arena %d got %d pools, another %d, before the next arena was begun", arena,
              arenas[arena].pools, capacity);
    header_slots = slots_without_pool(1);
    CHECK(header_slots + capacity == (int)(arena_size / slot_size), "an arena of %zu slots has %d pools and %d slots of headers",
          arena_size / slot_size, capacity, header_slots);
    /* Fill the last one as well, up to the block that begins yet another, and drop that one: no arena has a free pool now. */
    while (arena_count <= WANTED + 1)
        add_block();
    free(blocks[--block_count].start);
    return capacity;
}

static int pools_kept_back(int capacity)
{
    int kept_back = 0;
    for (int at = 0; at < FULLER; at++)
        kept_back += at + 1 - free_pools(FIRST_FULLER + at);
    for (int at = 0; at < EMPTIER; at++)
        kept_back += capacity - 1 - free_pools(FIRST_EMPTIER + at);
    return kept_back;
}

/* Fuller arenas with 1, 2, 3... free pools; emptier ones with a single pool left. */
static void free_unevenly(int capacity)
{
    for (int at = 0; at < FULLER; at++)
        free_pools_of(FIRST_FULLER + at, at + 1);
    for (int at = 0; at < EMPTIER; at++)
        free_pools_of(FIRST_EMPTIER + at, capacity - 1);
    int kept_back = pools_kept_back(capacity);
    CHECK(kept_back >= 0 && kept_back <= KEPT_POOLS + 1, "%d emptied pools did not go back to their arenas", kept_back);
    malloc_trim(0);
    kept_back = pools_kept_back(capacity);
    CHECK(kept_back == 0, "after malloc_trim %d emptied pools did not go back to their arenas", kept_back);
}

/* Asks for pools of another class, and sees each of them come from the fullest arena. */
static int new_pools_come_from_the_fullest(char **asked, int most)
{
    int count = 0, pools = 0;
    const void *last_pool = NULL;
    while (pools < FULLER * (FULLER + 1) / 2 + 5) {
        int free_before[MOST_ARENAS], fewest = MOST_POOLS;
        for (int arena = 0; arena < arena_count; arena++) {
            free_before[arena] = free_pools(arena);
            if (free_before[arena] > 0 && free_before[arena] < fewest)
                fewest = free_before[arena];
        }
        /* As many blocks as it takes to fill the pool at hand and begin the next. */
        pymalloc_info info;
        do {
            CHECK(count < most, "%d blocks of %d bytes ask for %d pools only", count, ASKING, pools);
            asked[count] = malloc(ASKING);
            CHECK(asked[count] != NULL, "malloc(%d) fails", ASKING);
            info = inspect(asked[count++]);
        } while (info.pool == last_pool);
        last_pool = info.pool;
        int arena = number_of_arena(info.arena);
        CHECK(arena >= 0, "a new arena is begun while there are arenas with free pools");
        if (free_before[arena] == free_pools(arena))
            continue; /* A pool of this class that was there before. */
        pools++;
        CHECK(free_before[arena] == fewest, "new pool %d is taken from an arena with %d free ones, though another has %d", pools,
              free_before[arena], fewest);
    }
    for (int at = 0; at < FULLER; at++)
        CHECK(free_pools(FIRST_FULLER + at) == 0, "arena %d still has a free pool, yet emptier ones were used", FIRST_FULLER + at);
    return count;
}

static int emptied_and_mapped(void)
{
    int mapped = 0;
    for (int at = 0; at < EMPTIER; at++)
        mapped += is_mapped(FIRST_EMPTIER + at);
    return mapped;
}

static void emptied_arenas_are_unmapped(int capacity, int kept)
{
    for (int at = 0; at < EMPTIER; at++) {
        free_pools_of(FIRST_EMPTIER + at, 1);
        int empty = mapped_and_empty(capacity);
        CHECK(empty <= kept, "%d wholly empty arenas are mapped, not at most %d", empty, kept);
    }
    int mapped = emptied_and_mapped();
    CHECK(mapped <= kept + KEPT_POOLS + 1, "%d of %d emptied arenas are still mapped", mapped, EMPTIER);
    malloc_trim(0);
    mapped = emptied_and_mapped();
    CHECK(mapped == 0, "after malloc_trim %d of %d emptied arenas are still mapped", mapped, EMPTIER);
    for (int at = 0; at < FULLER; at++)
        CHECK(is_mapped(FIRST_FULLER + at), "arena %d is in use, yet unmapped", FIRST_FULLER + at);
}

static void all_blocks_are_intact(void)
{
    for (int at = 0; at < block_count; at++)
        for (int byte = 0; blocks[at].start && byte < FILLING; byte++)
            CHECK(blocks[at].start[byte] == (char)(at + 1), "block %d at %p was overwritten", at, (void *)blocks[at].start);
}

static int mapped_arenas(void)
{
    int mapped = 0;
    for (int arena = 0; arena < arena_count; arena++)
        mapped += is_mapped(arena);
    return mapped;
}

/* The blocks of one pool, which are born and die together. */
enum { MOST_GROUPS = 3000, MOST_IN_GROUP = 128 };
static struct group {
    char *blocks[MOST_IN_GROUP];
    int count;
} groups[MOST_GROUPS];

static void end_group(struct group *group)
{
    while (group->count > 0)
        free(group->blocks[--group->count]);
}

/* All pools of a class stay full, so that the next block of the class begins a new one. */
static void begin_group(struct group *group, size_t size)
{
    pymalloc_info info;
    int capacity;
    do {
        char *block = group->blocks[group->count++] = malloc(size);
        CHECK(block != NULL, "malloc(%zu) fails", size);
        *block = 1;
        info = inspect(block);
        capacity = (int)(info.pool_size / info.block_size);
        CHECK(capacity <= MOST_IN_GROUP, "a pool has room for %d blocks", capacity);
    } while (group->count < capacity);
    if (number_of_arena(info.arena) < 0) {
        CHECK(arena_count < MOST_ARENAS, "more than %d arenas", MOST_ARENAS);
        arenas[arena_count++].start = info.arena;
    }
}

/*
 * Years of a long-lived program in short: groups of blocks die at random while as many are born, in sizes that change with
 * time. Most of the peak is gone; what is left of it lies thinly in every arena; and yet the arenas must come down to what
 * is live, because new groups settle in the fuller ones.
 */
static void thinly_used_arenas_drain(int kept)
{
    uint64_t seed = 4;
    int count = 0;
    while (mapped_arenas() < 24) {
        CHECK(count < MOST_GROUPS, "%d groups do not fill 24 arenas", count);
        begin_group(&groups[count++], FILLING);
    }
    int peak = mapped_arenas(), live = 0;
    for (int at = 0; at < count; at++) {
        if (next_random(&seed) % 4 == 0)
            groups[live++] = groups[at];
        else
            end_group(&groups[at]);
    }
    int before = mapped_arenas();
    for (int step = 0; step < 40 * live; step++) {
        struct group *group = &groups[next_random(&seed) % (uint64_t)live];
        end_group(group);
        begin_group(group, FILLING - 64 + (size_t)(step / live % 8) * 16);
    }
    int after = mapped_arenas(), needed = live / (int)(arena_size / slot_size - 1) + 1;
    say(STDOUT_FILENO, "%d arenas at the peak, %d when most is freed, %d after the churn, for blocks that fill %d\n", peak, before,
        after, needed);
    CHECK(after <= needed + needed / 4 + 1 + kept, "%d arenas stay mapped for blocks that fill %d", after, needed);
    for (int at = 0; at < live; at++)
        end_group(&groups[at]);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    CHECK(count == 2, "usage: %s KEPT", arguments[0]);
    if (!getenv("PYMALLOC_CONF")) {
        /* What is retained keeps empty arenas mapped for a while: begin anew without that. */
        CHECK(setenv("PYMALLOC_CONF", "retain=0", 1) == 0, "setenv fails: errno %d", errno);
        execv("/proc/self/exe", arguments);
        FAIL("the program cannot begin anew: errno %d", errno);
    }
    int kept = atoi(arguments[1]);
    static char *asked[MOST_BLOCKS];

    int capacity = fill_arenas();
    free_unevenly(capacity);
    int asked_count = new_pools_come_from_the_fullest(asked, MOST_BLOCKS);
    all_blocks_are_intact();
    while (asked_count > 0)
        free(asked[--asked_count]);
    emptied_arenas_are_unmapped(capacity, kept);
    all_blocks_are_intact();
    for (int at = 0; at < block_count; at++)
        free(blocks[at].start);
    thinly_used_arenas_drain(kept);

    /* In the end, all of ours is gone; the C library's own blocks are in the first arena. */
    malloc_trim(0);
    int left = mapped_arenas();
    CHECK(left <= 1, "all is freed, yet %d arenas are mapped", left);
    return 0;
}
