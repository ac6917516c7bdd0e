/*
 * Memory goes back in spite of what a program does with it: it asks for zeroed memory that it never touches, shrinks, locks,
 * protects, spikes, and frees in one thread what another has while that is busy.
 *
 * What must hold, each under the name of its check:
 * - zeroed: calloc of very large blocks makes nothing resident, whichever freed mappings are kept, and every byte is zero.
 * - shrunk: the end that realloc takes off a block goes back under the same bound as a freed block.
 * - locked: one locked page keeps no other memory from going back.
 * - refused: where all memory is locked, the system is not asked to take it at every free.
 * - protected: the library never reads a live block, which the program may have protected; free looks at its own only.
 * - retained: what stays of equal spikes is at most what one of them takes, however many there are.
 * - forgotten: it goes back in a process that works again, though it takes nothing from its arenas.
 * - busy: pools go back whose blocks another thread frees while their owner is busy, though the owner sleeps then for ever.
 * - bounded: no single free gives much back, so that none takes long, and still all that must go has gone when the last block is freed.
 * - ended: free pages go back in the pools of threads that have ended, whatever threads came after them.
 */
#include "page_floor.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { MOST = 400000 };
static char *blocks[MOST];

/* The bytes that malloc_info tells behind a tag. */
static size_t figure(const char *tag)
{
    static char text[16 * KIB];
    FILE *stream = fmemopen(text, sizeof text, "w");
    CHECK(stream && malloc_info(0, stream) == 0, "malloc_info fails");
    fclose(stream);
    const char *found = strstr(text, tag);
    CHECK(found, "malloc_info does not tell %s", tag);
    return strtoull(found + strlen(tag), NULL, 10);
}

static void allocate_written(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        memset(blocks[i], 1, size);
    }
}

static void zeroed(void)
{
    const size_t sizes[] = {2 * MIB, 3 * MIB, 64 * MIB, 1024 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (int again = 0; again < 20; again++) {
            char *dirty = malloc(MIB << (again % 3));
            memset(dirty, 1, MIB << (again % 3));
            free(hide(dirty));
            size_t before = resident();
            char *block = calloc(1, sizes[i]);
            CHECK(block, "calloc of %zu bytes fails", sizes[i]);
            CHECK(resident() < before + MIB, "calloc of %zu bytes makes %zu resident", sizes[i], resident() - before);
            for (size_t at = 0; at < 8 * MIB && at < sizes[i]; at += 512)
                CHECK(block[at] == 0, "byte %zu of calloc(%zu) is not zero", at, sizes[i]);
            memset(block, 1, MIB);
            free(hide(block));
        }
    }
}

static void shrunk(void)
{
    enum { COUNT = 400, LONG = 500000, SHORT = 40000 };
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = malloc(LONG);
        fill(blocks[i], LONG, i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = realloc(blocks[i], SHORT);
        CHECK(is_filled(blocks[i], SHORT, i), "realloc changed a block");
    }
    /* Ends of slots that hold nothing come to a fifth of such blocks at most. */
    size_t most = (size_t)COUNT * SHORT * 6 / 5 / 8 * 9 + 8 * MIB;
    CHECK(resident() < most, "%zu bytes resident, at most %zu expected", resident(), most);
}

static void locked(void)
{
    enum { SIZE = 512, ONE_IN = 320 };
    for (size_t i = 0; i < MOST; i++) {
        blocks[i] = malloc(SIZE);
        fill(blocks[i], SIZE, i);
    }
    CHECK(mlock(blocks[1000], 1) == 0, "mlock fails with errno %d", errno);
    size_t kept = 0;
    for (size_t i = 0; i < MOST; i++) {
        /* Few in the first arena, so that the locked page is in the emptiest. */
        if (i % (i < 2500 ? 1500 : ONE_IN) == 5)
            CHECK(++kept && is_filled(blocks[i], SIZE, i), "a block was changed");
        else
            free(blocks[i]);
    }
    size_t floor = kept * (size_t)sysconf(_SC_PAGESIZE), most = floor / 8 * 9 + 16 * MIB;
    CHECK(resident() < most, "%zu bytes resident, at most %zu expected", resident(), most);
}

/* Seconds for some pairs of runs of two slots, while half of `count` others are free. */
static double seconds_of_pairs(size_t count)
{
    enum { PAIRS = 5000, SIZE = 40000 };
    struct timespec start, end;
    for (size_t i = 0; i < count; i++)
        blocks[i] = malloc(SIZE);
    for (size_t i = 1; i < count; i += 2)
        free(blocks[i]);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t i = 0; i < PAIRS; i++)
        free(hide(malloc(SIZE)));
    clock_gettime(CLOCK_MONOTONIC, &end);
    for (size_t i = 0; i < count; i += 2)
        free(blocks[i]);
    return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

static void refused(void)
{
    enum { RUNS = 300 };
    double usual = seconds_of_pairs(RUNS);
    malloc_trim(0);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        /* What is checked cannot happen to a process without the right. */
        CHECK(errno == EPERM || errno == ENOMEM, "mlockall fails with errno %d", errno);
        return;
    }
    double locked = seconds_of_pairs(RUNS);
    /* 500 times as long when each free asks. */
    CHECK(locked < usual * 50 + 0.01, "%.3f s with locked memory, %.3f without", locked, usual);
}

static void protected(void)
{
    const size_t sizes[] = {4096, 8192, 20480};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    enum { COUNT = 6000 };
    for (size_t size = 0; size < COUNT_OF(sizes); size++) {
        for (size_t i = 0; i < COUNT; i++) {
            void *block;
            CHECK(posix_memalign(&block, page, sizes[size]) == 0, "posix_memalign fails");
            blocks[i] = block;
            memset(block, 1, sizes[size]);
        }
        for (size_t i = 0; i < COUNT; i += 5)
            CHECK(mprotect(blocks[i], page, PROT_NONE) == 0, "mprotect fails with errno %d", errno);
        for (size_t i = 0; i < COUNT; i++)
            if (i % 5 != 0)
                free(blocks[i]);
        malloc_trim(0);
        for (size_t i = 0; i < COUNT; i += 5) {
            CHECK(inspect(blocks[i]).state == PYMALLOC_STATE_ALLOCATED, "a protected block is not allocated");
            CHECK(malloc_usable_size(blocks[i]) >= sizes[size], "a protected block has no size");
        }
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        CHECK(((int (*)(int, int))find("pymalloc_heapmap"))(null, 0) == 0, "pymalloc_heapmap fails with errno %d", errno);
        close(null);
        for (size_t i = 0; i < COUNT; i += 5) {
            CHECK(mprotect(blocks[i], page, PROT_READ | PROT_WRITE) == 0, "mprotect fails with errno %d", errno);
            CHECK(blocks[i][0] == 1 && blocks[i][sizes[size] - 1] == 1, "a block was changed");
            free(blocks[i]);
        }
    }
}

/* Spikes of `count` blocks of `size` bytes. What is retained may not exceed what a spike takes, rounded up. */
static void spike(size_t count, size_t size)
{
    for (int again = 0; again < 25; again++) {
        for (size_t i = 0; i < count; i++) {
            blocks[i] = malloc(size);
            blocks[i][0] = blocks[i][size / 2] = blocks[i][size - 1] = 1;
        }
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
        size_t most = count * size / 4 * 5 + 8 * MIB;
        size_t wanted = figure("<retained_bytes>") + figure("<lazy_bytes>");
        CHECK(wanted < most, "%zu bytes retained of spikes of %zu", wanted, count * size);
    }
    malloc_trim(0);
}

static void retained(void)
{
    spike(MOST, 400);
    spike(300, 500000);
    spike(40, 2 * MIB);
    /* A large and a small one in turn. */
    for (int again = 0; again < 500; again++) {
        memset(hide(blocks[0] = malloc(4000000)), 1, 4000000);
        free(blocks[0]);
        memset(hide(blocks[0] = malloc(600000)), 1, 600000);
        free(blocks[0]);
        CHECK(figure("<retained_bytes>") < 8 * MIB, "%zu bytes retained of a block of 4 MB", figure("<retained_bytes>"));
    }
}

static void forgotten(void)
{
    enum { WORK = 3000, SIZE = 64, SPIKE = MOST };
    static void *work[WORK];
    void *run = malloc(40000);
    for (size_t i = 0; i < WORK; i++)
        work[i] = malloc(SIZE);
    for (int again = 0; again < 20; again++) {
        allocate_written(SPIKE, 512);
        for (size_t i = 0; i < SPIKE; i++)
            free(blocks[i]);
    }
    /* No more than this stays resident; what is beyond the system may take at any moment. */
    CHECK(figure("<retained_bytes>") == 32 * MIB, "%zu bytes retained", figure("<retained_bytes>"));
    CHECK(figure("<lazy_bytes>") > 64 * MIB, "only %zu bytes are lazy", figure("<lazy_bytes>"));
    nanosleep(&(struct timespec){2, 0}, NULL);
    /* All is forgotten here, and a part of it goes back. */
    free(run);
    for (int again = 0; again < 200; again++) {
        /* No pool empties. */
        for (size_t i = 0; i < WORK; i += 2)
            free(work[i]);
        for (size_t i = 0; i < WORK; i += 2)
            work[i] = malloc(SIZE);
    }
    CHECK(resident() < 16 * MIB, "%zu bytes resident", resident());
    CHECK(figure("<lazy_bytes>") == 0, "%zu bytes are lazy still", figure("<lazy_bytes>"));
}

enum { BUSY_BLOCKS = 160000, BUSY_SIZE = 1024, A_POOL = 16 };
static atomic_int busy_stage;

/* Allocates all, frees one of each pool, is busy in its own pools until the others are freed, frees the last of each, and sleeps. */
static void *own_and_be_busy(void *unused)
{
    allocate_written(BUSY_BLOCKS, BUSY_SIZE);
    for (size_t i = 0; i < BUSY_BLOCKS; i += A_POOL)
        free(blocks[i]);
    atomic_store(&busy_stage, 1);
    while (atomic_load(&busy_stage) == 1) {
        void *others[64];
        for (size_t i = 0; i < COUNT_OF(others); i++)
            others[i] = malloc(12000);
        for (size_t i = 0; i < COUNT_OF(others); i++)
            free(others[i]);
    }
    for (size_t i = A_POOL - 1; i < BUSY_BLOCKS; i += A_POOL)
        free(blocks[i]);
    atomic_store(&busy_stage, 3);
    for (;;)
        pause();
    return unused;
}

static void busy(void)
{
    pthread_t owner;
    CHECK(pthread_create(&owner, NULL, own_and_be_busy, NULL) == 0, "no thread");
    while (atomic_load(&busy_stage) != 1)
        sched_yield();
    for (size_t i = 0; i < BUSY_BLOCKS; i++)
        if (i % A_POOL != 0 && i % A_POOL != A_POOL - 1)
            free(blocks[i]);
    atomic_store(&busy_stage, 2);
    while (atomic_load(&busy_stage) != 3)
        sched_yield();
    CHECK(resident() < 24 * MIB, "%zu bytes resident with all blocks freed", resident());
}

enum { ENDED_BLOCKS = 64000, ENDED_SIZE = 512, ENDED_ONE_IN = 31 };

/* Allocates all, and frees one of each pool, so that the pools are the thread's own when it ends. */
static void *own_and_end(void *unused)
{
    allocate_written(ENDED_BLOCKS, ENDED_SIZE);
    for (size_t i = 0; i < ENDED_BLOCKS; i += ENDED_ONE_IN)
        free(blocks[i]);
    return unused;
}

static void *allocate_one(void *unused)
{
    free(hide(malloc(ENDED_SIZE)));
    return unused;
}

/* With so many threads more before the blocks are freed. */
static void ended_before(int others)
{
    enum { KEPT_ONE_IN = 64 };
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, own_and_end, NULL) == 0 && pthread_join(thread, NULL) == 0, "no thread");
    for (int other = 0; other < others; other++)
        CHECK(pthread_create(&thread, NULL, allocate_one, NULL) == 0 && pthread_join(thread, NULL) == 0, "no thread");
    size_t kept = 0;
    for (size_t i = 0; i < ENDED_BLOCKS; i++) {
        if (i % ENDED_ONE_IN == 0)
            continue;
        if (i % KEPT_ONE_IN == 1)
            kept++;
        else
            free(blocks[i]);
    }
    size_t most = bound(kept * (size_t)sysconf(_SC_PAGESIZE));
    CHECK(resident() < most, "%zu bytes resident, at most %zu expected", resident(), most);
    for (size_t i = 0; i < ENDED_BLOCKS; i++)
        if (i % ENDED_ONE_IN != 0 && i % KEPT_ONE_IN == 1)
            free(blocks[i]);
    CHECK(resident() < 8 * MIB, "%zu bytes resident with all blocks freed", resident());
}

/* What one free may give back: 1 MiB of free slots, the pages of a few pools, and what the kernel counts late (64 pages a processor). */
enum { ONE_FREE = 3 };

/* What is resident, told fast enough to ask after each free. */
static size_t resident_by_statm(int statm)
{
    char text[128];
    ssize_t length = pread(statm, text, sizeof text - 1, 0);
    CHECK(length > 0, "statm cannot be read: errno %d", errno);
    text[length] = 0;
    return strtoull(strchr(text, ' '), NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static void bounded(void)
{
    int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    CHECK(statm >= 0, "no statm: errno %d", errno);
    uint64_t state = 1;
    allocate_written(MOST, 256);
    for (size_t i = MOST - 1; i > 0; i--) {
        size_t other = random_between(&state, 0, i);
        char *block = blocks[i];
        blocks[i] = blocks[other];
        blocks[other] = block;
    }
    size_t before = resident_by_statm(statm), largest = 0;
    for (size_t i = 0; i < MOST; i++) {
        free(blocks[i]);
        size_t after = resident_by_statm(statm);
        if (before > after + largest)
            largest = before - after;
        before = after;
    }
    CHECK(largest < ONE_FREE * MIB, "one free gives %zu bytes back", largest);
    close(statm);
    /* Without what an emulator has resident, which the other figure counts too. */
    before = resident();
    CHECK(before < (8 + ONE_FREE) * MIB, "%zu bytes resident with all blocks freed", before);
}

static void ended(void)
{
    /* Each in a process that retains nothing. */
    for (int others = 0; others < 3; others++) {
        int status;
        pid_t child = fork();
        CHECK(child >= 0, "no process");
        if (child == 0) {
            ended_before(others);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0, "after %d other threads: status %d", others, status);
    }
}

int main(int count, char **arguments)
{
    static const struct mode modes[] = {
        {"zeroed", zeroed},   {"shrunk", shrunk},       {"locked", locked}, {"refused", refused}, {"protected", protected},
        {"retained", retained}, {"forgotten", forgotten}, {"busy", busy},
        {"bounded", bounded}, {"ended", ended}};

    require_pymalloc();
    want_small_pages();
    if (count == 2 && run_mode(modes, COUNT_OF(modes), arguments[1]))
        return 0;
    FAIL("usage: %s zeroed|shrunk|locked|refused|protected|retained|forgotten|busy|bounded|ended", arguments[0]);
}
