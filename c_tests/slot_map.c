/*
 * What a thread costs, and frees into pools that lie far apart: slot_map locked | limit | addresses | threads | refused | fork, or
 * slot_map spread | together PAIRS ARENA, of which the runner counts the instructions. ARENA is how large one is.
 *
 * What must hold: the table by which a thread knows its own blocks is small, since it counts where all memory is locked or
 * addresses are short; and frees are right, and as quick, however many pools a thread has and wherever they lie. Tables that the system
 * refuses to unmap one by one do not add up.
 */
#include "check.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifdef __aarch64__
/* The smallest that the GNU C library allows there. */
enum { STACK = 128 << 10 };
#else
enum { STACK = 64 << 10 };
#endif
enum { THREADS = 60, BLOCK = 512 };

/* Threads that each hold a block until all have one. */
static pthread_barrier_t all_have, may_end;
static _Atomic int failed;

static void *hold_block(void *unused)
{
    (void)unused;
    char *block = hide(malloc(1000));
    if (block)
        memset(block, 1, 1000);
    else
        failed++;
    pthread_barrier_wait(&all_have);
    pthread_barrier_wait(&may_end);
    free(block);
    return NULL;
}

static pthread_t start(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, STACK) == 0, "no attributes");
    int error = pthread_create(&thread, &attributes, run, argument);
    CHECK(error == 0, "pthread_create fails with %d", error);
    pthread_attr_destroy(&attributes);
    return thread;
}

/* Runs `count` such threads and returns what `measure` says is more while they hold their blocks. */
static size_t while_they_hold(unsigned count, size_t (*measure)(void))
{
    pthread_t threads[THREADS + 4];
    CHECK(count <= COUNT_OF(threads), "too many threads");
    pthread_barrier_init(&all_have, NULL, count + 1);
    pthread_barrier_init(&may_end, NULL, count + 1);
    size_t before = measure();
    for (unsigned at = 0; at < count; at++)
        threads[at] = start(hold_block, NULL);
    pthread_barrier_wait(&all_have);
    size_t during = measure();
    pthread_barrier_wait(&may_end);
    for (unsigned at = 0; at < count; at++)
        pthread_join(threads[at], NULL);
    CHECK(failed == 0, "malloc(1000) fails in %d of %u threads", failed, count);
    return during > before ? during - before : 0;
}

static size_t locked_memory(void)
{
    char text[4096];
    read_proc("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, "\nVmLck:");
    CHECK(line != NULL, "/proc/self/status has no VmLck line");
    return (size_t)strtoull(line + 7, NULL, 10) * KIB;
}

static void locked(void)
{
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        /* What is checked cannot happen to a process without the right. */
        CHECK(errno == EPERM || errno == ENOMEM, "mlockall fails with errno %d", errno);
        return;
    }
    size_t each = while_they_hold(THREADS, locked_memory) / THREADS, most = STACK + 128 * KIB;
    CHECK(each <= most, "a thread locks %zu KiB, its stack included", each / KIB);
    /* Others take over what these had: a stack more or less is the C library's, and in musl a guard and a thread's data beside each. */
#ifdef __GLIBC__
    enum { BESIDE = 8 * 1024 };
#else
    enum { BESIDE = 16 * 1024 };
#endif
    size_t more = while_they_hold(THREADS, locked_memory) / THREADS;
    CHECK(more <= STACK + BESIDE, "one that comes later locks %zu KiB", more / KIB);
}

/* As a daemon without rights does under the limit that most systems set. */
static void limit(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0, "getrlimit fails");
    if (limit.rlim_max < 8 * MIB)
        return;
    limit.rlim_cur = limit.rlim_max = 8 * MIB;
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "setrlimit fails");
    if (getuid() == 0)
        CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0, "the rights cannot be dropped");
    free(hide(malloc(100)));
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall fails with errno %d, with %.1f MiB mapped", errno,
          mib(address_space()));
    while_they_hold(3, locked_memory);
}

static void addresses(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0, "getrlimit fails");
    limit.rlim_cur = address_space() + 24 * MIB;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit fails");
    while_they_hold(THREADS + 4, address_space);
}

/* Blocks of a thread, each with its number in the first word and the last. */
struct set {
    size_t **blocks;
    size_t count;
};

static size_t *new_block(size_t number)
{
    size_t *block = hide(malloc(BLOCK));
    CHECK(block != NULL, "malloc(%d) fails", BLOCK);
    block[0] = block[BLOCK / sizeof *block - 1] = number;
    return block;
}

static void drop_block(size_t *block, size_t number)
{
    CHECK(block[0] == number && block[BLOCK / sizeof *block - 1] == number, "block %zu at %p was overwritten", number,
          (void *)block);
    free(block);
}

/* Not by malloc, so that the blocks lie one behind the other. */
static void *own_mapping(size_t size, int rights)
{
    void *mapping = mmap(NULL, size, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(mapping != MAP_FAILED, "mmap fails with errno %d", errno);
    return mapping;
}

static struct set new_set(size_t count)
{
    struct set set = {own_mapping(count * sizeof(size_t *), PROT_READ | PROT_WRITE), count};
    for (size_t at = 0; at < count; at++)
        set.blocks[at] = new_block(at);
    return set;
}

static void drop_blocks(struct set set)
{
    for (size_t at = 0; at < set.count; at++)
        drop_block(set.blocks[at], at);
}

static void drop_set(struct set set)
{
    drop_blocks(set);
    munmap(set.blocks, set.count * sizeof(size_t *));
}

/* Frees blocks of the set here and there, and allocates them anew. */
static void replace_some(struct set set, size_t pairs, uint64_t *seed)
{
    for (size_t pair = 0; pair < pairs; pair++) {
        size_t at = next_random(seed) % set.count;
        drop_block(set.blocks[at], at);
        set.blocks[at] = new_block(at);
    }
}

/*
 * Batches of 16 arenas, each 2,048 arenas from the one before, and pairs of free and malloc all over them. One block in four is
 * free, so that no page is, and the thread owns every pool from its first free on. What lies between are large blocks that
 * nobody touches.
 */
static void replace_in(size_t batches, size_t blocks, size_t pairs, size_t arena)
{
    struct set set = {own_mapping(batches * blocks * sizeof(size_t *), PROT_READ | PROT_WRITE), 0};
    size_t **spare = own_mapping(batches * blocks * sizeof(size_t *), PROT_READ | PROT_WRITE), spares = 0;
    for (size_t batch = 0; batch < batches; batch++) {
        for (size_t count = 0; count < blocks; count++)
            if (count % 4 == 0)
                spare[spares++] = hide(malloc(BLOCK));
            else {
                set.blocks[set.count] = new_block(set.count);
                set.count++;
            }
        /* Two of 31 slots in each arena. */
        for (int count = 0; batch + 1 < batches && count < 2 * (2048 - 16); count++)
            CHECK(hide(malloc(arena / 64 * 31)) != NULL, "no large block");
    }
    while (spares > 0)
        free(spare[--spares]);
    uint64_t seed = 1;
    replace_some(set, 1200000, &seed);
    replace_some(set, pairs, &seed);
}

static void spread(size_t pairs, size_t arena)
{
    replace_in(4, 16 * arena / BLOCK, pairs, arena);
}

static void together(size_t pairs, size_t arena)
{
    replace_in(1, 1000, pairs, arena);
}

/* Threads that come and go, each with pools all over what all of them have, and who free each other's blocks. */
enum { WORKERS = 4, ROUNDS = 6, OWN = 30000, GIVEN = 500 };
static _Atomic(size_t *) given[WORKERS][GIVEN];

static void *work(void *argument)
{
    size_t worker = (size_t)argument, next = (worker + 1) % WORKERS;
    uint64_t seed = worker;
    struct set set = new_set(OWN);
    for (size_t round = 0; round < 20; round++) {
        replace_some(set, 1000, &seed);
        for (size_t at = 0; at < GIVEN; at++) {
            size_t *expected = NULL;
            size_t place = random_between(&seed, 0, OWN - 1);
            /* A number of its own, and another block in the place of the one that was given away. */
            set.blocks[place][0] = set.blocks[place][BLOCK / sizeof(size_t) - 1] = at;
            if (atomic_compare_exchange_strong(&given[next][at], &expected, set.blocks[place]))
                set.blocks[place] = new_block(place);
            else
                set.blocks[place][0] = set.blocks[place][BLOCK / sizeof(size_t) - 1] = place;
            size_t *gift = atomic_exchange(&given[worker][at], NULL);
            if (gift)
                drop_block(gift, at);
        }
    }
    drop_set(set);
    return NULL;
}

static void threads(void)
{
    pthread_t workers[WORKERS];
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t at = 0; at < WORKERS; at++)
            workers[at] = start(work, (void *)at);
        for (size_t at = 0; at < WORKERS; at++)
            pthread_join(workers[at], NULL);
    }
    for (size_t worker = 0; worker < WORKERS; worker++)
        for (size_t at = 0; at < GIVEN; at++)
            if (given[worker][at])
                drop_block(given[worker][at], at);
    malloc_trim(0);
    CHECK(resident() < 24 * MIB, "%.1f MiB are resident after all was freed", mib(resident()));
}

/* From now on the system refuses this thread to unmap what is a page longer than a multiple of 64 KiB, as tables are, and no others. */
static void refuse_to_unmap_tables(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 0, 4),
        /* The lower half, on machines whose first byte is the lowest. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 64 * KIB - 1),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)sysconf(_SC_PAGESIZE), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(filter), filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
          "no filter can be set: errno %d", errno);
}

/* Frees one block in four here and there, so that the thread owns every pool from its next free into it on. */
static void thin_out(struct set *set)
{
    size_t kept = 0;
    for (size_t at = 0; at < set->count; at++) {
        size_t *block = set->blocks[at];
        if (at % 4 == 0) {
            drop_block(block, at);
            continue;
        }
        block[0] = block[BLOCK / sizeof *block - 1] = kept;
        set->blocks[kept++] = block;
    }
    set->count = kept;
}

/* Each thread outgrows a table of 128 KiB, and leaves one of 512 KiB or more. */
enum { OUTGROWING = 6, MANY = 200000 };

static void *outgrow_refused(void *unused)
{
    refuse_to_unmap_tables();
    uint64_t seed = 1;
    struct set whole = new_set(MANY), set = whole;
    thin_out(&set);
    replace_some(set, MANY, &seed);
    drop_blocks(set);
    munmap(whole.blocks, MANY * sizeof(size_t *));
    return unused;
}

static void refused(void)
{
    size_t after_first = 0;
    for (int round = 0; round <= OUTGROWING; round++) {
        pthread_join(start(outgrow_refused, NULL), NULL);
        malloc_trim(0);
        if (round == 0)
            after_first = address_space();
    }
    size_t now = address_space(), more = now > after_first ? now - after_first : 0;
    CHECK(more < OUTGROWING * 128 * KIB, "%d threads leave %.1f MiB of addresses in tables that could not be unmapped", OUTGROWING, mib(more));
}

/* Children that are forked at any moment, also while a thread outgrows its table or ends. */
static _Atomic int enough;

static void *outgrow(void *unused)
{
    (void)unused;
    while (!enough) {
        pthread_t worker = start(work, (void *)0);
        pthread_join(worker, NULL);
    }
    return NULL;
}

static void fork_meanwhile(void)
{
    uint64_t seed = 5;
    pthread_t other = start(outgrow, NULL);
    for (int count = 0; count < 60; count++) {
        usleep((useconds_t)random_between(&seed, 0, 3000));
        pid_t child = fork();
        CHECK(child >= 0, "fork fails with errno %d", errno);
        if (child == 0) {
            alarm(within(60));
            struct set set = new_set(2 * OWN);
            replace_some(set, 4000, &seed);
            /* A thread of the child, which gets the heap of one that it does not have. */
            pthread_t worker = start(work, (void *)1);
            pthread_join(worker, NULL);
            drop_set(set);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child, "waitpid fails");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ends with status %#x", (unsigned)status);
    }
    enough = 1;
    pthread_join(other, NULL);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    const struct mode modes[] = {
        {"locked", locked}, {"limit", limit}, {"addresses", addresses}, {"threads", threads},
        {"refused", refused}, {"fork", fork_meanwhile},
    };
    if (count == 4 && strcmp(arguments[1], "spread") == 0)
        spread(strtoull(arguments[2], NULL, 10), strtoull(arguments[3], NULL, 10));
    else if (count == 4 && strcmp(arguments[1], "together") == 0)
        together(strtoull(arguments[2], NULL, 10), strtoull(arguments[3], NULL, 10));
    else
        CHECK(count == 2 && run_mode(modes, COUNT_OF(modes), arguments[1]), "usage: see the top of this file");
    return 0;
}
