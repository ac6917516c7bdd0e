/*
 * A program on the C library's malloc that loads and unloads pymalloc itself, 50 times: late_dlopen PATH.
 *
 * What must hold: pymalloc_* work beside another malloc; threads that have used them may end after the library was closed;
 * blocks survive from one opening to the next; and nothing grows with the number of openings.
 */
#include "page_floor.h"

#include <pthread.h>

enum { ROUNDS = 50, EARLY = 3, LATE = 2, WARM_UP = 10 };

static void *(*own_malloc)(size_t);
static void *(*own_realloc)(void *, size_t);
static void (*own_free)(void *);
static inspect_function *own_inspect;

/* The threads of a round that end only when a later round lets them. */
static pthread_t late_threads[ROUNDS][LATE];
static pthread_barrier_t late_turns[ROUNDS];

static void use(uint64_t seed)
{
    static const size_t sizes[] = {1, 48, 700, 3000, 20000, 100000, 600000, 2 * MIB};
    void *blocks[COUNT_OF(sizes)];
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        blocks[at] = own_malloc(sizes[at]);
        CHECK(blocks[at] != NULL, "pymalloc_malloc(%zu) fails", sizes[at]);
        fill(blocks[at], sizes[at], seed + at);
    }
    for (size_t at = 0; at < COUNT_OF(sizes); at++) {
        blocks[at] = own_realloc(blocks[at], 2 * sizes[at]);
        CHECK(blocks[at] != NULL && is_filled(blocks[at], sizes[at], seed + at), "pymalloc_realloc to %zu loses the content",
              2 * sizes[at]);
        own_free(blocks[at]);
    }
}

static void *end_early(void *round)
{
    use((uint64_t)(uintptr_t)round);
    return NULL;
}

static void *end_late(void *argument)
{
    uintptr_t round = (uintptr_t)argument;
    use(round);
    pthread_barrier_wait(&late_turns[round]);
    /* The library is closed by now, and this thread ends. */
    pthread_barrier_wait(&late_turns[round]);
    return NULL;
}

static void start(pthread_t *thread, void *(*body)(void *), uintptr_t round)
{
    pthread_attr_t small_stack;
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, 128 * KIB);
    CHECK(pthread_create(thread, &small_stack, body, (void *)round) == 0, "pthread_create fails");
    pthread_attr_destroy(&small_stack);
}

static void let_end(int round)
{
    pthread_barrier_wait(&late_turns[round]);
    for (int at = 0; at < LATE; at++)
        pthread_join(late_threads[round][at], NULL);
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: %s PATH", arguments[0]);
    forbid_retaining(arguments);
    CHECK(dlsym(RTLD_DEFAULT, "pymalloc_inspect") == NULL, "pymalloc is linked or preloaded: this test is about neither");
    size_t resident_then = 0, mapped_then = 0;
    char *survivor = NULL;
    for (int round = 0; round < ROUNDS; round++) {
        void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
        CHECK(library != NULL, "round %d: dlopen: %s", round, dlerror());
        own_malloc = (__typeof__(own_malloc))(uintptr_t)dlsym(library, "pymalloc_malloc");
        own_realloc = (__typeof__(own_realloc))(uintptr_t)dlsym(library, "pymalloc_realloc");
        own_free = (__typeof__(own_free))(uintptr_t)dlsym(library, "pymalloc_free");
        own_inspect = (__typeof__(own_inspect))(uintptr_t)dlsym(library, "pymalloc_inspect");
        CHECK(own_malloc && own_realloc && own_free && own_inspect, "round %d: dlsym: %s", round, dlerror());

        pymalloc_info info;
        void *foreign = hide(malloc(100));
        CHECK(own_inspect(foreign, &info) == 0, "the C library's block %p is said to be pymalloc's", foreign);
        free(foreign);
        if (survivor) {
            CHECK(own_inspect(survivor, &info) == 1 && info.state == PYMALLOC_STATE_ALLOCATED && is_filled(survivor, 5000, 1),
                  "a block did not survive dlclose and dlopen");
            own_free(survivor);
        }
        survivor = own_malloc(5000);
        fill(survivor, 5000, 1);

        pthread_t early[EARLY];
        pthread_barrier_init(&late_turns[round], NULL, LATE + 1);
        for (int at = 0; at < EARLY; at++)
            start(&early[at], end_early, (uintptr_t)round);
        for (int at = 0; at < LATE; at++)
            start(&late_threads[round][at], end_late, (uintptr_t)round);
        use(1);
        for (int at = 0; at < EARLY; at++)
            pthread_join(early[at], NULL);
        pthread_barrier_wait(&late_turns[round]);
        CHECK(dlclose(library) == 0, "round %d: dlclose: %s", round, dlerror());
        if (round % 2 == 1) {
            let_end(round);
            let_end(round - 1);
        }
        if (round == WARM_UP + 1) {
            resident_then = resident();
            mapped_then = address_space();
        }
    }
    CHECK(resident() <= resident_then + 3 * MIB, "resident grows with the number of openings: from %.1f to %.1f MiB",
          mib(resident_then), mib(resident()));
    // An emulator keeps 280 KiB of each thread that ended.
    CHECK(getenv("PYMALLOC_TEST_EMULATED") || address_space() <= mapped_then + 32 * MIB, "address space grows with the number of openings: from %.1f to %.1f MiB",
          mib(mapped_then), mib(address_space()));
    return 0;
}
