/*
 * What freed blocks held, copied into live ones.
 *
 * The library may mark free memory to catch double frees, and a program may copy such marks without knowing: by reading memory
 * that malloc has just returned, by a realloc of it, or by copying a structure with its padding. What must hold: wherever
 * those bytes end up, the blocks that they end up in are live, and are freed without complaint by any thread.
 */
#include "check.h"

#include <pthread.h>

enum { STALE = 400, STALE_BYTES = 256, COPIES = 64 };

static unsigned char stale[STALE][STALE_BYTES];
static int stale_count;

static void keep_stale(const unsigned char *bytes)
{
    if (stale_count < STALE)
        memcpy(stale[stale_count++], bytes, STALE_BYTES);
}

/* Fills `stale` with what malloc returns after much has been freed: in blocks of pools, and in memory that was pools before. */
static void collect_stale_bytes(void)
{
    enum { BLOCKS = 6000 };
    static void *blocks[BLOCKS];
    static const size_t classes[] = {16, 32, 48, 64, 256, 512, 1024, 3000};
    for (size_t class = 0; class < COUNT_OF(classes); class++) {
        for (int at = 0; at < BLOCKS; at++)
            blocks[at] = hide(malloc(classes[class]));
        /* Some stay until the end, so that the pools of the others do not go back to the system, which would clear them. */
        for (int at = 0; at < BLOCKS; at++)
            if (at % 64)
                free(blocks[at]);
        unsigned char *same = hide(malloc(classes[class]));
        if (classes[class] >= STALE_BYTES)
            keep_stale(same);
        free(same);
        for (int at = 0; at < BLOCKS; at += 64)
            free(blocks[at]);
        /* Slots and mappings that held such blocks, as their next owner finds them. */
        for (size_t size = 20000; size <= 4 * MIB; size *= 3) {
            unsigned char *large = hide(malloc(size));
            for (size_t at = 0; at + STALE_BYTES <= size; at += size / 8 / 16 * 16)
                keep_stale(large + at);
            free(large);
        }
    }
    /* And the bytes of a freed block, the first words above all, as a program sees them that has kept its address. */
    for (int at = 0; at < 8; at++) {
        unsigned char *freed = hide(malloc(STALE_BYTES)), *neighbour = hide(malloc(STALE_BYTES));
        free(hide(freed));
        memcpy(stale[at], hide(freed), STALE_BYTES);
        free(neighbour);
    }
    CHECK(stale_count > 100, "only %d pieces of stale memory were found", stale_count);
}

static void *copies[STALE * COPIES];
static int copy_count;

/* Blocks of several classes that begin with some stale bytes, from each offset at which a block could begin. */
static void make_copies(void)
{
    static const size_t sizes[] = {16, 32, 48, 240, 3000, 40000};
    copy_count = 0;
    for (int piece = 0; piece < stale_count; piece++) {
        for (size_t offset = 0; offset < STALE_BYTES; offset += 16) {
            size_t size = sizes[(size_t)copy_count % COUNT_OF(sizes)];
            size_t length = STALE_BYTES - offset < size ? STALE_BYTES - offset : size;
            void *copy = hide(malloc(size));
            CHECK(copy != NULL, "malloc(%zu) fails", size);
            memcpy(copy, stale[piece] + offset, length);
            copies[copy_count++] = copy;
        }
    }
}

static void *free_copies(void *unused)
{
    for (int at = 0; at < copy_count; at++) {
        CHECK(malloc_usable_size(copies[at]) > 0, "block %p is not usable", copies[at]);
        CHECK(inspect(copies[at]).state == PYMALLOC_STATE_ALLOCATED, "live block %p is said to be in state %d", copies[at],
              (int)inspect(copies[at]).state);
        if (at % 3 == 0)
            copies[at] = hide(realloc(copies[at], 100));
        free(copies[at]);
    }
    return unused;
}

static void *make_copies_in_thread(void *unused)
{
    make_copies();
    return unused;
}

static void in_a_thread(void *(*body)(void *))
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "pthread_create fails");
    pthread_join(thread, NULL);
}

/* Large memory that shrinks into a block carries its first bytes along. */
static void *shrink_and_hand_over(void *unused)
{
    copy_count = 0;
    for (size_t size = 20000; size < 4 * MIB; size += size / 2) {
        for (size_t to = 16; to <= 2000; to *= 2) {
            void *large = hide(malloc(size));
            copies[copy_count++] = hide(realloc(large, to));
        }
    }
    return unused;
}

static pthread_key_t late_key;

static void free_late(void *unused)
{
    (void)unused;
    free_copies(NULL);
}

/* Frees when the thread's own heap may be gone already: the key is younger than any of the library's. */
static void *set_late_key(void *unused)
{
    free(hide(malloc(100)));
    CHECK(pthread_setspecific(late_key, &late_key) == 0, "pthread_setspecific fails");
    return unused;
}

int main(void)
{
    require_pymalloc();
    CHECK(pthread_key_create(&late_key, free_late) == 0, "pthread_key_create fails");
    collect_stale_bytes();

    /* Freed by their own thread, by another, after their thread's end, and at a thread's end. */
    make_copies();
    free_copies(NULL);
    make_copies();
    in_a_thread(free_copies);
    in_a_thread(make_copies_in_thread);
    free_copies(NULL);
    make_copies();
    in_a_thread(set_late_key);

    shrink_and_hand_over(NULL);
    free_copies(NULL);
    shrink_and_hand_over(NULL);
    in_a_thread(free_copies);
    in_a_thread(shrink_and_hand_over);
    free_copies(NULL);
    return 0;
}
