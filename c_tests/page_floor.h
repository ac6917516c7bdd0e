/*
 * The page floor: the pages that hold a byte of a live block, which is the least that an allocator which moves nothing can keep
 * resident; and the promise that is made of it (bound).
 *
 * What must hold: nothing of the test's own counts as the allocator's. Its arrays are mapped, and touched, before the first
 * measurement; the set of pages is gone before the next.
 */
#ifndef PYMALLOC_PAGE_FLOOR_H
#define PYMALLOC_PAGE_FLOOR_H

#include "check.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

/* An array of the test's own, all zeroes. Its pages are resident from the start. */
MAYBE_UNUSED static void *map_array(size_t count, size_t size)
{
    void *array = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(array != MAP_FAILED, "the test has no memory for %zu times %zu bytes", count, size);
    /* An emulator may not pass MAP_POPULATE on. */
    memset(array, 0, count * size);
    return array;
}

/* The promise counts pages. Where the system gives huge pages to all, a live block would keep 2 MiB resident. */
MAYBE_UNUSED static void want_small_pages(void)
{
    /* EINVAL: a system that does not know huge pages, as an emulator. */
    CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 || errno == EINVAL, "prctl(PR_SET_THP_DISABLE) fails: errno %d", errno);
}

/*
 * The library forgets what was not needed for a fifth of a second. Where other programs want all processors, the test would wait for longer
 * than that between two calls. A user who may not ask for this needs a machine with time left.
 */
MAYBE_UNUSED static void want_processor(void)
{
    (void)setpriority(PRIO_PROCESS, 0, -20);
}

/* What the library retains is beside the promise. Begins the program anew, without that. */
MAYBE_UNUSED static void forbid_retaining(char **arguments)
{
    static const char setting[] = "retain=0";
    const char *settings = getenv("PYMALLOC_CONF");
    if (settings && strstr(settings, setting))
        return;
    CHECK(setenv("PYMALLOC_CONF", setting, 1) == 0, "setenv fails: errno %d", errno);
    execv("/proc/self/exe", arguments);
    FAIL("the program cannot begin anew: errno %d", errno);
}

/* A bit for each page of all addresses that a program can have; only the part that is written takes memory. */
enum { ADDRESS_BITS = 48 };

static struct {
    uint64_t *words;
    size_t bytes;
    size_t page_size;
    size_t pages;
} floor_set;

MAYBE_UNUSED static void begin_floor(void)
{
    floor_set.page_size = (size_t)sysconf(_SC_PAGESIZE);
    floor_set.bytes = ((size_t)1 << ADDRESS_BITS) / floor_set.page_size / 8;
    floor_set.pages = 0;
    floor_set.words = mmap(NULL, floor_set.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(floor_set.words != MAP_FAILED, "the test cannot map a bit for each page");
}

MAYBE_UNUSED static void add_to_floor(const void *block, size_t size)
{
    size_t last = ((uintptr_t)block + size - 1) / floor_set.page_size;
    for (size_t page = (uintptr_t)block / floor_set.page_size; page <= last; page++) {
        uint64_t bit = (uint64_t)1 << page % 64;
        floor_set.pages += !(floor_set.words[page / 64] & bit);
        floor_set.words[page / 64] |= bit;
    }
}

/* Bytes of the pages that were added. */
MAYBE_UNUSED static size_t end_floor(void)
{
    munmap(floor_set.words, floor_set.bytes);
    return floor_set.pages * floor_set.page_size;
}

/* What is resident beside what was so `before`. */
MAYBE_UNUSED static size_t resident_since(size_t before)
{
    size_t now = resident();
    return now > before ? now - before : 0;
}

/* What may be resident, by the promise, when so many bytes of pages hold a live block. Of larger pages the library's own tables take more. */
MAYBE_UNUSED static size_t bound(size_t floor)
{
    return floor + floor / 8 + 8 * MIB + (sysconf(_SC_PAGESIZE) > 4096 ? MIB : 0);
}

#endif
