/*
 * Wholly free pages inside pools that are in use: pages drop | others | fork | locked | marks; and misuse of a freed block whose
 * first page is gone, or only its last: pages purged CALL SIZE | purged-end CALL SIZE.
 *
 * What must hold after a fragmented drop, in which a block here and there survives:
 *
 * - What is resident is at most what is promised (bound).
 * - The survivors keep every byte, whatever they hold. So do blocks that are allocated into the holes, which take no more memory
 *   than there was.
 * - So it is when other threads, or a forked child, go on with the pools; and where the system refuses to take pages (locked
 *   memory), nothing is lost.
 * - A freed block whose page is gone is still known to be free.
 */
#include "calls.h"
#include "page_floor.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/wait.h>

/* One block in so many survives. */
enum { SOME = 20, FEW = 400 };

/* Blocks of one size, at most so many bytes. Block `at` holds the pattern of its number; it is NULL while it is free. */
struct set {
    size_t bytes, size, count;
    char **blocks;
    /* The order in which they are freed. */
    uint32_t *order;
};

static struct set new_set(size_t bytes, size_t smallest)
{
    size_t most = bytes / smallest;
    return (struct set){.bytes = bytes, .blocks = map_array(most, sizeof(char *)), .order = map_array(most, sizeof(uint32_t))};
}

static void fill_holes(struct set *set)
{
    for (size_t at = 0; at < set->count; at++) {
        if (set->blocks[at])
            continue;
        set->blocks[at] = malloc(set->size);
        CHECK(set->blocks[at] != NULL, "malloc(%zu) fails", set->size);
        fill(set->blocks[at], set->size, at);
    }
}

static void fill_set(struct set *set, size_t size)
{
    set->size = size;
    set->count = set->bytes / size;
    fill_holes(set);
}

static void check_block(const struct set *set, size_t at)
{
    CHECK(is_filled(set->blocks[at], set->size, at), "block %p of %zu bytes is not what it was", (void *)set->blocks[at],
          set->size);
}

static void check_blocks(const struct set *set)
{
    for (size_t at = 0; at < set->count; at++)
        if (set->blocks[at])
            check_block(set, at);
}

static void put_in_order(struct set *set, bool by_address)
{
    uint64_t state = set->size;
    for (size_t at = 0; at < set->count; at++)
        set->order[at] = (uint32_t)at;
    for (size_t at = 0; !by_address && at < set->count; at++) {
        size_t other = random_between(&state, at, set->count - 1);
        uint32_t third = set->order[at];
        set->order[at] = set->order[other];
        set->order[other] = third;
    }
}

/* One block in so many, scattered; none if 0. */
static bool survives(size_t at, size_t one_in)
{
    uint64_t state = at;
    return one_in > 0 && next_random(&state) % one_in == 0;
}

/* Frees the others. Blocks were allocated in the order of addresses, almost. */
static void drop(struct set *set, size_t one_in, bool by_address)
{
    put_in_order(set, by_address);
    for (size_t next = 0; next < set->count; next++) {
        size_t at = set->order[next];
        if (!set->blocks[at] || survives(at, one_in))
            continue;
        check_block(set, at);
        free(set->blocks[at]);
        set->blocks[at] = NULL;
    }
}

static void check_promise(const struct set *set, size_t before, const char *when)
{
    begin_floor();
    for (size_t at = 0; at < set->count; at++)
        if (set->blocks[at])
            add_to_floor(set->blocks[at], set->size);
    size_t floor = end_floor(), found = resident_since(before);
    say(STDOUT_FILENO, "%zu bytes, %s: page floor %.1f MiB, resident %.1f, allowed %.1f\n", set->size, when, mib(floor), mib(found),
        mib(bound(floor)));
    CHECK(found <= bound(floor), "%zu bytes, %s: %.1f MiB are resident, with a page floor of %.1f", set->size, when, mib(found),
          mib(floor));
}

static void drop_and_refill(struct set *set, size_t before, size_t size, size_t one_in, bool by_address)
{
    fill_set(set, size);
    size_t peak = resident_since(before), arenas = mallinfo2().usmblks;
    drop(set, one_in, by_address);
    check_promise(set, before, by_address ? "dropped by address" : "dropped at random");
    check_blocks(set);
    fill_holes(set);
    check_blocks(set);
    size_t again = resident_since(before);
    CHECK(again <= peak + MIB, "%zu bytes, holes filled: %.1f MiB are resident, first %.1f", size, mib(again), mib(peak));
    CHECK(mallinfo2().usmblks == arenas, "%zu bytes, holes filled: %.1f MiB of arenas, first %.1f", size, mib(mallinfo2().usmblks),
          mib(arenas));
    drop(set, 0, by_address);
    check_promise(set, before, "nothing left");
}

static void drops(void)
{
    static const size_t sizes[] = {16, 48, 100, 512, 1024, 2048, 3000, 6000, 20000};
    struct set set = new_set(32 * MIB, 16);
    size_t before = resident();
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        drop_and_refill(&set, before, sizes[at], SOME, true);
        drop_and_refill(&set, before, sizes[at], SOME, false);
        drop_and_refill(&set, before, sizes[at], FEW, true);
        drop_and_refill(&set, before, sizes[at], FEW, false);
    }
}

/* A thread that makes a drop, and then sleeps or ends. */
struct dropper {
    pthread_t thread;
    struct set set;
    size_t size;
    bool sleeps;
    sem_t dropped, wake;
};

static void *make_drop(void *one)
{
    struct dropper *dropper = one;
    fill_set(&dropper->set, dropper->size);
    drop(&dropper->set, SOME, false);
    sem_post(&dropper->dropped);
    if (!dropper->sleeps)
        return NULL;
    sem_wait(&dropper->wake);
    fill_holes(&dropper->set);
    check_blocks(&dropper->set);
    drop(&dropper->set, 0, true);
    return NULL;
}

static void start_dropper(struct dropper *dropper, size_t size, bool sleeps)
{
    dropper->size = size;
    dropper->sleeps = sleeps;
    sem_init(&dropper->dropped, 0, 0);
    sem_init(&dropper->wake, 0, 0);
    CHECK(pthread_create(&dropper->thread, NULL, make_drop, dropper) == 0, "pthread_create fails");
    sem_wait(&dropper->dropped);
    if (!sleeps)
        pthread_join(dropper->thread, NULL);
}

static void end_dropper(struct dropper *dropper)
{
    if (!dropper->sleeps)
        return;
    sem_post(&dropper->wake);
    pthread_join(dropper->thread, NULL);
}

/* What one thread has dropped, another one drops further, fills and drops for good. */
static void another_goes_on(struct dropper *dropper, size_t before, size_t size, bool sleeps)
{
    struct set *set = &dropper->set;
    start_dropper(dropper, size, sleeps);
    check_promise(set, before, sleeps ? "owner asleep" : "owner gone");
    drop(set, FEW, false);
    check_promise(set, before, "dropped further");
    check_blocks(set);
    fill_holes(set);
    check_blocks(set);
    drop(set, FEW, false);
    check_promise(set, before, "filled and dropped");
    check_blocks(set);
    if (!sleeps)
        drop(set, 0, false);
    end_dropper(dropper);
    check_promise(set, before, "nothing left");
}

static void others(void)
{
    static const size_t sizes[] = {100, 512, 2048, 6000};
    struct dropper dropper = {.set = new_set(32 * MIB, 48)};
    size_t before = resident();
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        another_goes_on(&dropper, before, sizes[at], false);
        another_goes_on(&dropper, before, sizes[at], true);
    }
}

/* In a child: whatever was the parent's, of its own thread or of another one, is the child's to use. */
static void use_all(struct set *one, struct set *other)
{
    for (int time = 0; time < 2; time++) {
        fill_holes(one);
        fill_holes(other);
        check_blocks(one);
        check_blocks(other);
        drop(one, FEW, false);
        drop(other, SOME, true);
    }
}

/* And to free. Then no pool is left in use. The first call takes over what the lost thread had. */
static void free_all(struct set *one, struct set *other, size_t arenas)
{
    malloc_trim(0);
    drop(other, 0, false);
    drop(one, 0, true);
    malloc_trim(0);
    CHECK(mallinfo2().arena <= arenas + MIB, "%zu bytes: all is freed, yet %.1f MiB of arenas are mapped, before %.1f", one->size,
          mib(mallinfo2().arena), mib(arenas));
}

static void forks(void)
{
    static const size_t sizes[] = {48, 512, 3000};
    struct set set = new_set(32 * MIB, 48);
    struct dropper dropper = {.set = new_set(32 * MIB, 48)};
    size_t arenas = mallinfo2().arena;
    for (size_t at = 0; at < 2 * COUNT_OF(sizes); at++) {
        size_t size = sizes[at / 2];
        fill_set(&set, size);
        start_dropper(&dropper, size, true);
        drop(&set, SOME, false);
        pid_t child = fork();
        CHECK(child >= 0, "fork fails: errno %d", errno);
        if (child == 0) {
            if (at % 2)
                use_all(&set, &dropper.set);
            free_all(&set, &dropper.set, arenas);
            exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child, "waitpid fails: errno %d", errno);
        CHECK(status == 0, "%zu bytes: the child ends with wait status %#x", size, status);
        fill_holes(&set);
        check_blocks(&set);
        check_blocks(&dropper.set);
        end_dropper(&dropper);
        drop(&set, 0, true);
    }
}

/* What a free block has in its second word, beyond its address. */
static uint64_t mark_of_free_blocks(void)
{
    uint64_t marks[2];
    for (int at = 0; at < 2; at++) {
        char *block = hide(malloc(48));
        free(hide(block));
        memcpy(&marks[at], (char *)hide(block) + 8, 8);
        marks[at] -= (uintptr_t)block;
    }
    CHECK(marks[0] == marks[1], "free blocks are not marked by their address, but by %#lx and %#lx", (unsigned long)marks[0],
          (unsigned long)marks[1]);
    return marks[0];
}

/* Survivors that look like free blocks: programs copy what they find in memory. */
static void survivors_with_marks(void)
{
    static const size_t sizes[] = {48, 512, 3000};
    struct set set = new_set(32 * MIB, 48);
    uint64_t mark = mark_of_free_blocks();
    for (size_t which = 0; which < COUNT_OF(sizes); which++) {
        fill_set(&set, sizes[which]);
        for (size_t at = 0; at < set.count; at++) {
            uint64_t word = (uintptr_t)set.blocks[at] + mark;
            if (survives(at, SOME))
                memcpy(set.blocks[at] + 8, &word, 8);
        }
        drop(&set, SOME, false);
        for (size_t at = 0; at < set.count; at++) {
            if (!set.blocks[at])
                continue;
            uint64_t word, own[2];
            memcpy(&word, set.blocks[at] + 8, 8);
            CHECK(word == (uintptr_t)set.blocks[at] + mark, "block %p of %zu bytes is not what it was", (void *)set.blocks[at],
                  set.size);
            fill(own, sizeof own, at);
            memcpy(set.blocks[at] + 8, &own[1], 8);
            check_block(&set, at);
            if (at % 2) {
                memcpy(set.blocks[at] + 8, &word, 8);
                free(set.blocks[at]);
                set.blocks[at] = NULL;
            }
        }
        fill_holes(&set);
        check_blocks(&set);
        drop(&set, 0, true);
    }
}

static bool may_map(size_t bytes)
{
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mapping != MAP_FAILED && munmap(mapping, bytes) == 0;
}

static void locked(void)
{
    static const size_t sizes[] = {48, 512, 3000};
    struct set set = new_set(32 * MIB, 48);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0 || !may_map(4 * set.bytes)) {
        say(STDOUT_FILENO, "skipped: this user may not lock so much memory\n");
        munlockall();
        return;
    }
    size_t before = resident();
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        fill_set(&set, sizes[at]);
        size_t peak = resident_since(before);
        drop(&set, SOME, false);
        check_blocks(&set);
        fill_holes(&set);
        check_blocks(&set);
        size_t again = resident_since(before);
        CHECK(again <= peak + MIB, "%zu bytes, holes filled: %.1f MiB are resident, first %.1f", sizes[at], mib(again), mib(peak));
        drop(&set, 0, true);
    }
    /* What was refused then is not forgotten. */
    CHECK(munlockall() == 0, "munlockall fails: errno %d", errno);
    malloc_trim(0);
    check_promise(&set, before, "unlocked, nothing left");
}

/*
 * Sizes fall: among very many pools with nothing new to find, those with freed blocks are scanned all the same, so that no more is dirty
 * than the budget allows.
 */
static void falling(void)
{
    enum { COUNT = 40000, REPLACED = 2 * COUNT, STEP = 1000 };
    int (*get)(pymalloc_stats *, size_t) = (int (*)(pymalloc_stats *, size_t))find("pymalloc_stats_get");
    char **blocks = map_array(COUNT, sizeof *blocks);
    uint64_t random = 1;
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = malloc(random_between(&random, 8 * KIB, 12 * KIB));
    for (size_t low = 4 * KIB; low >= KIB; low /= 2) {
        for (size_t i = 1; i <= REPLACED; i++) {
            size_t place = random_between(&random, 0, COUNT - 1);
            free(blocks[place]);
            blocks[place] = malloc(random_between(&random, low, low + low / 2));
            pymalloc_stats stats;
            if (i % STEP != 0)
                continue;
            CHECK(get(&stats, sizeof stats) == 0, "no figures");
            CHECK(stats.budget_used_bytes <= stats.budget_bytes + MIB, "%zu bytes and more, %zu replaced: %.1f MiB wait for a scan or to go back, %.1f may",
                  low, i, mib(stats.budget_used_bytes), mib(stats.budget_bytes));
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static bool is_resident(const void *address)
{
    uintptr_t page = (uintptr_t)address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    unsigned char present;
    CHECK(mincore((void *)page, 1, &present) == 0, "mincore(%p) fails: errno %d", address, errno);
    return present & 1;
}

/* A freed block whose first page was purged, or whose last one was and not its first, in a pool that is in use. */
static void *purged_block(size_t size, bool only_end)
{
    struct set set = new_set(32 * MIB, size);
    fill_set(&set, size);
    char **were = map_array(set.count, sizeof *were);
    memcpy(were, set.blocks, set.count * sizeof *were);
    drop(&set, SOME, false);
    for (size_t at = set.count / 2; at < set.count; at++)
        if (!set.blocks[at] && inspect(were[at]).kind == PYMALLOC_KIND_POOL && is_resident(were[at]) == only_end &&
            !is_resident(were[at] + size - 1))
            return were[at];
    FAIL("no such page of a pool of %zu-byte blocks was purged", size);
}

int main(int argument_count, char **arguments)
{
    require_pymalloc();
    want_small_pages();
    const char *which = argument_count > 1 ? arguments[1] : "";
    if (argument_count == 4 && (strcmp(which, "purged") == 0 || strcmp(which, "purged-end") == 0)) {
        const struct call *call = prepare_call(arguments[2]);
        misuse(call, purged_block(strtoull(arguments[3], NULL, 0), strcmp(which, "purged-end") == 0));
        return 0;
    }
    forbid_retaining(arguments);
    if (strcmp(which, "drop") == 0)
        drops();
    else if (strcmp(which, "others") == 0)
        others();
    else if (strcmp(which, "fork") == 0)
        forks();
    else if (strcmp(which, "locked") == 0)
        locked();
    else if (strcmp(which, "marks") == 0)
        survivors_with_marks();
    else if (strcmp(which, "falling") == 0)
        falling();
    else
        CHECK(0, "usage: pages drop | others | fork | locked | marks | falling | purged CALL SIZE | purged-end CALL SIZE");
    return 0;
}
