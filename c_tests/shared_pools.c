/*
 * Pools that several threads free into: shared_pools adopted | claimed | mixed | nearly | idle | kept.
 *
 * What must hold: a pool that two threads want at once, one to free a block of it, one to allocate from it, becomes that of
 * one of them and loses nothing; whoever frees the last block of a pool, its memory goes back; and what is free in a pool that its
 * thread left nearly full is counted as free, and serves whoever frees into that pool; a large block serves the thread that freed it, a
 * small one goes back to its owner, so that the two do not write to the same line of the cache.
 */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

static pthread_barrier_t meeting;

static void meet(void)
{
    pthread_barrier_wait(&meeting);
}

/*
 * A thread ends and leaves pools in which a block or two are live. At once one thread frees what was left to it, and another one
 * frees what was left to that, or allocates.
 */
struct leaving {
    int rounds, size;
    /* So many rows of blocks. Of each, the one at `place` is left to the first thread that frees, and the next to the second, if any. */
    int rows, in_row, place, freers;
};
enum { FREERS = 2, MOST_ROWS = 200, MOST_IN_ROW = 340 };
static void *left[FREERS][MOST_ROWS];
static const struct leaving *leaving;
static atomic_bool stop;

static void *leave_blocks(void *unused)
{
    static void *blocks[MOST_ROWS * MOST_IN_ROW];
    int count = leaving->rows * leaving->in_row;
    for (int at = 0; at < count; at++) {
        blocks[at] = hide(malloc(leaving->size));
        CHECK(blocks[at] != NULL, "malloc(%d) fails", leaving->size);
        *(int *)blocks[at] = at;
    }
    for (int at = 0; at < count; at++) {
        int freer = at % leaving->in_row - leaving->place;
        if (freer >= 0 && freer < leaving->freers)
            left[freer][at / leaving->in_row] = blocks[at];
        else
            free(blocks[at]);
    }
    return unused;
}

static void *free_what_was_left(void *freer)
{
    int rows = leaving->rows;
    for (;;) {
        meet();
        if (atomic_load(&stop))
            return NULL;
        for (int row = 0; row < rows; row++)
            free(left[(intptr_t)freer][row]);
        meet();
    }
}

static void leave_to_two(const struct leaving *what, void *(*second)(void *))
{
    pthread_t one, other, leaver;
    leaving = what;
    pthread_barrier_init(&meeting, NULL, 3);
    CHECK(pthread_create(&one, NULL, free_what_was_left, (void *)0) == 0, "pthread_create fails");
    CHECK(pthread_create(&other, NULL, second, (void *)1) == 0, "pthread_create fails");
    for (int round = 0; round < leaving->rounds; round++) {
        CHECK(pthread_create(&leaver, NULL, leave_blocks, NULL) == 0, "pthread_create fails");
        pthread_join(leaver, NULL);
        meet();
        meet();
    }
    atomic_store(&stop, true);
    meet();
    pthread_join(one, NULL);
    pthread_join(other, NULL);
}

/* Pools that have a live block each: as one thread frees it, another adopts the pool. */
enum { ROWS = 160, IN_ROW = 20, BLOCKS = ROWS * IN_ROW, BLOCK = 2000 };

static void *allocate_as_much(void *unused)
{
    static void *blocks[BLOCKS];
    for (;;) {
        meet();
        if (atomic_load(&stop))
            return unused;
        for (int at = 0; at < BLOCKS; at++)
            blocks[at] = hide(malloc(BLOCK));
        meet();
        /* Only now: the two threads must be as quick as can be while they meet in the same pools. */
        for (int at = 0; at < BLOCKS; at++)
            *(int *)blocks[at] = -at;
        for (int at = 0; at < BLOCKS; at++) {
            CHECK(*(int *)blocks[at] == -at, "new block %d was overwritten", at);
            free(blocks[at]);
        }
    }
}

static void adopted_and_freed_at_once(void)
{
    static const struct leaving single = {.rounds = 500, .size = BLOCK, .rows = ROWS, .in_row = IN_ROW, .place = 3, .freers = 1};
    leave_to_two(&single, allocate_as_much);
}

/* Pools that have two live blocks each, which two threads free: one claims, the other empties. */
static void claimed_by_two_at_once(void)
{
    /* A row fills a pool. */
    static const struct leaving pairs = {.rounds = 300, .size = 48, .rows = 200, .in_row = 340, .place = 100, .freers = 2};
    leave_to_two(&pairs, free_what_was_left);
}

/* Every pool is claimed by one thread, gets frees of another, which wait, and its last ones from the one that claimed it. */
enum { MIXED = 600000, SIZE = 100 };
static void *mixed[MIXED];

static void *free_the_rest(void *unused)
{
    for (int at = 0; at < MIXED; at += 3)
        free(mixed[at]);
    meet();
    meet();
    for (int at = 5; at < MIXED; at += 6)
        free(mixed[at]);
    meet();
    meet();
    return unused;
}

static void mixed_frees_leave_nothing(void)
{
    pthread_t other;
    pthread_barrier_init(&meeting, NULL, 2);
    size_t before = resident();
    for (int at = 0; at < MIXED; at++) {
        mixed[at] = malloc(SIZE);
        CHECK(mixed[at] != NULL, "malloc(%d) fails", SIZE);
        memset(mixed[at], 1, SIZE);
    }
    size_t full = resident();
    CHECK(full >= before + (size_t)MIXED * SIZE, "%d blocks take only %.1f MiB", MIXED, mib(full - before));
    CHECK(pthread_create(&other, NULL, free_the_rest, NULL) == 0, "pthread_create fails");
    meet();
    for (int at = 1; at < MIXED; at += 3)
        free(mixed[at]);
    for (int at = 2; at < MIXED; at += 6)
        free(mixed[at]);
    meet();
    meet();
    size_t after = resident();
    CHECK(after <= before + 12 * MIB, "nothing is live, yet %.1f MiB of %.1f are resident", mib(after), mib(full));
    meet();
    pthread_join(other, NULL);
}

/* A thread leaves pools of which one block in sixteen is free. */
enum { LEFT = 40000, LEFT_SIZE = 64, HOLE = 16 };
static char *nearly[LEFT];

static void *leave_nearly_full(void *unused)
{
    for (int at = 0; at < LEFT; at++)
        memset(nearly[at] = malloc(LEFT_SIZE), 1, LEFT_SIZE);
    for (int at = 0; at < LEFT; at += HOLE)
        free(nearly[at]);
    return unused;
}

static size_t bytes_in_use(void)
{
    pymalloc_stats stats;
    CHECK(((int (*)(pymalloc_stats *, size_t))find("pymalloc_stats_get"))(&stats, sizeof stats) == 0, "pymalloc_stats_get fails");
    return stats.bytes_in_use;
}

static void nearly_full_pools_serve_again(void)
{
    pthread_t leaver;
    size_t before = bytes_in_use(), live = LEFT - LEFT / HOLE;
    CHECK(pthread_create(&leaver, NULL, leave_nearly_full, NULL) == 0, "pthread_create fails");
    pthread_join(leaver, NULL);
    /* The thread's stack and what the C library keeps of it take less than the holes. */
    size_t in_use = bytes_in_use() - before;
    CHECK(in_use < live * LEFT_SIZE + LEFT / HOLE * LEFT_SIZE / 2, "%zu bytes in use, %zu live", in_use, live * LEFT_SIZE);
    /* One more of each pool. */
    const void *pool = NULL;
    int pools = 0;
    for (int at = 1; at < LEFT; at += at % HOLE == HOLE - 1 ? 2 : 1)
        if (inspect(nearly[at]).pool != pool) {
            pool = inspect(nearly[at]).pool;
            pools++;
            free(nearly[at]);
            nearly[at] = NULL;
        }
    /* Some come from elsewhere: from the pools that the class has in this thread. */
    int wanted = LEFT / HOLE + pools, from_holes = 0;
    char **blocks = malloc(2 * wanted * sizeof *blocks);
    for (int at = 0; at < 2 * wanted; at++)
        memset(blocks[at] = malloc(LEFT_SIZE), 2, LEFT_SIZE);
    for (int at = 0; at < LEFT; at += HOLE) {
        from_holes += nearly[at][0] == 2;
        nearly[at] = NULL;
    }
    CHECK(from_holes == LEFT / HOLE, "%d of %d free blocks serve again", from_holes, LEFT / HOLE);
    for (int at = 0; at < LEFT; at++)
        for (int byte = 0; nearly[at] && byte < LEFT_SIZE; byte++)
            CHECK(nearly[at][byte] == 1, "live block %d was overwritten", at);
    for (int at = 0; at < 2 * wanted; at++)
        free(blocks[at]);
    for (int at = 0; at < LEFT; at++)
        free(nearly[at]);
    free(blocks);
    CHECK(bytes_in_use() < before + LEFT_SIZE * 1024, "nothing is live, yet %zu bytes are in use", bytes_in_use() - before);
}

/* Threads that never allocate, but that free for the C library what others left when everything else of them has ended: their
 * stacks are so large that it keeps only a few. */
static void *do_nothing(void *unused)
{
    meet();
    return unused;
}

static void threads_that_never_allocate_leave_nothing(void)
{
    enum { AT_ONCE = 16, TIMES = 150, WARM_UP = 20 };
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_barrier_init(&meeting, NULL, AT_ONCE + 1);
    size_t then = 0;
    for (int time = 0; time < TIMES; time++) {
        for (int at = 0; at < AT_ONCE; at++) {
            pthread_t thread;
            CHECK(pthread_create(&thread, &detached, do_nothing, NULL) == 0, "pthread_create fails");
        }
        meet();
        usleep(2000);
        if (time == WARM_UP)
            then = address_space();
    }
    size_t now_mapped = address_space();
    CHECK(now_mapped <= then + 256 * MIB, "address space grows with the number of threads: from %.1f to %.1f MiB", mib(then),
          mib(now_mapped));
}

/* The other thread has blocks of both sizes of its own, so that it has a bin of each. */
enum { SMALL = 64, LARGE = 4000 };
static void *handed_over[2], *served[2];

static void *free_and_allocate(void *unused)
{
    void *own[] = {hide(malloc(SMALL)), hide(malloc(LARGE))};
    CHECK(own[0] != NULL && own[1] != NULL, "malloc fails");
    for (int i = 0; i < 2; i++) {
        free(handed_over[i]);
        served[i] = hide(malloc(i == 0 ? SMALL : LARGE));
        CHECK(served[i] != NULL, "malloc fails");
    }
    for (int i = 0; i < 2; i++) {
        free(served[i]);
        free(own[i]);
    }
    return unused;
}

static void large_blocks_serve_whoever_frees_them(void)
{
    /* Its pools are the first thread's as long as they have more to give. */
    handed_over[0] = hide(malloc(SMALL));
    handed_over[1] = hide(malloc(LARGE));
    void *rest[] = {hide(malloc(SMALL)), hide(malloc(LARGE))};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, free_and_allocate, NULL) == 0, "no thread");
    CHECK(pthread_join(thread, NULL) == 0, "no end of the thread");
    CHECK(served[1] == handed_over[1], "the large block %p was not served again, but %p", handed_over[1], served[1]);
    CHECK(served[0] != handed_over[0], "the small block %p was served to another thread", handed_over[0]);
    free(rest[0]);
    free(rest[1]);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    const char *which = count == 2 ? arguments[1] : "";
    if (strcmp(which, "adopted") == 0)
        adopted_and_freed_at_once();
    else if (strcmp(which, "claimed") == 0)
        claimed_by_two_at_once();
    else if (strcmp(which, "mixed") == 0)
        mixed_frees_leave_nothing();
    else if (strcmp(which, "nearly") == 0)
        nearly_full_pools_serve_again();
    else if (strcmp(which, "idle") == 0)
        threads_that_never_allocate_leave_nothing();
    else if (strcmp(which, "kept") == 0)
        large_blocks_serve_whoever_frees_them();
    else
        CHECK(0, "usage: shared_pools adopted | claimed | mixed | nearly | idle | kept");
    return 0;
}
