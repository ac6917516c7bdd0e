/*
 * Four threads allocate and free without pause, and fork 300 times in the middle of it.
 *
 * What must hold: a child, whose only thread is the one that forked, can do all that its parent could: allocate in every
 * layer, free blocks that it owns and blocks that threads it does not have owned, start threads, fork, and exit by either way;
 * and no process of them all hangs on a lock that a lost thread held. An alarm ends the ones that do.
 */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { THREADS = 4, FORKS_PER_THREAD = 75, SLOTS = 200, CHILD_SECONDS = 30, PARENT_SECONDS = 100 };

/* A block says how long it is, and the rest of it is filled with a pattern of that length. */
struct block {
    size_t size;
    unsigned char rest[];
};

/*
 * A slot holds a whole live block or none: a block is taken out before it is freed. So whatever a fork finds in
 * the slots of any thread is the child's to free.
 */
static _Atomic(struct block *) slots[THREADS][SLOTS];
static atomic_int forking = THREADS;

static struct block *new_block(uint64_t *seed)
{
    uint64_t kind = next_random(seed) % 400;
    size_t size = sizeof(struct block) + (kind < 380   ? random_between(seed, 0, 1000)
                                          : kind < 395 ? random_between(seed, 0, 30000)
                                          : kind < 399 ? random_between(seed, 0, 200000)
                                                       : random_between(seed, 0, 2 * MIB));
    struct block *block = malloc(size);
    CHECK(block != NULL, "malloc(%zu) fails", size);
    block->size = size;
    fill(block->rest, size - sizeof *block, size);
    return block;
}

static void end_block(struct block *block)
{
    if (!block)
        return;
    CHECK(is_filled(block->rest, block->size - sizeof *block, block->size), "block %p of %zu bytes was overwritten",
          (void *)block, block->size);
    free(block);
}

static void churn(int owner, uint64_t *seed, int rounds)
{
    for (int round = 0; round < rounds; round++) {
        /* One in four goes to another thread's slots, so that blocks are freed by others too. */
        int whose = next_random(seed) % 4 == 0 ? (int)(next_random(seed) % THREADS) : owner;
        _Atomic(struct block *) *slot = &slots[whose][next_random(seed) % SLOTS];
        struct block *found = atomic_exchange(slot, NULL);
        if (found)
            end_block(found);
        else
            end_block(atomic_exchange(slot, new_block(seed)));
    }
}

static void *child_thread(void *owner)
{
    uint64_t seed = (uint64_t)getpid();
    churn((int)(intptr_t)owner, &seed, 500);
    return NULL;
}

static void live_as_child(int owner, uint64_t seed, int depth);

static void fork_and_wait(int owner, uint64_t seed, int depth)
{
    pid_t child = fork();
    CHECK(child >= 0, "fork fails with errno %d", errno);
    if (child == 0)
        live_as_child(owner, seed, depth);
    int status;
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        ;
    CHECK(ended == child, "waitpid fails with errno %d", errno);
    CHECK(!WIFSIGNALED(status), "a child (depth %d) of thread %d was ended by signal %d%s", depth, owner, WTERMSIG(status),
          WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    CHECK(WEXITSTATUS(status) == 0, "a child (depth %d) of thread %d ended with status %d", depth, owner,
          WEXITSTATUS(status));
}

__attribute__((noreturn)) static void live_as_child(int owner, uint64_t seed, int depth)
{
    uint64_t way = next_random(&seed);
    if (way % 2)
        churn(owner, &seed, 300);
    /* Inherited blocks: of this thread, of those that are gone, and some that the fork caught on their way. */
    for (int whose = 0; whose < THREADS; whose++)
        for (int at = (int)(way >> 8 & 0xff) % 3; at < SLOTS; at += 2)
            end_block(atomic_exchange(&slots[whose][at], NULL));
    churn(owner, &seed, 300);
    if (depth == 1 && way / 2 % 4 == 0)
        fork_and_wait(owner, seed, depth + 1);
    if (way / 8 % 4 == 0) {
        pthread_t threads[2];
        for (intptr_t at = 0; at < 2; at++)
            CHECK(pthread_create(&threads[at], NULL, child_thread, (void *)at) == 0, "a child cannot start a thread");
        churn(owner, &seed, 300);
        if (depth == 1 && way / 32 % 2 == 0)
            fork_and_wait(owner, seed, depth + 1);
        for (int at = 0; at < 2; at++)
            pthread_join(threads[at], NULL);
    }
    malloc_trim(0);
    if (way / 64 % 2)
        exit(0);
    _exit(0);
}

/* Handlers of the program's own run inside the library's: outside of its locks, if it takes them last and drops them first. */
static void allocate_in_handler(void)
{
    uint64_t seed = 5;
    for (int at = 0; at < 20; at++)
        end_block(new_block(&seed));
}

/* A child does not inherit the alarm, and this is the first that it runs. */
static void allocate_in_child_handler(void)
{
    alarm(within(CHILD_SECONDS));
    allocate_in_handler();
}

static void *run(void *argument)
{
    int owner = (int)(intptr_t)argument;
    uint64_t seed = (uint64_t)owner + 100;
    for (int forked = 0; forked < FORKS_PER_THREAD; forked++) {
        churn(owner, &seed, (int)random_between(&seed, 1, 200));
        fork_and_wait(owner, next_random(&seed), 1);
    }
    atomic_fetch_sub(&forking, 1);
    while (atomic_load(&forking) > 0)
        churn(owner, &seed, 100);
    return NULL;
}

int main(void)
{
    require_pymalloc();
    alarm(within(PARENT_SECONDS));
    CHECK(pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_child_handler) == 0, "pthread_atfork fails");
    pthread_t threads[THREADS];
    for (intptr_t at = 0; at < THREADS; at++)
        CHECK(pthread_create(&threads[at], NULL, run, (void *)at) == 0, "pthread_create fails");
    for (int at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
    for (int whose = 0; whose < THREADS; whose++)
        for (int at = 0; at < SLOTS; at++)
            end_block(atomic_load(&slots[whose][at]));
    return 0;
}
