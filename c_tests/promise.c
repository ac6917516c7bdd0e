/*
 * The promise about resident memory, on random programs: promise THREADS SEED [ROUNDS [SECONDS]].
 *
 * Each round, every thread does one of the things that programs do with memory (grow, drop all but a few, replace, sleep), with
 * sizes and in an order of its own, to blocks of its own or to those that another thread has allocated. Between two rounds all
 * of them wait or have ended, and then must hold:
 *
 * - What is resident is at most the pages that hold a live block, an eighth of that, and 8 MiB (bound), and what is conceded to
 *   the threads (conceded). With SECONDS this is asked once more after so long a sleep, in which the system may make huge pages.
 * - Every byte of every live block is what it was filled with. The same is asked of each block before it is freed.
 *
 * The numbers of a seed are the same in each run; with several threads the interleaving is not. Each round says on stdout what was
 * done and measured, so that the output of a failure shows how it came about.
 *
 * Not drawn, because the bound is not kept for them: large blocks that are replaced one by one by some that are a quarter
 * shorter, in the places of the old ones, whose ends stay resident; one or two blocks freed in each of very many pools of a dozen,
 * and no more; and a thread that sleeps after it has freed a few small blocks in each pool, while another frees almost all others.
 */
#include "page_floor.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

enum { MOST_THREADS = 64, MOST_BLOCKS = 800000, DEFAULT_ROUNDS = 40, SEEDS_APART = 4 };

struct block {
    char *start;
    size_t size;
    uint64_t id;
};

/* Live blocks. The thread that has the table need not be the one that allocated them. */
struct table {
    struct block *blocks;
    size_t count, bytes;
};

/* A distribution of sizes. */
static const struct sizes {
    const char *name;
    /* Of 1000 blocks, how many are runs of slots (40 to 400 KiB) and how many are mappings (512 KiB to 2 MiB). */
    unsigned runs, mappings;
    /* The others are between these. Logarithmic: as many from 16 to 32 bytes as from 16 to 32 KiB. */
    size_t low, high;
    bool logarithmic;
    /* The others are all of one size, which is drawn for the round. */
    bool single;
} all_sizes[] = {
    {"small", 0, 0, 1, 1024, false, false},
    {"tiny", 0, 0, 1, 64, false, false},
    {"medium", 0, 0, 1024, 32 * KIB, true, false},
    {"pooled", 0, 0, 1, 32 * KIB, true, false},
    {"single", 0, 0, 1, 32 * KIB, true, true},
    {"mixed", 10, 1, 1, 32 * KIB, true, false},
    {"large", 500, 100, 1, 32 * KIB, true, false},
    {"runs", 1000, 0, 1, 1, false, false},
    {"mappings", 0, 1000, 1, 1, false, false},
};

enum order { BY_ADDRESS, RANDOM, OLDEST_FIRST, NEWEST_FIRST, ORDERS };
static const char *const order_names[ORDERS] = {"by address", "random", "oldest first", "newest first"};

/* One block in so many survives a drop; 0 for none. */
static const size_t survivors[] = {0, 2, 8, 20, 100, 1000, 5000};

enum act { GROW, DROP, REPLACE, SLEEP, ACTS };
static const char *const act_names[ACTS] = {"grow", "drop", "replace", "sleep"};

/* What a thread does in a round. */
struct task {
    enum act act;
    const struct sizes *sizes;
    size_t single_size;
    /* GROW: until there are so many. REPLACE: so many in all. */
    size_t bytes;
    /* DROP. */
    enum order order;
    size_t survive_one_in;
};

/* A thread. While it waits the main thread does everything else to it. */
static struct worker {
    pthread_t thread;
    sem_t begin, done;
    bool ends;
    uint64_t random;
    struct task task;
    struct table table;
} workers[MOST_THREADS];

static int threads;
static uint64_t seed;
static int round_number;
/* What the table of a thread holds at the most. More in all with more threads, to which more is conceded. */
static size_t most_blocks, most_bytes;
/* Bytes of a slot, and of a pool of each size class. */
static size_t slot_size, one_pool_of_each;

#define REQUIRE(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            say(STDERR_FILENO, "promise %d %lu, round %d: ", threads, (unsigned long)seed, round_number);              \
            FAIL(__VA_ARGS__);                                                                                         \
        }                                                                                                              \
    } while (0)

static bool one_in(uint64_t *random, size_t many)
{
    return next_random(random) % many == 0;
}

/* A number of the range; any doubling in it is as likely as any other. */
static size_t random_logarithmic(uint64_t *random, size_t low, size_t high)
{
    size_t doublings = 0;
    while (low << (doublings + 1) < high)
        doublings++;
    size_t from = low << random_between(random, 0, doublings);
    return random_between(random, from, 2 * from < high ? 2 * from : high);
}

static size_t random_size(const struct task *task, uint64_t *random)
{
    const struct sizes *sizes = task->sizes;
    unsigned kind = (unsigned)(next_random(random) % 1000);
    if (kind < sizes->runs)
        return random_between(random, 40 * KIB, 400 * KIB);
    if (kind < sizes->runs + sizes->mappings)
        return random_between(random, 512 * KIB + 1, 2 * MIB);
    if (sizes->single)
        return task->single_size;
    return sizes->logarithmic ? random_logarithmic(random, sizes->low, sizes->high)
                              : random_between(random, sizes->low, sizes->high);
}

static void check_block(const struct block *block)
{
    REQUIRE(is_filled(block->start, block->size, block->id), "block %p of %zu bytes is not what it was", (void *)block->start,
            block->size);
}

static void allocate(struct worker *worker, struct block *block)
{
    block->size = random_size(&worker->task, &worker->random);
    block->id = next_random(&worker->random);
    block->start = malloc(block->size);
    REQUIRE(block->start != NULL, "malloc(%zu) fails", block->size);
    fill(block->start, block->size, block->id);
    worker->table.bytes += block->size;
}

static void release(struct worker *worker, const struct block *block)
{
    check_block(block);
    free(block->start);
    worker->table.bytes -= block->size;
}

static void exchange(struct block *one, struct block *other)
{
    struct block third = *one;
    *one = *other;
    *other = third;
}

/* By Shell's method, because qsort may allocate. */
static void sort_by_address(struct block *blocks, size_t count)
{
    for (size_t gap = count / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (size_t at = gap; at < count; at++)
            for (size_t place = at; place >= gap && blocks[place].start < blocks[place - gap].start; place -= gap)
                exchange(&blocks[place], &blocks[place - gap]);
}

static void put_in_order(struct table *table, enum order order, uint64_t *random)
{
    struct block *blocks = table->blocks;
    if (order == BY_ADDRESS)
        sort_by_address(blocks, table->count);
    for (size_t at = 0; order == RANDOM && at < table->count; at++)
        exchange(&blocks[at], &blocks[random_between(random, at, table->count - 1)]);
    for (size_t at = 0; order == NEWEST_FIRST && at < table->count / 2; at++)
        exchange(&blocks[at], &blocks[table->count - 1 - at]);
}

static void drop(struct worker *worker)
{
    struct table *table = &worker->table;
    size_t one = worker->task.survive_one_in, left = 0;
    put_in_order(table, worker->task.order, &worker->random);
    for (size_t at = 0; at < table->count; at++) {
        if (one > 0 && one_in(&worker->random, one))
            table->blocks[left++] = table->blocks[at];
        else
            release(worker, &table->blocks[at]);
    }
    table->count = left;
}

static void replace(struct worker *worker)
{
    struct table *table = &worker->table;
    for (size_t bytes = 0; bytes < worker->task.bytes && table->count > 0;) {
        struct block *block = &table->blocks[random_between(&worker->random, 0, table->count - 1)];
        release(worker, block);
        allocate(worker, block);
        bytes += block->size;
    }
}

static void grow(struct worker *worker)
{
    struct table *table = &worker->table;
    while (table->bytes < worker->task.bytes && table->count < most_blocks)
        allocate(worker, &table->blocks[table->count++]);
}

static void *work(void *one)
{
    struct worker *worker = one;
    for (;;) {
        sem_wait(&worker->begin);
        if (worker->ends)
            return NULL;
        if (worker->task.act == GROW)
            grow(worker);
        else if (worker->task.act == DROP)
            drop(worker);
        else if (worker->task.act == REPLACE)
            replace(worker);
        sem_post(&worker->done);
    }
}

static void start(struct worker *worker)
{
    worker->ends = false;
    REQUIRE(pthread_create(&worker->thread, NULL, work, worker) == 0, "pthread_create fails");
}

static void end(struct worker *worker)
{
    worker->ends = true;
    sem_post(&worker->begin);
    pthread_join(worker->thread, NULL);
}

/* If they act together, all threads that have much drop, and the others grow: so that the process has peaks. */
static struct task random_task(const struct table *table, bool together, uint64_t *random)
{
    struct task task = {
        .sizes = &all_sizes[random_between(random, 0, COUNT_OF(all_sizes) - 1)],
        .bytes = random_between(random, MIB, most_bytes),
        .order = (enum order)random_between(random, 0, ORDERS - 1),
        .survive_one_in = survivors[random_between(random, 0, COUNT_OF(survivors) - 1)],
    };
    task.single_size = random_logarithmic(random, task.sizes->low, task.sizes->high);
    enum act likely = table->bytes < most_bytes / 4 ? GROW : DROP;
    uint64_t chance = next_random(random) % 10;
    task.act = together || chance < 6 ? likely : chance < 8 ? REPLACE : SLEEP;
    return task;
}

static void tell(const struct worker *worker)
{
    const struct task *task = &worker->task;
    say(STDOUT_FILENO, "  thread %d: %s", (int)(worker - workers), act_names[task->act]);
    if (task->act == GROW || task->act == REPLACE)
        say(STDOUT_FILENO, " %s, %.1f MiB", task->sizes->name, mib(task->bytes));
    if (task->act != DROP && task->sizes->single)
        say(STDOUT_FILENO, " of %zu", task->single_size);
    if (task->act == DROP)
        say(STDOUT_FILENO, " all but 1 in %zu, %s", task->survive_one_in, order_names[task->order]);
    say(STDOUT_FILENO, "; %zu blocks\n", worker->table.count);
}

/* Hands blocks on to another thread: all that one has, or about half of what both have. */
static void hand_on(uint64_t *random)
{
    size_t first = random_between(random, 0, (size_t)threads - 2), second = random_between(random, first + 1, (size_t)threads - 1);
    struct table *one = &workers[first].table, *other = &workers[second].table;
    bool all = one_in(random, 2);
    say(STDOUT_FILENO, "  threads %zu and %zu exchange %s their blocks\n", first, second, all ? "all" : "half of");
    if (all) {
        struct table third = *one;
        *one = *other;
        *other = third;
        return;
    }
    for (size_t at = 0; at < one->count && at < other->count; at++) {
        if (one_in(random, 2)) {
            exchange(&one->blocks[at], &other->blocks[at]);
            one->bytes += one->blocks[at].size - other->blocks[at].size;
            other->bytes += other->blocks[at].size - one->blocks[at].size;
        }
    }
}

static void measure_pools(void)
{
    for (size_t size = 1;;) {
        void *block = malloc(size);
        pymalloc_info info = inspect(block);
        free(block);
        if (info.kind != PYMALLOC_KIND_POOL)
            return;
        /* Pools of the smallest blocks are one slot. */
        if (size == 1)
            slot_size = info.pool_size;
        one_pool_of_each += info.pool_size;
        size = info.block_size + 1;
    }
}

/*
 * What may be resident beside the promise. The bound is not kept for the pools from which a thread allocates just now, one of each
 * class: these are not looked at for free pages before the thread ends. And a heap has a map by which it finds its
 * pools, with 32 bytes for each slot of all addresses that these ever had; it stays when the thread ends, for the next one.
 */
static size_t conceded(bool ended)
{
    size_t map = 256 * MIB / slot_size * 32;
    return (size_t)threads * (map + (ended ? 0 : one_pool_of_each));
}

static void check_promise(size_t before, bool ended)
{
    size_t live = 0;
    begin_floor();
    for (struct worker *worker = workers; worker < workers + threads; worker++) {
        for (size_t at = 0; at < worker->table.count; at++) {
            check_block(&worker->table.blocks[at]);
            add_to_floor(worker->table.blocks[at].start, worker->table.blocks[at].size);
        }
        live += worker->table.bytes;
    }
    size_t floor = end_floor(), found = resident_since(before), most = bound(floor) + conceded(ended);
    say(STDOUT_FILENO, "round %d: %.1f MiB live, page floor %.1f, resident %.1f, allowed %.1f%s\n", round_number, mib(live),
        mib(floor), mib(found), mib(most), ended ? ", all threads ended" : "");
    REQUIRE(found <= most, "%.1f MiB are resident, not at most %.1f", mib(found), mib(most));
}

static void do_round(uint64_t *random, size_t before)
{
    bool together = one_in(random, 2);
    for (int at = 0; at < threads; at++) {
        workers[at].task = random_task(&workers[at].table, together, random);
        workers[at].random = next_random(random);
    }
    if (threads > 1 && one_in(random, 2))
        hand_on(random);
    for (int at = 0; at < threads; at++)
        sem_post(&workers[at].begin);
    for (int at = 0; at < threads; at++) {
        sem_wait(&workers[at].done);
        tell(&workers[at]);
    }
    bool all_end = one_in(random, 4);
    for (int at = 0; at < threads; at++) {
        bool one_ends = one_in(random, 8);
        if (all_end || one_ends)
            end(&workers[at]);
    }
    check_promise(before, all_end);
    for (int at = 0; at < threads; at++)
        if (workers[at].ends)
            start(&workers[at]);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    CHECK(count >= 3 && count <= 5, "usage: %s THREADS SEED [ROUNDS [SECONDS]]", arguments[0]);
    threads = atoi(arguments[1]);
    CHECK(threads >= 1 && threads <= MOST_THREADS, "from 1 to %d threads, not %s", MOST_THREADS, arguments[1]);
    seed = strtoull(arguments[2], NULL, 0);
    int rounds = count > 3 ? atoi(arguments[3]) : DEFAULT_ROUNDS;
    unsigned seconds = count > 4 ? (unsigned)atoi(arguments[4]) : 0;
    uint64_t random = seed * SEEDS_APART + (uint64_t)threads;

    forbid_retaining(arguments);
    measure_pools();
    most_blocks = MOST_BLOCKS / (size_t)threads;
    most_bytes = 64 * MIB / (size_t)threads + 32 * MIB;
    for (int at = 0; at < threads; at++) {
        workers[at].table.blocks = map_array(most_blocks, sizeof(struct block));
        sem_init(&workers[at].begin, 0, 0);
        sem_init(&workers[at].done, 0, 0);
    }
    size_t before = resident();
    for (int at = 0; at < threads; at++)
        start(&workers[at]);
    for (round_number = 0; round_number < rounds; round_number++)
        do_round(&random, before);
    if (seconds > 0) {
        sleep(seconds);
        check_promise(before, false);
        do_round(&random, before);
    }
    for (int at = 0; at < threads; at++)
        end(&workers[at]);
    return 0;
}
