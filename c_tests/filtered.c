/*
 * Every function of the malloc family under a filter that ends the process at a system call that it does not know. Those that it knows
 * are the arguments: the list that README.md gives.
 *
 * What must hold: none of them makes any other call, at any size, in threads too, whose first block it may be, and when there is no memory.
 */
#include "check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Newer than some C libraries. */
typedef void free_sized_function(void *, size_t);
typedef void free_aligned_sized_function(void *, size_t, size_t);

#define BLOCKS 20000
#define THREADS 2

static const struct {
    const char *name;
    int number;
} known[] = {
    {"mmap", SYS_mmap},     {"munmap", SYS_munmap},   {"mremap", SYS_mremap}, {"madvise", SYS_madvise},
    {"mincore", SYS_mincore}, {"futex", SYS_futex},   {"write", SYS_write},   {"sched_yield", SYS_sched_yield},
};

/* Volatile: the C library tells the compiler that its functions call none of the program. */
static __thread const char *volatile in_call;
static FILE *nowhere;
static pthread_barrier_t turn;

static void report(int signal, siginfo_t *information, void *context)
{
    (void)signal;
    (void)context;
    FAIL("%s makes system call number %d", in_call ? in_call : "nothing of the malloc family", information->si_syscall);
}

/* Keeps each from being taken for the next by the compiler. */
#define CALL(name, expression)                                                                                         \
    (__extension__({                                                                                                   \
        in_call = name;                                                                                                \
        __auto_type result = expression;                                                                               \
        in_call = NULL;                                                                                                \
        result;                                                                                                        \
    }))

static void *make(size_t which, size_t size)
{
    void *block = NULL;
    switch (which % 8) {
    case 0:
        return CALL("calloc", calloc(1, size));
    case 1:
        return CALL("aligned_alloc", aligned_alloc(64, size));
    case 2:
        return CALL("memalign", memalign(4096, size));
    case 3:
        return CALL("posix_memalign", posix_memalign(&block, 32, size)), block;
    case 4:
        return CALL("valloc", valloc(size));
    case 5:
        return CALL("pvalloc", pvalloc(size));
    case 6:
        return CALL("reallocarray", reallocarray(NULL, 1, size));
    default:
        return CALL("malloc", malloc(size));
    }
}

static void unmake(size_t which, void *block, size_t size)
{
    in_call = "free";
    if (which % 8 == 7)
        ((free_sized_function *)find("free_sized"))(block, size);
    else if (which % 8 == 1)
        ((free_aligned_sized_function *)find("free_aligned_sized"))(block, 64, size);
    else
        free(block);
    in_call = NULL;
}

static size_t size_of(uint64_t *random, size_t round)
{
    return random_between(random, 1, round % 500 == 0 ? 3 * MIB : round % 50 == 0 ? 100 * KIB : round % 10 ? 400 : 9000);
}

static void *work(void *seed)
{
    static __thread struct {
        char *block;
        size_t size;
    } held[BLOCKS];
    uint64_t random = (uintptr_t)seed;
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    for (size_t round = 0; round < 3; round++) {
        for (size_t at = 0; at < BLOCKS; at++) {
            held[at].size = size_of(&random, at);
            held[at].block = make(at % 80 < 8 ? at : 7, held[at].size);
            CHECK(held[at].block != NULL, "no memory");
            held[at].block[0] = 1;
            CHECK(CALL("malloc_usable_size", malloc_usable_size(held[at].block)) >= held[at].size, "too small");
        }
        for (size_t at = 0; at < BLOCKS; at += 3) {
            held[at].size = size_of(&random, at);
            held[at].block = CALL("realloc", realloc(held[at].block, held[at].size));
            CHECK(held[at].block != NULL, "no memory");
        }
        for (size_t at = 0; at < BLOCKS; at++)
            if (at % 3 == 0)
                CALL("free", (free(held[at].block), 0));
            else
                unmake(at % 80 < 8 ? at : 7, held[at].block, held[at].size);
        CALL("malloc_trim", malloc_trim(0));
    }
    char *block = CALL("malloc", malloc(3 * MIB));
    block = CALL("realloc", realloc(block, 40 * MIB));
    block[39 * MIB] = 1;
    block = CALL("realloc", realloc(block, 2 * MIB));
    CALL("free", (free(block), 0));
    CHECK(CALL("malloc", malloc(hide_size(PTRDIFF_MAX) / 2)) == NULL, "there is no end to memory");
    /* The C library makes calls of its own as a thread ends: none does. */
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    return NULL;
}

static void figures(void)
{
    CALL("mallinfo2", mallinfo2());
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    CALL("mallinfo", mallinfo());
#pragma GCC diagnostic pop
    CALL("malloc_stats", (malloc_stats(), 0));
    CHECK(CALL("malloc_info", malloc_info(0, nowhere)) == 0, "malloc_info fails");
    CALL("mallopt", mallopt(M_TRIM_THRESHOLD, 1));
}

static void filter(int count, char **names)
{
    struct sock_filter program[64];
    size_t length = 0;
    /* For the end of the process. */
    int numbers[32] = {SYS_exit_group}, used = 1;
    for (int at = 0; at < count; at++) {
        size_t which = 0;
        while (which < COUNT_OF(known) && strcmp(known[which].name, names[at]) != 0)
            which++;
        CHECK(which < COUNT_OF(known), "this test knows no system call %s", names[at]);
        numbers[used++] = known[which].number;
    }
    program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int at = 0; at < used; at++) {
        program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)numbers[at], 0, 1);
        program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog whole = {(unsigned short)length, program};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS fails");
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &whole) == 0, "seccomp fails: errno %d",
          errno);
}

int main(int count, char **arguments)
{
    static char sink[1 << 16];
    pthread_t threads[THREADS];
    CHECK(count > 1, "usage: %s CALL...", arguments[0]);
    require_pymalloc();
    find("free_sized");
    find("free_aligned_sized");
    nowhere = fmemopen(sink, sizeof sink, "w");
    CHECK(nowhere != NULL, "fmemopen fails");
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = report;
    sigaction(SIGSYS, &action, NULL);
    pthread_barrier_init(&turn, NULL, THREADS + 1);
    for (size_t at = 0; at < THREADS; at++)
        CHECK(pthread_create(&threads[at], NULL, work, (void *)(at + 1)) == 0, "pthread_create fails");
    pthread_barrier_wait(&turn);
    filter(count - 1, arguments + 1);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    figures();
    _exit(0);
}
