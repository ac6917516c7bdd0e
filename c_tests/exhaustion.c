/*
 * The address space runs out (RLIMIT_AS), at each size from 16 bytes to 3 MiB, in one process.
 *
 * What must hold: most of what the limit leaves can be had; then NULL and ENOMEM, never a crash; everything held
 * so far is intact; what is freed can be had again at once, also by blocks of another size; and a thread that comes
 * to malloc for the first time when nothing is left gets NULL as well.
 */
#include "check.h"

#include <pthread.h>
#include <sys/resource.h>

#define ROOM (256 * MIB)

/* Every block is a link of one list, so that holding millions of them takes no memory besides. */
struct link {
    struct link *next;
    size_t mark;
};

static size_t page;

/* One word in each page and the last word: as much as a lost page or an overlap could show. */
static void mark(struct link *link, size_t size)
{
    link->mark = (uintptr_t)link ^ size;
    for (size_t at = page; at + sizeof(size_t) <= size; at += page)
        *(size_t *)((char *)link + at) = (uintptr_t)link + at;
    if (size >= 2 * sizeof *link)
        *(size_t *)((char *)link + size - sizeof(size_t)) = ~(uintptr_t)link;
}

static int is_marked(const struct link *link, size_t size)
{
    if (size >= 2 * sizeof *link && *(const size_t *)((const char *)link + size - sizeof(size_t)) != ~(uintptr_t)link)
        return 0;
    for (size_t at = page; at + 2 * sizeof(size_t) <= size; at += page)
        if (*(const size_t *)((const char *)link + at) != (uintptr_t)link + at)
            return 0;
    return link->mark == ((uintptr_t)link ^ size);
}

static void expect_nothing_left(size_t size, struct link *held)
{
    errno = 0;
    CHECK(hide(calloc(1, size)) == NULL && errno == ENOMEM, "size %zu is exhausted, yet calloc works or sets errno %d", size, errno);
    errno = 0;
    CHECK(hide(malloc(ROOM)) == NULL && errno == ENOMEM, "size %zu is exhausted, yet malloc(%zu) works or sets errno %d", size, ROOM,
          errno);
    errno = 0;
    CHECK(hide(realloc(hide(held), ROOM)) == NULL && errno == ENOMEM,
          "size %zu is exhausted, yet realloc to %zu works or sets errno %d", size, ROOM, errno);
    CHECK(is_marked(held, size), "a refused realloc harms its block of %zu bytes", size);
    void *output = &output;
    CHECK(posix_memalign(&output, 4096, ROOM) == ENOMEM && output == &output, "posix_memalign does not return ENOMEM");
}

/* Takes blocks of one size until there are none, checks them, and frees them all. Returns the bytes that were had. */
static size_t exhaust(size_t size)
{
    struct link *list = NULL;
    size_t count = 0;
    for (;;) {
        errno = 0;
        struct link *link = malloc(size);
        if (!link)
            break;
        mark(link, size);
        link->next = list;
        list = link;
        count++;
    }
    CHECK(errno == ENOMEM, "malloc(%zu) fails with errno %d after %zu blocks", size, errno, count);
    CHECK(list != NULL, "not one block of %zu bytes could be had", size);
    expect_nothing_left(size, list);

    /* What is given back can be had again at once. Small blocks first, so that a page must be found among them. */
    size_t some = count / 4 + 1;
    for (size_t at = 0; at < some; at++) {
        struct link *next = list->next;
        CHECK(is_marked(list, size), "a block of %zu bytes was overwritten in exhaustion", size);
        free(list);
        list = next;
    }
    size_t again = 0;
    while (again < some) {
        struct link *link = malloc(size);
        if (!link)
            break;
        mark(link, size);
        link->next = list;
        list = link;
        again++;
    }
    CHECK(again + again / 16 + 1 >= some, "%zu blocks of %zu bytes were freed in exhaustion, %zu can be had again", some, size,
          again);

    size_t intact = 0;
    while (list) {
        struct link *next = list->next;
        CHECK(is_marked(list, size), "a block of %zu bytes was overwritten in exhaustion", size);
        free(list);
        list = next;
        intact++;
    }
    CHECK(intact == count - some + again, "the list of %zu blocks of %zu bytes has %zu", count - some + again, size, intact);
    return count * size;
}

static pthread_barrier_t turn;

static void *first_malloc_when_nothing_is_left(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&turn);
    /* NULL or a block are both fine; a crash, a hang or another errno are not. */
    errno = 0;
    void *block = hide(malloc(100));
    CHECK(block != NULL || errno == ENOMEM, "the first malloc of a thread fails with errno %d", errno);
    free(block);
    pthread_barrier_wait(&turn);
    /* Half has been freed meanwhile. */
    pthread_barrier_wait(&turn);
    block = hide(malloc(100));
    CHECK(block != NULL, "memory was freed, yet a thread whose first malloc had failed still gets none");
    memset(block, 1, 100);
    free(block);
    return NULL;
}

static void a_new_thread_meets_exhaustion(void)
{
    struct link *list = NULL;
    for (struct link *link; (link = malloc(MIB)); list = link)
        link->next = list;
    for (struct link *link; (link = malloc(16)); list = link)
        link->next = list;
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    for (struct link *next; list; list = next) {
        next = list->next;
        free(list);
    }
    pthread_barrier_wait(&turn);
}

/* Fills memory, frees one block in nine, and ends. */
static void *leave_nearly_full(void *freed)
{
    struct link *list = NULL;
    for (struct link *link; (link = malloc(64)); list = link)
        link->next = list;
    struct link **place = &list;
    for (size_t at = 0; *place; at++) {
        struct link *link = *place;
        if (at % 9 == 4) {
            *place = link->next;
            free(link);
            ++*(size_t *)freed;
        } else {
            place = &link->next;
        }
    }
    return NULL;
}

static void what_an_ended_thread_left_serves(void)
{
    pthread_t thread;
    size_t freed = 0, had = 0;
    CHECK(pthread_create(&thread, NULL, leave_nearly_full, &freed) == 0, "pthread_create fails");
    pthread_join(thread, NULL);
    while (hide(malloc(64)))
        had++;
    CHECK(freed > 10000 && had >= freed, "%zu blocks were freed, %zu can be had again", freed, had);
}

static void limit_address_space(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0, "getrlimit fails");
    limit.rlim_cur = address_space() + ROOM;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit fails");
}

int main(void)
{
    require_pymalloc();
    page = (size_t)sysconf(_SC_PAGESIZE);
    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    CHECK(pthread_create(&thread, NULL, first_malloc_when_nothing_is_left, NULL) == 0, "pthread_create fails");
    limit_address_space();

    /* Upwards through the layers; then to and fro, so that what one layer has kept back must be given to another. */
    static const size_t ladder[] = {16,     32,      48,      64,      128,     256,     512, 1024,   2048, 3000,    4096,
                                    8192,   16384,   32768,   65536,   100000,  200000,  500000, MIB, 3 * MIB, 16, 3 * MIB,
                                    1024,   100000,  16,      MIB,     48};
    int failed = 0;
    for (size_t at = 0; at < COUNT_OF(ladder); at++) {
        void *sample = hide(malloc(ladder[at]));
        pymalloc_kind kind = inspect(sample).kind;
        free(sample);
        size_t had = exhaust(ladder[at]);
        int percent = (int)(had * 100 / ROOM);
        /* Of blocks of a third of an arena only two fit into one: the rest of it serves other sizes. */
        int wanted = ladder[at] == 16 ? 90 : kind == PYMALLOC_KIND_LARGE ? 65 : 80;
        say(STDOUT_FILENO, "%8zu bytes: %3d %% of %zu MiB%s\n", ladder[at], percent, ROOM / MIB,
            percent < wanted ? ", too little" : "");
        failed += percent < wanted;
    }
    CHECK(!failed, "at %d of %zu sizes too little of the limit can be had", failed, COUNT_OF(ladder));
    a_new_thread_meets_exhaustion();
    pthread_join(thread, NULL);
    what_an_ended_thread_left_serves();
    return 0;
}
