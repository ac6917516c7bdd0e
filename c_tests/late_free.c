/*
 * malloc and free when a thread or the process is already ending: late_free keys | first | atexit | library PATH.
 *
 * What must hold: destructors of thread-specific data may allocate and free in all of their rounds, before and after the
 * allocator's own destructor has run; so may exit handlers and destructors of libraries; and none of it grows with the
 * number of threads that have ended.
 */
#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { KEYS = 6, THREADS = 4000, AT_ONCE = 8, WARM_UP = 400 };

/* The value of a key: which key's it is, and in which round of destructors it is to be met. */
struct value {
    int key;
    int round;
    size_t size;
    unsigned char rest[];
};

static pthread_key_t keys[KEYS];
static atomic_int rounds_seen[PTHREAD_DESTRUCTOR_ITERATIONS];
/* One block that the last round of each thread leaves alive for another thread to free. */
static _Atomic(struct value *) left[64];
static atomic_uint next_left;

static size_t size_in(int key, int round)
{
    static const size_t sizes[] = {48, 200, 3000, 20000, 100000, 700000};
    return sizes[(key + round) % (int)COUNT_OF(sizes)];
}

static struct value *new_value(int key, int round)
{
    size_t size = size_in(key, round);
    struct value *value = malloc(sizeof *value + size);
    CHECK(value != NULL, "malloc(%zu) fails in round %d", sizeof *value + size, round);
    value->key = key;
    value->round = round;
    value->size = size;
    fill(value->rest, size < 256 ? size : 256, (uint64_t)round);
    return value;
}

static void end_value(struct value *value)
{
    if (!value)
        return;
    CHECK(is_filled(value->rest, value->size < 256 ? value->size : 256, (uint64_t)value->round),
          "a value of round %d was overwritten", value->round);
    free(value);
}

static void end_of_thread(void *argument)
{
    struct value *value = argument;
    int key = value->key, round = value->round;
    atomic_fetch_add(&rounds_seen[round], 1);
    void *passing = hide(realloc(malloc(size_in(key, round + 1)), size_in(key, round + 2)));
    CHECK(passing != NULL, "realloc fails in round %d", round);
    end_value(value);
    free(passing);
    if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(keys[key], new_value(key, round + 1));
    else
        end_value(atomic_exchange(&left[atomic_fetch_add(&next_left, 1) % COUNT_OF(left)], new_value(key, round)));
}

static void *set_all_keys(void *unused)
{
    (void)unused;
    for (int key = 0; key < KEYS; key++)
        CHECK(pthread_setspecific(keys[key], new_value(key, 0)) == 0, "pthread_setspecific fails");
    return NULL;
}

static void keys_of_many_threads(void)
{
    /* More keys than fit into the thread's own block, so that glibc allocates for some of them. */
    for (int padding = 0; padding < 40; padding++) {
        pthread_key_t unused;
        CHECK(pthread_key_create(&unused, NULL) == 0, "pthread_key_create fails");
        if (padding % 8 == 0 && padding / 8 < KEYS - 1)
            CHECK(pthread_key_create(&keys[padding / 8], end_of_thread) == 0, "pthread_key_create fails");
    }
    CHECK(pthread_key_create(&keys[KEYS - 1], end_of_thread) == 0, "pthread_key_create fails");

    pthread_attr_t small_stack;
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, 128 * KIB);
    size_t resident_then = 0, mapped_then = 0;
    for (int first = 0; first < THREADS; first += AT_ONCE) {
        pthread_t threads[AT_ONCE];
        for (int at = 0; at < AT_ONCE; at++)
            CHECK(pthread_create(&threads[at], &small_stack, set_all_keys, NULL) == 0, "pthread_create fails");
        for (int at = 0; at < AT_ONCE; at++)
            pthread_join(threads[at], NULL);
        if (first == WARM_UP) {
            resident_then = resident();
            mapped_then = address_space();
        }
    }
    for (int round = 0; round < PTHREAD_DESTRUCTOR_ITERATIONS; round++)
        CHECK(atomic_load(&rounds_seen[round]) == THREADS * KEYS, "round %d of the destructors met %d values of %d", round,
              atomic_load(&rounds_seen[round]), THREADS * KEYS);
    CHECK(resident() <= resident_then + 8 * MIB, "resident grows with the number of ended threads: from %.1f to %.1f MiB",
          mib(resident_then), mib(resident()));
    CHECK(address_space() <= mapped_then + 32 * MIB, "address space grows with the number of ended threads: from %.1f to %.1f MiB",
          mib(mapped_then), mib(address_space()));
    for (size_t at = 0; at < COUNT_OF(left); at++)
        end_value(atomic_load(&left[at]));
}

enum { LATE_THREADS = 1000, LATE_FREES = 100 };

static pthread_key_t late_key;
static __thread int late_round;
static void *for_late_thread[LATE_FREES];

/* Does nothing before the last round: there, the allocator's own destructor has no turn any more. */
static void allocate_first_in_the_last_round(void *frees)
{
    if (++late_round < PTHREAD_DESTRUCTOR_ITERATIONS) {
        pthread_setspecific(late_key, frees);
        return;
    }
    if (*(int *)frees) {
        for (int at = 0; at < LATE_FREES; at++)
            free(for_late_thread[at]);
        return;
    }
    void *small = hide(malloc(100)), *large = hide(malloc(5000));
    CHECK(small != NULL && large != NULL, "malloc fails");
    memset(small, 1, 100);
    memset(large, 1, 5000);
    free(small);
    free(large);
}

static void *end_late(void *frees)
{
    CHECK(pthread_setspecific(late_key, frees) == 0, "pthread_setspecific fails");
    return NULL;
}

static void late_threads(int frees)
{
    size_t resident_then = 0, mapped_then = 0;
    for (int count = 0; count < LATE_THREADS; count++) {
        if (count == LATE_THREADS / 10) {
            resident_then = resident();
            mapped_then = address_space();
        }
        for (int at = 0; frees && at < LATE_FREES; at++)
            CHECK((for_late_thread[at] = malloc(64 + (size_t)at)) != NULL, "malloc fails");
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, end_late, &frees) == 0, "pthread_create fails");
        pthread_join(thread, NULL);
    }
    CHECK(resident() <= resident_then + 2 * MIB, "resident grows with threads that %s last: from %.1f to %.1f MiB",
          frees ? "free" : "allocate", mib(resident_then), mib(resident()));
    CHECK(address_space() <= mapped_then + 32 * MIB, "address space grows with threads that %s last: from %.1f to %.1f MiB",
          frees ? "free" : "allocate", mib(mapped_then), mib(address_space()));
}

/* In a child too, whose only thread has another number than it had. */
static void first_in_the_last_round(void)
{
    CHECK(pthread_key_create(&late_key, allocate_first_in_the_last_round) == 0, "pthread_key_create fails");
    late_threads(0);
    late_threads(1);
    pid_t child = fork();
    CHECK(child >= 0, "fork fails with errno %d", errno);
    if (child == 0) {
        alarm(within(60));
        late_threads(0);
        late_threads(1);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "a child ended with status %#x", (unsigned)status);
}

static void *from_before[6];

static void use_all_layers(const char *when)
{
    for (size_t at = 0; at < COUNT_OF(from_before); at++) {
        size_t size = size_in((int)at, 0);
        if (from_before[at])
            CHECK(is_filled(from_before[at], 48, at), "%s: a block from before was overwritten", when);
        free(from_before[at]);
        from_before[at] = hide(malloc(size));
        CHECK(inspect(from_before[at]).state == PYMALLOC_STATE_ALLOCATED, "%s: malloc(%zu) at %p is not alive", when, size,
              from_before[at]);
        from_before[at] = hide(realloc(from_before[at], 2 * size));
        CHECK(from_before[at] != NULL, "%s: realloc fails", when);
        fill(from_before[at], 48, at);
    }
}

static void first_handler(void)
{
    use_all_layers("in the first exit handler");
    say(STDOUT_FILENO, "first exit handler ran\n");
}

static void second_handler(void)
{
    use_all_layers("in the second exit handler");
    say(STDOUT_FILENO, "second exit handler ran\n");
}

__attribute__((destructor)) static void end_of_program(void)
{
    if (!from_before[0])
        return;
    use_all_layers("in the destructor of the program");
    say(STDOUT_FILENO, "destructor of the program ran\n");
}

static void *keep_allocating(void *unused)
{
    for (uint64_t seed = 1;; free(unused))
        unused = hide(malloc(random_between(&seed, 1, 100000)));
    return NULL;
}

static void handlers_while_threads_live(void)
{
    use_all_layers("in main");
    CHECK(atexit(second_handler) == 0 && atexit(first_handler) == 0, "atexit fails");
    /* Threads that never stop: the process ends under them. */
    for (int at = 0; at < 2; at++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, keep_allocating, NULL) == 0, "pthread_create fails");
    }
    usleep(20000);
}

/* late_free_library.c says on stdout that its constructor and its destructor have run. */
static void a_library_comes_and_goes(const char *path)
{
    use_all_layers("in main");
    for (int round = 0; round < 3; round++) {
        void *library = dlopen(path, RTLD_NOW);
        CHECK(library != NULL, "dlopen: %s", dlerror());
        use_all_layers("with the library");
        /* The last one stays: its destructor runs when the process ends. */
        if (round < 2)
            CHECK(dlclose(library) == 0, "dlclose: %s", dlerror());
    }
    use_all_layers("after the library");
}

int main(int count, char **arguments)
{
    require_pymalloc();
    if (count == 2 && strcmp(arguments[1], "keys") == 0)
        keys_of_many_threads();
    else if (count == 2 && strcmp(arguments[1], "first") == 0)
        first_in_the_last_round();
    else if (count == 2 && strcmp(arguments[1], "atexit") == 0)
        handlers_while_threads_live();
    else if (count == 3 && strcmp(arguments[1], "library") == 0)
        a_library_comes_and_goes(arguments[2]);
    else
        FAIL("usage: %s keys | first | atexit | library PATH", arguments[0]);
    return 0;
}
