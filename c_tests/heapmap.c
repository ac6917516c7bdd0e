/*
 * Snapshots of the heap: heapmap blocks | counts | others | purged | busy | memory | fork | pipe | errors, and as the program
 * that settings are tried with: heapmap signals SIGNAL PATH | wait PATH COUNT | read PATH | limit PATH | work.
 *
 * What must hold: a snapshot is one whole line of the format, whatever else the process does; every block whose state the
 * program knows has that state in it; and looking changes nothing.
 */
#include "snapshot.h"

#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { BLOCKS = 4000, LARGE_BLOCKS = 40, MAPPINGS = 20 };

static void *blocks[BLOCKS];

static void expect_state(const void *block, int state)
{
    int found = state_at(block);
    CHECK(found == state, "%p is `%c`, not `%c`", block, found ? found : '-', state);
}

/* What the numbers of a snapshot say of each other, while nothing else happens in the process. Without the blocks' states those that
   threads have at hand, in their bins, count as in use in the map: at most `at_hand` of a size class. */
static void check_sums(size_t at_hand)
{
    const pymalloc_stats *whole = &snapshot.totals.whole;
    size_t in_use = 0, free = 0, slots = 0;
    for (size_t class = 1; class < snapshot.class_count; class++) {
        const struct class_figures *row = &snapshot.rows[class], *total = &snapshot.totals.classes[class];
        CHECK(row->pools == total->pools && row->untouched == total->untouched && row->in_use >= total->in_use &&
                  row->in_use - total->in_use <= at_hand && row->in_use + row->free == total->in_use + total->free,
              "size class %zu: %zu pools, %zu in use, %zu free, %zu untouched in the map; %zu, %zu, %zu, %zu in the totals", class,
              row->pools, row->in_use, row->free, row->untouched, total->pools, total->in_use, total->free, total->untouched);
        CHECK(row->pools == 0 || total->size == snapshot.classes[class].size, "two sizes of class %zu", class);
        in_use += total->in_use * snapshot.classes[class].size;
        free += total->free * snapshot.classes[class].size;
        slots += row->pools * snapshot.classes[class].slots;
    }
    CHECK(whole->large_count == snapshot.large_count && whole->large_bytes == snapshot.large_bytes, "large blocks differ");
    CHECK(whole->mappings_count == snapshot.mapping_count && whole->mappings_bytes == snapshot.mapping_bytes, "mappings differ");
    CHECK(whole->arenas_live == snapshot.arena_count, "arenas differ");
    CHECK(whole->bytes_in_use == in_use + snapshot.large_bytes + snapshot.mapping_bytes, "bytes in use differ");
    CHECK(whole->bytes_free == free + whole->mappings_kept_bytes, "free bytes differ");
    slots += snapshot.large_bytes / snapshot.slot + whole->slots_free;
    size_t usable = snapshot.arena / snapshot.slot - snapshot.first_slot;
    CHECK(slots == usable * snapshot.arena_count, "%zu slots of %zu arenas", slots, snapshot.arena_count);
    size_t last = 0;
    for (size_t index = 0; index < snapshot.arena_count; index++) {
        CHECK(snapshot.arenas[index].free >= last, "the arenas are not in their order");
        last = snapshot.arenas[index].free;
    }
}

/* Blocks of many sizes, in each state. */
static void known_blocks(void)
{
    static void *large[LARGE_BLOCKS], *mappings[MAPPINGS];
    uint64_t seed = 5;
    for (size_t at = 0; at < BLOCKS; at++)
        blocks[at] = must_allocate(at < 1000 ? 48 : random_between(&seed, 1, at % 10 ? 2000 : 8000));
    for (size_t at = 0; at < LARGE_BLOCKS; at++) {
        do
            large[at] = must_allocate(random_between(&seed, 20 * KIB, 100 * KIB));
        while (inspect(large[at]).kind != PYMALLOC_KIND_LARGE);
    }
    for (size_t at = 0; at < MAPPINGS; at++)
        mappings[at] = must_allocate(MIB + at * MIB / 4);
    for (size_t at = 0; at < BLOCKS; at += 3)
        free(blocks[at]);
    for (size_t at = 0; at < LARGE_BLOCKS; at += 4)
        free(large[at]);
    for (size_t at = 0; at < MAPPINGS; at += 5)
        free(mappings[at]);
    take_snapshot(0);
    check_sums(0);
    for (size_t at = 0; at < BLOCKS; at++) {
        if (at % 3)
            expect_state(blocks[at], 'a');
        else if (inspect(blocks[at]).kind == PYMALLOC_KIND_POOL)
            expect_state(blocks[at], 'f');
    }
    for (size_t at = 0; at < LARGE_BLOCKS; at++)
        if (at % 4)
            expect_state(large[at], LARGE);
    size_t found = 0;
    for (size_t at = 0; at < MAPPINGS; at++)
        for (size_t index = 0; index < snapshot.mapping_count; index++)
            if (snapshot.mappings[index].at == (uintptr_t)mappings[at]) {
                CHECK(at % 5 != 0, "a freed mapping is listed");
                CHECK(snapshot.mappings[index].bytes == MIB + at * MIB / 4 && snapshot.mappings[index].resident == MIB + at * MIB / 4,
                      "a mapping of %zu bytes, of which %zu are resident", snapshot.mappings[index].bytes,
                      snapshot.mappings[index].resident);
                found++;
            }
    CHECK(found == MAPPINGS - MAPPINGS / 5, "%zu mappings are listed", found);
    /* What was never handed out, by another way than the snapshot's. */
    size_t untouched = 0;
    for (size_t index = 0; index < snapshot.arena_count; index++)
        for (size_t offset = snapshot.slot; offset < snapshot.arena; offset += GRANULE) {
            const char *address = (const char *)snapshot.arenas[index].at + offset;
            pymalloc_info info = inspect(address);
            int state = snapshot.arenas[index].states[offset / GRANULE];
            int expected = info.kind == PYMALLOC_KIND_LARGE            ? LARGE
                           : info.kind != PYMALLOC_KIND_POOL           ? NOTHING
                           : info.state == PYMALLOC_STATE_ALLOCATED    ? 'a'
                           : info.state == PYMALLOC_STATE_FREE         ? 'f'
                                                                       : 'u';
            CHECK(state == expected, "%p is `%c`, but pymalloc_inspect says `%c`", (const void *)address, state, expected);
            untouched += state == 'u';
        }
    CHECK(untouched > 0, "nothing is untouched");
}

/* Without the blocks' states the numbers are the same, but for the blocks at hand. */
static void counts_alone(void)
{
    for (size_t at = 0; at < BLOCKS; at++)
        blocks[at] = must_allocate(1 + at);
    for (size_t at = 0; at < BLOCKS; at += 2)
        free(blocks[at]);
    static struct class_figures rows[MOST_CLASSES];
    take_snapshot(0);
    memcpy(rows, snapshot.rows, sizeof rows);
    take_snapshot(PYMALLOC_HEAPMAP_WITHOUT_BLOCKS);
    /* No more than a pool of the smallest blocks. */
    check_sums(snapshot.slot / GRANULE);
    for (size_t class = 1; class < snapshot.class_count; class++)
        CHECK(rows[class].pools == snapshot.rows[class].pools && rows[class].untouched == snapshot.rows[class].untouched &&
                  rows[class].in_use + rows[class].free == snapshot.rows[class].in_use + snapshot.rows[class].free,
              "the numbers of size class %zu differ", class);
}

static pthread_barrier_t turn;

static void *allocate_and_wait(void *unused)
{
    for (size_t at = 0; at < BLOCKS; at++)
        blocks[at] = must_allocate(200);
    for (size_t at = 0; at < BLOCKS; at += 7)
        free(blocks[at]);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    return unused;
}

/* Blocks of a thread that waits, some of which another thread frees. */
static void blocks_of_others(void)
{
    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    CHECK(pthread_create(&thread, NULL, allocate_and_wait, NULL) == 0, "pthread_create fails");
    pthread_barrier_wait(&turn);
    for (int ended = 0; ended < 2; ended++) {
        take_snapshot(0);
        check_sums(0);
        for (size_t at = 0; at < BLOCKS; at++) {
            int is_free = at % 7 == 0 || (ended && at % 5 == 0);
            if (!is_free || inspect(blocks[at]).kind == PYMALLOC_KIND_POOL)
                expect_state(blocks[at], is_free ? 'f' : 'a');
        }
        CHECK(snapshot.totals.whole.heaps_live == 2, "%zu heaps", snapshot.totals.whole.heaps_live);
        for (size_t at = 0; !ended && at < BLOCKS; at += 5)
            if (at % 7)
                free(blocks[at]);
    }
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    take_snapshot(0);
    check_sums(0);
    for (size_t at = 0; at < BLOCKS; at++)
        if (at % 7 && at % 5)
            expect_state(blocks[at], 'a');
    CHECK(snapshot.totals.whole.heaps_live == 1 && snapshot.totals.whole.heaps_spare == 1,
          "the heap of a thread that ended is not spare");
}

/* A size whose pools have several pages in either geometry. */
enum { PURGED_SIZE = 1136, PURGED_COUNT = 40000, KEPT = 40 };

static void purged_pages(void)
{
    static void *many[PURGED_COUNT];
    static char resident[MOST_ARENAS][LARGEST_ARENA / 4096 / 4];
    for (size_t at = 0; at < PURGED_COUNT; at++)
        many[at] = must_allocate(PURGED_SIZE);
    for (size_t at = 0; at < PURGED_COUNT; at++)
        if (at % KEPT)
            free(many[at]);
    take_snapshot(0);
    check_sums(0);
    CHECK(snapshot.totals.whole.pages_purged_bytes > MIB, "only %zu bytes were purged: this shows nothing",
          snapshot.totals.whole.pages_purged_bytes);
    size_t untouched = 0;
    for (size_t at = 0; at < PURGED_COUNT; at++) {
        int state = state_at(many[at]);
        CHECK(at % KEPT ? state != 'a' : state == 'a', "block %zu is `%c`", at, state);
        untouched += state == 'u';
    }
    CHECK(untouched * PURGED_SIZE > MIB, "no block that was in use is untouched");
    size_t digits = snapshot.arena / snapshot.page / 4;
    for (size_t index = 0; index < snapshot.arena_count; index++)
        memcpy(resident[index], snapshot.arenas[index].resident, digits);
    take_snapshot(0);
    for (size_t index = 0; index < snapshot.arena_count; index++)
        CHECK(memcmp(resident[index], snapshot.arenas[index].resident, digits) == 0, "a snapshot has made pages resident");
}

static atomic_bool done;
static _Atomic(void *) exchange[64];

static void *keep_busy(void *number)
{
    uint64_t seed = (uintptr_t)number;
    while (!done) {
        size_t size = random_between(&seed, 1, next_random(&seed) % 50 ? 1500 : next_random(&seed) % 10 ? 200 * KIB : 2 * MIB);
        char *block = malloc(size);
        CHECK(block != NULL, "malloc(%zu) fails", size);
        block[0] = block[size - 1] = 1;
        free(atomic_exchange(&exchange[next_random(&seed) % COUNT_OF(exchange)], block));
    }
    return NULL;
}

enum { THREADS = 3 };
static pthread_t threads[THREADS];

static void start_threads(void)
{
    for (size_t at = 0; at < THREADS; at++)
        CHECK(pthread_create(&threads[at], NULL, keep_busy, (void *)at) == 0, "pthread_create fails");
}

static void end_threads(void)
{
    done = 1;
    for (size_t at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
}

static void while_threads_work(void)
{
    start_threads();
    for (int round = 0; round < 150; round++)
        take_snapshot(round % 4 == 3 ? PYMALLOC_HEAPMAP_WITHOUT_BLOCKS : 0);
    end_threads();
    take_snapshot(0);
    check_sums(0);
}

static void out_of_memory(void)
{
    take_snapshot(0);
    size_t limit = address_space() + 30 * MIB;
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit}) == 0, "setrlimit fails");
    void *last = NULL;
    for (size_t at = 0; at < BLOCKS; at++)
        blocks[at] = must_allocate(at);
    for (size_t size = 4 * MIB; size >= 16; size /= 2)
        for (void **block; (block = malloc(size)) != NULL;) {
            *block = last;
            last = block;
        }
    take_snapshot(0);
    check_sums(0);
    CHECK(snapshot.totals.whole.bytes_in_use > 25 * MIB, "%zu bytes in use: there was memory left",
          snapshot.totals.whole.bytes_in_use);
    pymalloc_stats stats;
    int (*get)(pymalloc_stats *, size_t) = (int (*)(pymalloc_stats *, size_t))find("pymalloc_stats_get");
    CHECK(get(&stats, sizeof stats) == 0 && stats.bytes_in_use == snapshot.totals.whole.bytes_in_use, "pymalloc_stats_get fails");
    while (last) {
        void *next = *(void **)last;
        free(last);
        last = next;
    }
    take_snapshot(0);
    check_sums(0);
}

static void *snapshots_to_nowhere(void *unused)
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    while (!done)
        CHECK(((write_function *)find("pymalloc_heapmap"))(nowhere, 0) == 0, "pymalloc_heapmap fails");
    return unused;
}

/* Ends as a child should: the exit handlers of this process are not its own. */
static void expect_child(pid_t child)
{
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child, "no child");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %x", (unsigned)status);
}

/* Children of a process that is just writing a snapshot. */
static void forked_children(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, snapshots_to_nowhere, NULL) == 0, "pthread_create fails");
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(within(20));
            take_snapshot(0);
            CHECK(snapshot.totals.pid == (size_t)getpid(), "the process id is not the child's");
            check_sums(0);
            _exit(0);
        }
        expect_child(child);
    }
    done = 1;
    pthread_join(thread, NULL);
}

static int ends[2];

static void *write_to_pipe(void *unused)
{
    CHECK(((write_function *)find("pymalloc_heapmap"))(ends[1], 0) == 0, "pymalloc_heapmap fails");
    close(ends[1]);
    return unused;
}

/* The reader of the pipe allocates, and forks, while the writer waits for it. */
static void read_in_this_process(void)
{
    for (size_t at = 0; at < BLOCKS; at++)
        blocks[at] = must_allocate(at);
    for (size_t at = 0; at < BLOCKS; at += 2)
        free(blocks[at]);
    pthread_t thread;
    CHECK(pipe(ends) == 0, "pipe fails");
    CHECK(pthread_create(&thread, NULL, write_to_pipe, NULL) == 0, "pthread_create fails");
    size_t length = 0;
    for (;;) {
        CHECK(poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, -1) == 1, "poll fails");
        /* The pipe is full by now, or will be. */
        for (size_t at = 0; at < 2000; at++)
            free(hide(must_allocate(at * 20)));
        if (length % 5 == 0) {
            pid_t child = fork();
            if (child == 0)
                _exit(malloc(100) == NULL);
            expect_child(child);
        }
        ssize_t step = read(ends[0], text + length, 2000);
        CHECK(step >= 0, "read fails");
        if (step == 0)
            break;
        length += (size_t)step;
    }
    pthread_join(thread, NULL);
    text[length] = 0;
    CHECK(length > 100 && *read_snapshot(text, 1) == 0, "not a whole snapshot");
}

static void errors(void)
{
    write_function *heapmap = (write_function *)find("pymalloc_heapmap");
    errno = 0;
    CHECK(heapmap(-1, 0) == -1 && errno == EBADF, "a bad descriptor: errno %d", errno);
    CHECK(heapmap(1, 2) == -1 && errno == EINVAL, "bad flags: errno %d", errno);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(heapmap(full, 0) == -1 && errno == ENOSPC, "a full device: errno %d", errno);
    errno = 1234;
    take_snapshot(0);
    CHECK(errno == 1234, "errno is %d after a success", errno);
}

static size_t lines_of(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return 0;
    size_t lines = 0;
    for (ssize_t step; (step = read(descriptor, text, sizeof text)) > 0;)
        for (ssize_t byte = 0; byte < step; byte++)
            lines += text[byte] == '\n';
    close(descriptor);
    return lines;
}

static void wait_for_lines(const char *path, size_t count)
{
    time_t end = time(NULL) + 30;
    while (lines_of(path) < count) {
        CHECK(time(NULL) < end, "%s has %zu lines after 30 seconds", path, lines_of(path));
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
}

/* The signal comes three times, and once in a child. */
static void raise_signals(int signal, const char *path)
{
    for (size_t count = 1; count <= 3; count++) {
        errno = 1234;
        CHECK(raise(signal) == 0 && errno == 1234, "the signal leaves errno at %d", errno);
        wait_for_lines(path, count);
    }
    pid_t child = fork();
    if (child == 0) {
        raise(signal);
        wait_for_lines(path, 4);
        _exit(0);
    }
    expect_child(child);
}

static void read_file(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(descriptor >= 0, "%s cannot be opened", path);
    ssize_t length = read(descriptor, text, sizeof text - 1);
    CHECK(length >= 0, "%s cannot be read", path);
    text[length] = 0;
    size_t count = 0;
    for (const char *rest = text; *rest; count++)
        rest = read_snapshot(rest, 1);
    say(STDOUT_FILENO, "%zu snapshots\n", count);
}

static void work(void)
{
    start_threads();
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    end_threads();
}

/* From here on no file may grow beyond this one by more than a little: as on a disk that is full. */
static void limit_files(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = lseek(descriptor, 0, SEEK_END);
    CHECK(size > 0, "%s is empty", path);
    rlim_t limit = (rlim_t)size + 500;
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit}) == 0, "setrlimit fails");
}

static const struct mode modes[] = {
    {"blocks", known_blocks},
    {"counts", counts_alone},
    {"others", blocks_of_others},
    {"purged", purged_pages},
    {"busy", while_threads_work},
    {"memory", out_of_memory},
    {"fork", forked_children},
    {"pipe", read_in_this_process},
    {"errors", errors},
    {"work", work},
};

int main(int count, char **arguments)
{
    require_pymalloc();
    const char *mode = count > 1 ? arguments[1] : "";
    if (count == 2 && run_mode(modes, COUNT_OF(modes), mode))
        return 0;
    if (count == 4 && strcmp(mode, "signals") == 0)
        raise_signals(atoi(arguments[2]), arguments[3]);
    else if (count == 4 && strcmp(mode, "wait") == 0)
        wait_for_lines(arguments[2], strtoull(arguments[3], NULL, 10));
    else if (count == 3 && strcmp(mode, "read") == 0)
        read_file(arguments[2]);
    else if (count == 3 && strcmp(mode, "limit") == 0)
        limit_files(arguments[2]);
    else
        FAIL("no such mode: %s", mode);
    return 0;
}
