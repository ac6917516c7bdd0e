/*
 * The promise under the settings of transparent huge pages, with a khugepaged that never sleeps: huge_pages MODE SECONDS.
 *
 * The settings are the system's, and the caller's to set: scripts/test-huge-pages runs each mode under `always`, `madvise` and `never`.
 * A mode measures at once, and again after so many seconds of sleep.
 *
 * What must hold: what was given back stays given back; nothing that lies in arenas is ever a huge page. `small`, `threads` and
 * `locked` print what the process takes, which the caller compares with what it takes under `never`. `control` proves that a
 * khugepaged is at work: without that, nothing here would show anything.
 */
#include "page_floor.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/wait.h>

enum { BLOCKS = 400000, SIZE = 500, KEPT_ONE_IN = 50, HUGE = 2 << 20 };
static char **blocks;
static unsigned seconds;
static size_t before;

/* Of the test's own, of small pages whatever the setting: it must not grow while something is measured. */
static char **map_table(void)
{
    size_t size = BLOCKS * sizeof *blocks;
    char **table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(table != MAP_FAILED, "mmap: errno %d", errno);
    (void)madvise(table, size, MADV_NOHUGEPAGE);
    memset(table, 0, size);
    return table;
}

/* Kilobytes of a field of a file of /proc. */
static size_t kilobytes(const char *path, const char *name)
{
    static char text[8192];
    read_proc(path, text, sizeof text);
    const char *found = strstr(text, name);
    CHECK(found != NULL, "%s has no line %s", path, name);
    return strtoull(found + strlen(name), NULL, 10);
}

static size_t anonymous(void)
{
    return kilobytes("/proc/self/smaps_rollup", "\nAnonymous:");
}

/* Bytes that are resident and not the system's to take, beside those `before`. */
static size_t kept(void)
{
    size_t now = resident() - kilobytes("/proc/self/smaps_rollup", "\nLazyFree:") * KIB;
    return now > before ? now - before : 0;
}

static void expect_bound(size_t floor, size_t retained, const char *when)
{
    size_t now = kept();
    say(STDOUT_FILENO, "%s: %.1f MiB resident, %.1f hold a live block\n", when, mib(now), mib(floor));
    CHECK(now <= bound(floor) + retained, "%s %.1f MiB are resident, %.1f may be", when, mib(now), mib(bound(floor) + retained));
}

static void expect_bound_throughout(size_t floor, size_t retained)
{
    expect_bound(floor, retained, "at once");
    sleep(seconds);
    expect_bound(floor, retained, "after the sleep");
}

/* The line of /proc/self/smaps that names the flags of the mapping around an address, and how much of it is huge pages. */
static void expect_small_pages(const void *address)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    CHECK(maps != NULL, "/proc/self/smaps: errno %d", errno);
    char line[512];
    bool inside = false, found = false;
    for (unsigned long from, to; fgets(line, sizeof line, maps);) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (inside && strncmp(line, "AnonHugePages:", 14) == 0)
            CHECK(strtoul(line + 14, NULL, 10) == 0, "there are huge pages around %p: %s", address, line);
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " nh") != NULL;
    }
    fclose(maps);
    CHECK(found, "the system may make huge pages around %p", address);
}

static size_t build_and_drop(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
        memset(blocks[i], 1, SIZE);
    }
    begin_floor();
    for (size_t i = 0; i < BLOCKS; i++) {
        if (i % KEPT_ONE_IN == 0)
            add_to_floor(blocks[i], SIZE);
        else
            free(blocks[i]);
    }
    return end_floor();
}

static void drop(void)
{
    size_t floor = build_and_drop();
    expect_bound_throughout(floor, 0);
    for (size_t i = 1; i < 2000; i += KEPT_ONE_IN)
        free(hide(malloc(SIZE)));
    expect_bound(floor, 0, "after a little work");
    for (size_t i = 0; i < BLOCKS; i += KEPT_ONE_IN * 1000)
        expect_small_pages(blocks[i]);
}

/* Runs of slots, which lie in arenas, and mappings of their own. All are written; of ten that follow each other one stays. */
static void large(void)
{
    enum { COUNT = 300 };
    uint64_t random = 1;
    static size_t sizes[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        sizes[i] = random_between(&random, 40 * KIB, 3 * MIB);
        fill(blocks[i] = malloc(sizes[i]), sizes[i], i);
    }
    begin_floor();
    for (size_t i = 0; i < COUNT; i++) {
        if (i % 10 == 0)
            add_to_floor(blocks[i], sizes[i]);
        else
            free(blocks[i]);
    }
    expect_bound_throughout(end_floor(), 0);
    for (size_t i = 0; i < COUNT; i += 10)
        CHECK(is_filled(blocks[i], sizes[i], i), "block %zu is not what it was", i);
}

/* What is retained is the system's to take, or within what may be retained. Huge pages must not make the former resident. */
static void retained(void)
{
    enum { BUFFER = 400 << 20, RETAINED = 32 << 20 };
    for (int turn = 0; turn < 3; turn++) {
        char *buffer = malloc(BUFFER);
        memset(buffer, 1, BUFFER);
        free(hide(buffer));
        build_and_drop();
        for (size_t i = 0; i < BLOCKS; i += KEPT_ONE_IN)
            free(blocks[i]);
    }
    expect_bound_throughout(0, RETAINED);
}

/* A child shares all pages with its parent, and drops its own. */
static void forked(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
        memset(blocks[i], 1, SIZE);
    }
    pid_t child = fork();
    CHECK(child >= 0, "fork: errno %d", errno);
    if (child == 0) {
        begin_floor();
        for (size_t i = 0; i < BLOCKS; i++)
            if (i % KEPT_ONE_IN == 0)
                add_to_floor(blocks[i], SIZE);
            else
                free(blocks[i]);
        expect_bound_throughout(end_floor(), 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ends with status %d", status);
    begin_floor();
    for (size_t i = 0; i < BLOCKS; i++)
        add_to_floor(blocks[i], SIZE);
    expect_bound(end_floor(), 0, "in the parent");
}

/* One block of each size, as a small program has. */
static void touch_each_size(void)
{
    enum { SIZES = 64 };
    for (size_t i = 0; i < SIZES; i++)
        memset(hide(malloc(i * 16 + 1)), 1, i * 16 + 1);
}

static void print_anonymous(void)
{
    size_t at_once = anonymous();
    sleep(seconds);
    say(STDOUT_FILENO, "anonymous: %zu KiB at once, %zu after the sleep\n", at_once, anonymous());
}

static void small(void)
{
    touch_each_size();
    print_anonymous();
}

static void locked(void)
{
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall: errno %d", errno);
    touch_each_size();
    print_anonymous();
}

static sem_t written, over;

static void *allocate_one(void *none)
{
    memset(hide(malloc(100)), 1, 100);
    sem_post(&written);
    sem_wait(&over);
    return none;
}

/* They stay: a thousand threads with a block each. */
static void threads(void)
{
    enum { THREADS = 1000 };
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * KIB);
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &attributes, allocate_one, NULL) == 0, "pthread_create fails");
    }
    for (int i = 0; i < THREADS; i++)
        sem_wait(&written);
    print_anonymous();
}

static size_t count_mappings(void)
{
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps != NULL, "/proc/self/maps: errno %d", errno);
    for (int byte; (byte = getc(maps)) != EOF;)
        count += byte == '\n';
    fclose(maps);
    return count;
}

/* A grown heap takes at most one of the mappings that the system allows (vm.max_map_count) for 8 MiB. */
static void mappings(void)
{
    enum { EACH = 8 << 20 };
    size_t first = count_mappings();
    for (size_t i = 0; i < BLOCKS; i++)
        memset(hide(malloc(SIZE)), 1, SIZE);
    sleep(seconds);
    size_t more = count_mappings() - first, most = (size_t)BLOCKS * SIZE / EACH;
    say(STDOUT_FILENO, "%zu mappings for %.0f MiB\n", more, mib((size_t)BLOCKS * SIZE));
    CHECK(more <= most, "a heap of %.0f MiB takes %zu mappings, not at most %zu", mib((size_t)BLOCKS * SIZE), more, most);
}

/* Memory that khugepaged may fill: it was touched while it must not be huge. */
static void control(void)
{
    enum { REGIONS = 16 };
    char *area = mmap(NULL, (REGIONS + 1) * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "mmap: errno %d", errno);
    CHECK(madvise(area, (REGIONS + 1) * HUGE, MADV_NOHUGEPAGE) == 0, "MADV_NOHUGEPAGE: errno %d", errno);
    for (size_t at = 0; at < (REGIONS + 1) * HUGE; at += HUGE)
        area[at] = 1;
    CHECK(madvise(area, (REGIONS + 1) * HUGE, MADV_HUGEPAGE) == 0, "MADV_HUGEPAGE: errno %d", errno);
    sleep(seconds);
    say(STDOUT_FILENO, "huge: %zu KiB\n", kilobytes("/proc/self/smaps_rollup", "\nAnonHugePages:"));
}

int main(int count, char **arguments)
{
    static const struct mode modes[] = {
        {"drop", drop},     {"large", large},     {"retained", retained}, {"fork", forked},     {"small", small},
        {"locked", locked}, {"threads", threads}, {"mappings", mappings}, {"control", control},
    };
    require_pymalloc();
    CHECK(count == 3, "usage: %s MODE SECONDS", arguments[0]);
    seconds = (unsigned)strtoul(arguments[2], NULL, 10);
    blocks = map_table();
    before = resident();
    CHECK(run_mode(modes, COUNT_OF(modes), arguments[1]), "no mode %s", arguments[1]);
    return 0;
}
