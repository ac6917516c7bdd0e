/*
 * A thread waits for a lock of the allocator whose holder cannot run beside it: waiting realtime | nice.
 *
 * What must hold: a thread that waits sleeps, so that the holder is let run: on one processor a real-time thread beside an ordinary one, and
 * an ordinary one beside one that is nice. The test counts the processor time that a call takes, and how often the processor is taken from
 * the thread that waits. It does not count the time that passes: that is up to what else the machine does.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

enum { MILLISECONDS = 4000, MOST_MILLISECONDS = 10, SHORTEST = 17000, LONGEST = 400000 };

static volatile int stopped;

static double milliseconds_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

/* All threads to one processor that this process may use. */
static void stay_on_one_processor(void)
{
    cpu_set_t all, one;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0, "sched_getaffinity fails with errno %d", errno);
    int chosen = 0;
    while (!CPU_ISSET(chosen, &all))
        chosen++;
    CPU_ZERO(&one);
    CPU_SET(chosen, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity fails with errno %d", errno);
}

/* Runs and mappings come and go without pause. */
static void *work(void *is_nice)
{
    if (is_nice)
        CHECK(setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19) == 0, "setpriority fails with errno %d", errno);
    uint64_t seed = 1;
    void *blocks[16] = {NULL};
    while (!stopped) {
        size_t at = next_random(&seed) % COUNT_OF(blocks);
        free(blocks[at]);
        blocks[at] = hide(malloc(random_between(&seed, SHORTEST, LONGEST)));
        CHECK(blocks[at] != NULL, "malloc fails");
    }
    for (size_t at = 0; at < COUNT_OF(blocks); at++)
        free(blocks[at]);
    return NULL;
}

/* Allocates a little now and then. A thread that keeps trying instead of sleeping needs the processor for it, or gives it away and gets it
 * back again and again. */
static void allocate_now_and_then(void)
{
    uint64_t seed = 2;
    long rounds = 0;
    double end = milliseconds_of(CLOCK_MONOTONIC) + MILLISECONDS;
    for (; milliseconds_of(CLOCK_MONOTONIC) < end; rounds++) {
        const struct timespec pause = {0, 200000};
        nanosleep(&pause, NULL);
        double before = milliseconds_of(CLOCK_THREAD_CPUTIME_ID);
        for (int times = 0; times < 8; times++)
            free(hide(malloc(random_between(&seed, SHORTEST, LONGEST))));
        double taken = milliseconds_of(CLOCK_THREAD_CPUTIME_ID) - before;
        CHECK(taken < MOST_MILLISECONDS, "a thread that waits for malloc keeps the processor for %.1f ms", taken);
    }
    struct rusage usage;
    CHECK(getrusage(RUSAGE_THREAD, &usage) == 0, "getrusage fails with errno %d", errno);
    CHECK(usage.ru_nivcsw < rounds, "the processor was taken %ld times from a thread that allocated %ld times", usage.ru_nivcsw, rounds);
}

static void wait_beside(int nice)
{
    stay_on_one_processor();
    pthread_t worker;
    CHECK(pthread_create(&worker, NULL, work, nice ? &worker : NULL) == 0, "pthread_create fails");
    struct sched_param urgent = {.sched_priority = 20};
    if (!nice && pthread_setschedparam(pthread_self(), SCHED_FIFO, &urgent) != 0) {
        say(STDOUT_FILENO, "skipped: this user has no right to SCHED_FIFO\n");
    } else {
        allocate_now_and_then();
    }
    stopped = 1;
    pthread_join(worker, NULL);
}

static void beside_an_ordinary_thread(void)
{
    wait_beside(0);
}

static void beside_a_nice_thread(void)
{
    wait_beside(1);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    static const struct mode modes[] = {{"realtime", beside_an_ordinary_thread}, {"nice", beside_a_nice_thread}};
    CHECK(count == 2 && run_mode(modes, COUNT_OF(modes), arguments[1]), "usage: %s realtime | nice", arguments[0]);
    return 0;
}
