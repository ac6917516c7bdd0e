/*
 * What the library retains because it was given back too early before: how much, how long, and that it is given up in time.
 *
 * What must hold, each under the name of its check:
 * - twice: a large buffer that was filled and freed twice keeps nothing resident that the system cannot take at any moment.
 * - phases: needs that move from pools to runs to mappings and back do not add up, not even in the peak.
 * - dropped: what a small churn has earned does not stay once far more than that is dropped.
 * - runs: what pools retain is retained no more once runs raise the peak.
 * - bounded: no call, however large its block, takes longer because all that is retained has to go.
 * - calls: a hundred calls a second, of whatever kind (mappings, runs, blocks of another thread), forget within ten seconds.
 */
#include "page_floor.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

/* What may be retained resident in a process whose live blocks are small: the promise. */
enum { RETAINED = 32 };
/* A machine that is too slow for what it is to retain, at times, gets so many turns. */
enum { TRIES = 40 };
/* What the test itself and the C library need beside the library. */
enum { OWN = 2 };

static size_t field_of(const char *file, const char *name)
{
    static char text[16 * KIB];
    read_proc(file, text, sizeof text);
    const char *line = strstr(text, name);
    CHECK(line, "%s does not tell %s", file, name);
    return (size_t)strtoull(line + strlen(name), NULL, 10) * KIB;
}

/* Resident bytes that the system cannot take at any moment. */
static size_t held(void)
{
    return field_of("/proc/self/smaps_rollup", "\nAnonymous:") - field_of("/proc/self/smaps_rollup", "\nLazyFree:");
}

static void sleep_for(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

static void fill_and_free(size_t size, int times, long pause)
{
    for (int again = 0; again < times; again++) {
        char *block = malloc(size);
        CHECK(block, "no block of %zu bytes", size);
        memset(hide(block), 1, size);
        free(block);
        sleep_for(pause);
    }
}

static void twice(void)
{
    static const struct {
        size_t size;
        long pause;
    } buffers[] = {{50 * MIB, 100}, {400 * MIB, 500}, {1000 * MIB, 1000}};
    for (size_t i = 0; i < COUNT_OF(buffers); i++) {
        /* Each in a process that has retained nothing. */
        int status;
        pid_t child = fork();
        CHECK(child >= 0, "no process");
        if (child == 0) {
            fill_and_free(buffers[i].size, 2, buffers[i].pause);
            CHECK(held() < (8 + OWN) * MIB, "%.1f MiB stay of %.1f", mib(held()), mib(buffers[i].size));
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0, "status %d", status);
    }
}

enum { LIVE = 60000000, MOST_BLOCKS = LIVE / 48 };
static char *blocks[MOST_BLOCKS];

static void fill_blocks(size_t size)
{
    for (size_t i = 0; i < LIVE / size; i++) {
        blocks[i] = malloc(size);
        CHECK(blocks[i], "no block of %zu bytes", size);
        memset(blocks[i], 1, size);
    }
}

static void free_blocks(size_t size)
{
    for (size_t i = 0; i < LIVE / size; i++)
        free(blocks[i]);
}

static void phases(void)
{
    static const size_t sizes[] = {48, 1000, 9000, 40000, 400, 500000, 64, 3000000, 2000, 600000, 80};
    memset(blocks, 1, sizeof blocks);
    size_t before = resident();
    for (size_t phase = 0; phase < COUNT_OF(sizes); phase++) {
        for (int again = 0; again < 6; again++) {
            fill_blocks(sizes[phase]);
            free_blocks(sizes[phase]);
        }
    }
    /* Small blocks and mappings in turn, as often as it takes for both to be wanted. */
    for (int turn = 0; turn < 8; turn++) {
        for (int again = 0; again < 5; again++) {
            size_t size = turn % 2 ? 2000 : MIB;
            fill_blocks(size);
            free_blocks(size);
        }
    }
    /* Runs of 40,000 bytes end inside a slot: what they do not reach holds what was there before. */
    size_t most = bound(LIVE) + RETAINED * MIB, peak = field_of("/proc/self/status", "\nVmHWM:") - before;
    CHECK(peak < most, "the peak is %.1f MiB, %.1f were live at most", mib(peak), mib(LIVE));
}

/* Builds up so many bytes of small blocks and frees them all, last first. */
static void build_up_and_drop(size_t bytes, size_t size)
{
    size_t count = bytes / size;
    CHECK(count <= MOST_BLOCKS, "%zu blocks", count);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        CHECK(blocks[i], "no block of %zu bytes", size);
        memset(blocks[i], 1, size);
    }
    while (count > 0)
        free(blocks[--count]);
}

static void dropped(void)
{
    /* The array's own pages are there from the start. */
    memset(blocks, 0, 200 * MIB / 480 * sizeof blocks[0]);
    size_t before = held();
    for (int again = 0; again < 50; again++)
        build_up_and_drop(24 * MIB, 480);
    CHECK(held() > before + 12 * MIB, "the churn earned nothing: the test is of no use");
    build_up_and_drop(200 * MIB, 480);
    CHECK(held() < before + (8 + OWN) * MIB, "%.1f MiB stay", mib(held() - before));
}

/* Bytes that are retained resident. */
static size_t retained_bytes(void)
{
    pymalloc_stats stats;
    CHECK(((int (*)(pymalloc_stats *, size_t))find("pymalloc_stats_get"))(&stats, sizeof stats) == 0, "no figures");
    return stats.retained_bytes;
}

static void runs(void)
{
    enum { SIZE = 2000, COUNT = LIVE / SIZE };
    uint64_t seed = 1;
    fill_blocks(SIZE);
    /* Frees here and there, so that pages come free inside pools, and are soon wanted again. */
    for (int again = 0; again < 61; again++) {
        for (int i = 0; i < COUNT; i++)
            if (next_random(&seed) % 10 < 7) {
                free(blocks[i]);
                blocks[i] = NULL;
            }
        for (int i = 0; i < COUNT && again < 60; i++)
            if (!blocks[i])
                CHECK((blocks[i] = hide(malloc(SIZE))) && memset(blocks[i], 1, SIZE), "no block");
    }
    size_t before = retained_bytes();
    CHECK(before > 8 * MIB, "pools retain only %.1f MiB", mib(before));
    for (int i = 0; i < 400; i++) {
        char *run = hide(malloc(500000));
        CHECK(run && memset(run, 1, 500000), "no run");
    }
    CHECK(retained_bytes() < before / 2, "%.1f MiB of %.1f are retained after a peak of runs", mib(retained_bytes()), mib(before));
}

/* Runs, which the arenas retain. */
static void bounded(void)
{
    enum { SIZE = 60000, COUNT = 3400 };
    size_t before = 0;
    for (int again = 0; again < 4 || (again < TRIES && before <= 150 * MIB); again++) {
        for (int i = 0; i < COUNT; i++)
            CHECK((blocks[i] = hide(malloc(SIZE))) && memset(blocks[i], 1, SIZE), "no block");
        for (int i = 0; i < COUNT; i++)
            free(blocks[i]);
        before = resident();
    }
    CHECK(before > 150 * MIB, "only %.1f MiB were retained", mib(before));
    CHECK(hide(malloc(400 * MIB)), "no block of 400 MiB");
    size_t after = resident(), gone = before > after ? before - after : 0;
    CHECK(gone > 32 * MIB && gone < 72 * MIB, "%.1f MiB of %.1f go in one call", mib(gone), mib(before));
}

static void *free_all_of(void *unused)
{
    for (int i = 0; i < 1000; i++) {
        free(blocks[i]);
        sleep_for(10);
    }
    return unused;
}

static void call_mappings(void)
{
    for (int i = 0; i < 1000; i++) {
        free(hide(malloc(MIB)));
        sleep_for(10);
    }
}

static void call_runs(void)
{
    for (int i = 0; i < 1000; i++) {
        free(hide(malloc(100000)));
        sleep_for(10);
    }
}

/* The blocks are this thread's. */
static void call_for_another(void)
{
    pthread_t other;
    CHECK(pthread_create(&other, NULL, free_all_of, NULL) == 0 && pthread_join(other, NULL) == 0, "no thread");
}

static void calls(void)
{
    static void (*const kinds[])(void) = {call_mappings, call_runs, call_for_another};
    pid_t children[COUNT_OF(kinds)];
    /* All at once, each in a process of its own, since each takes ten seconds. */
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        children[kind] = fork();
        CHECK(children[kind] >= 0, "no process");
        if (children[kind] != 0)
            continue;
        size_t retained = 0;
        for (int try = 0; try < TRIES / 6 && retained <= 40 * MIB; try++) {
            for (size_t i = 0; try > 0 && i < 1000; i++)
                free(blocks[i]);
            fill_and_free(100 * MIB, 6, 0);
            for (int again = 0; again < 6; again++) {
                fill_blocks(400);
                if (again < 5)
                    free_blocks(400);
            }
            for (size_t i = 1000; i < LIVE / 400; i++)
                free(blocks[i]);
            retained = resident();
        }
        kinds[kind]();
        CHECK(retained > 40 * MIB, "only %.1f MiB were retained", mib(retained));
        CHECK(resident() < 16 * MIB, "kind %zu: %.1f MiB stay of %.1f", kind, mib(resident()), mib(retained));
        _exit(0);
    }
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
        int status;
        CHECK(waitpid(children[kind], &status, 0) == children[kind] && status == 0, "kind %zu: status %d", kind, status);
    }
}

int main(int count, char **arguments)
{
    static const struct mode modes[] = {
        {"twice", twice}, {"phases", phases}, {"dropped", dropped},
        {"runs", runs}, {"bounded", bounded}, {"calls", calls},
    };

    require_pymalloc();
    want_small_pages();
    want_processor();
    if (count == 2 && run_mode(modes, COUNT_OF(modes), arguments[1]))
        return 0;
    FAIL("usage: %s twice|phases|dropped|runs|bounded|calls", arguments[0]);
}
