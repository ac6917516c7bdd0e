/*
 * The program has functions of its own in the place of the C library's for system calls, and they allocate: programs that count or log
 * their mappings, tools that change the time.
 *
 * What must hold: the library comes to none of them, from whatever it does, on one thread and on several; so it cannot come back to itself
 * in the middle of something.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#define THREADS 3
#define BLOCKS 8192
#define ROUNDS 200000

static __thread int inside;
static const char *volatile caller;

/* What each of the functions does first: it allocates at every layer. */
static void allocate(const char *name)
{
    if (inside)
        return;
    inside = 1;
    caller = name;
    static const size_t sizes[] = {24, 200, 2000, 30000, 700 * KIB};
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        char *block = hide(malloc(sizes[at]));
        if (block)
            block[0] = 1;
        free(block);
    }
    inside = 0;
}

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    allocate(__func__);
    return (void *)syscall(SYS_mmap, address, size, protection, flags, descriptor, offset);
}

int munmap(void *address, size_t size)
{
    allocate(__func__);
    return (int)syscall(SYS_munmap, address, size);
}

int madvise(void *address, size_t size, int advice)
{
    allocate(__func__);
    return (int)syscall(SYS_madvise, address, size, advice);
}

void *mremap(void *address, size_t old_size, size_t new_size, int flags, ...)
{
    allocate(__func__);
    return (void *)syscall(SYS_mremap, address, old_size, new_size, flags, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    allocate(__func__);
    return (int)syscall(SYS_clock_gettime, clock, time);
}

int sched_yield(void)
{
    allocate(__func__);
    return (int)syscall(SYS_sched_yield);
}

int mincore(void *address, size_t size, unsigned char *told)
{
    allocate(__func__);
    return (int)syscall(SYS_mincore, address, size, told);
}

ssize_t process_vm_readv(pid_t process, const struct iovec *to, unsigned long to_count, const struct iovec *from,
                         unsigned long from_count, unsigned long flags)
{
    allocate(__func__);
    return syscall(SYS_process_vm_readv, process, to, to_count, from, from_count, flags);
}

pid_t getpid(void)
{
    allocate(__func__);
    return (pid_t)syscall(SYS_getpid);
}

static void *work(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    char **blocks = calloc(BLOCKS, sizeof *blocks);
    CHECK(blocks != NULL, "no memory");
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t at = random_between(&random, 0, BLOCKS - 1);
        size_t size = random_between(&random, 1, round % 1000 ? 700 : 2 * MIB);
        if (round % 3) {
            free(blocks[at]);
            blocks[at] = NULL;
        } else {
            blocks[at] = realloc(blocks[at], size);
            CHECK(blocks[at] != NULL, "no memory");
            memset(blocks[at], 1, size < 5000 ? size : 5000);
            CHECK(malloc_usable_size(blocks[at]) >= size, "a block is too small");
        }
    }
    for (size_t at = 0; at < BLOCKS; at++)
        free(blocks[at]);
    free(blocks);
    /* Written in part, grown, shrunk, kept: what the system is asked about. */
    for (size_t round = 0; round < 4; round++) {
        char *block = malloc(2 * MIB);
        block[0] = 1;
        block = realloc(block, 30 * MIB);
        block = realloc(block, 3 * MIB);
        free(block);
        free(hide(calloc(1, 5 * MIB)));
    }
    malloc_trim(0);
    struct mallinfo2 info = mallinfo2();
    CHECK(info.usmblks > 0, "mallinfo2 knows of no arena");
    return NULL;
}

int main(void)
{
    require_pymalloc();
    allocate("itself");
    void *mapping = mmap(NULL, MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(caller && strcmp(caller, "mmap") == 0, "the program's own calls do not come to its functions");
    munmap(mapping, MIB);
    caller = NULL;
    work((void *)1);
    pthread_t threads[THREADS];
    for (size_t at = 0; at < THREADS; at++)
        CHECK(pthread_create(&threads[at], NULL, work, (void *)(at + 2)) == 0, "pthread_create fails");
    for (size_t at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
    CHECK(caller == NULL, "the library comes to the program's %s", caller);
    return 0;
}
