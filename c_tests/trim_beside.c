/*
 * malloc_trim in a thread with much to give back, while others begin, end and fork.
 *
 * What must hold: a trim holds nobody up. Threads get their first block, end, and processes fork, all of that while one trim goes on.
 */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { BLOCK = 64, BLOCKS = 1 << 21, TRIMS = 4, LEAST = 5, SECONDS = 60 };

static atomic_int trims_begun, trims_ended;
static void *blocks[BLOCKS];

/* The trim that goes on, or 0. */
static int trim_under_way(void)
{
    int ended = atomic_load(&trims_ended);
    int begun = atomic_load(&trims_begun);
    return begun > ended ? begun : 0;
}

/* Every other page of what is allocated here comes free: it is kept by the setting, until it is trimmed. */
static void *trim(void *unused)
{
    const int page = 4096 / BLOCK;
    for (int times = 0; times < TRIMS; times++) {
        for (int at = 0; at < BLOCKS; at++)
            if (!blocks[at])
                CHECK((blocks[at] = malloc(BLOCK)) != NULL, "malloc fails");
        for (int at = 0; at < BLOCKS; at++)
            if (at / page % 2) {
                free(blocks[at]);
                blocks[at] = NULL;
            }
        atomic_fetch_add(&trims_begun, 1);
        malloc_trim(0);
        atomic_fetch_add(&trims_ended, 1);
    }
    return unused;
}

static void *allocate(void *unused)
{
    free(hide(malloc(100)));
    return unused;
}

static void begin_and_end_a_thread(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, allocate, NULL) == 0, "pthread_create fails");
    pthread_join(thread, NULL);
}

static void fork_once(void)
{
    pid_t child = fork();
    CHECK(child >= 0, "fork fails with errno %d", errno);
    if (child == 0)
        _exit(0);
    CHECK(waitpid(child, NULL, 0) == child, "waitpid fails with errno %d", errno);
}

/* How often something can be done from beginning to end during one trim, at best. */
static int most_during_a_trim(void (*work)(void), pthread_t *trimming)
{
    int most = 0, count = 0, current = 0;
    atomic_store(&trims_begun, 0);
    atomic_store(&trims_ended, 0);
    CHECK(pthread_create(trimming, NULL, trim, NULL) == 0, "pthread_create fails");
    while (atomic_load(&trims_ended) < TRIMS) {
        int before = trim_under_way();
        work();
        if (!before || trim_under_way() != before)
            continue;
        count = before == current ? count + 1 : 1;
        current = before;
        most = count > most ? count : most;
    }
    pthread_join(*trimming, NULL);
    return most;
}

int main(int count, char **arguments)
{
    (void)count;
    require_pymalloc();
    if (!getenv("PYMALLOC_CONF")) {
        setenv("PYMALLOC_CONF", "resident_budget=4g,retain=0", 1);
        execv("/proc/self/exe", arguments);
        FAIL("execv fails with errno %d", errno);
    }
    alarm(within(SECONDS));
    pthread_t trimming;
    int threads = most_during_a_trim(begin_and_end_a_thread, &trimming);
    int forks = most_during_a_trim(fork_once, &trimming);
    say(STDOUT_FILENO, "during one trim %d threads and %d forks\n", threads, forks);
    CHECK(threads >= LEAST, "only %d threads began and ended during a trim", threads);
    CHECK(forks >= 1, "no fork during a trim");
    return 0;
}
