/*
 * Large arrays that grow and shrink by realloc, as lists, buffers and vectors do.
 *
 * What must hold: the content is kept at each step; and a large array is moved by mapping its pages elsewhere, not by copying
 * them: old and new are never resident at once, so that the peak is that of one array.
 */
#include "check.h"

#include <sys/mman.h>

#include <time.h>

#define LIMIT (256 * MIB)

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The most that was resident since the last reset_peak(). */
static size_t peak(void)
{
    char text[8192];
    read_proc("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, "\nVmHWM:");
    CHECK(line != NULL, "/proc/self/status has no VmHWM line");
    return (size_t)strtoull(line + 7, NULL, 10) * KIB;
}

static void reset_peak(void)
{
    int descriptor = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    CHECK(descriptor >= 0 && write(descriptor, "5", 1) == 1, "/proc/self/clear_refs cannot be written: errno %d", errno);
    close(descriptor);
}

/* As CPython's lists grow: an eighth more, and six. */
static size_t grown(size_t items)
{
    return (items + (items >> 3) + 6) & ~(size_t)3;
}

struct array {
    uint64_t *items;
    size_t capacity;
};

static void resize(struct array *array, size_t capacity)
{
    uint64_t *items = realloc(array->items, capacity * sizeof *items);
    CHECK(items != NULL, "realloc from %zu to %zu items fails", array->capacity, capacity);
    array->items = items;
    size_t common = capacity < array->capacity ? capacity : array->capacity;
    /* A sample at each step, the last items above all; all of them are checked at the end. */
    for (size_t at = 0; at < common; at += 1 + common / 64)
        CHECK(items[at] == at * 3, "item %zu is lost from %zu to %zu items", at, array->capacity, capacity);
    if (common)
        CHECK(items[common - 1] == (common - 1) * 3, "the last item is lost from %zu to %zu items", array->capacity, capacity);
    for (size_t at = common; at < capacity; at++)
        items[at] = at * 3;
    array->capacity = capacity;
}

static void check_all(const struct array *array)
{
    for (size_t at = 0; at < array->capacity; at++)
        CHECK(array->items[at] == at * 3, "item %zu of %zu is lost", at, array->capacity);
}

static void one_array_grows_without_copies(void)
{
    size_t before = resident();
    reset_peak();
    double start = now();
    struct array array = {NULL, 0};
    int steps = 0;
    while (array.capacity * sizeof(uint64_t) < LIMIT) {
        resize(&array, grown(array.capacity));
        steps++;
    }
    size_t size = array.capacity * sizeof(uint64_t);
    double seconds = now() - start;
    say(STDOUT_FILENO, "%d steps to %.0f MiB in %.2f s, peak %.0f MiB above the start\n", steps, mib(size), seconds,
        mib(peak() - before));
    /* Copying the last step alone would have 1.9 times the size resident. */
    CHECK(peak() <= before + size + size / 4, "growing to %.0f MiB had a peak of %.0f MiB: the array was copied", mib(size),
          mib(peak() - before));
    /* Far above what the page faults take, far below what 60 copies of up to 256 MiB would. */
    CHECK(seconds < 5, "growing to %.0f MiB took %.1f s", mib(size), seconds);
    check_all(&array);

    while (array.capacity > 1000)
        resize(&array, array.capacity / 2);
    check_all(&array);
    CHECK(resident() <= before + 16 * MIB, "an array that shrank to 1000 items leaves %.0f MiB resident", mib(resident() - before));
    free(array.items);
}

/* Neither can grow in place for long, because the other lies behind it. */
static void arrays_grow_side_by_side(void)
{
    struct array arrays[4] = {{NULL, 0}};
    size_t before = resident();
    reset_peak();
    for (size_t step = 0; arrays[3].capacity * sizeof(uint64_t) < LIMIT / 8; step++) {
        struct array *array = &arrays[step % 4];
        resize(array, grown(array->capacity));
        /* Crumbs of all sizes between them. */
        void *crumb = hide(malloc(array->capacity / 2 + 1));
        free(crumb);
    }
    size_t size = 0;
    for (int at = 0; at < 4; at++) {
        check_all(&arrays[at]);
        size += arrays[at].capacity * sizeof(uint64_t);
    }
    CHECK(peak() <= before + size + size / 2, "four arrays of %.0f MiB had a peak of %.0f", mib(size), mib(peak() - before));
    for (int at = 0; at < 4; at++)
        free(arrays[at].items);
}

/* A vector that doubles: a step of a gigabyte is one call, and costs nothing but the pages that are touched. */
static void an_untouched_array_doubles_in_no_time(void)
{
    size_t size = 4 * MIB;
    unsigned char *bytes = malloc(size);
    CHECK(bytes != NULL, "malloc(%zu) fails", size);
    memset(bytes, 7, size);
    size_t before = resident();
    double start = now();
    while (size < 8 * LIMIT) {
        size *= 2;
        bytes = realloc(bytes, size);
        CHECK(bytes != NULL, "realloc to %.0f MiB fails", mib(size));
        CHECK(bytes[0] == 7 && bytes[4 * MIB - 1] == 7, "realloc to %.0f MiB loses the content", mib(size));
        bytes[size - 1] = 1;
    }
    double seconds = now() - start;
    CHECK(resident() <= before + 16 * MIB, "an array of %.0f MiB, of which 4 MiB are touched, takes %.0f MiB", mib(size),
          mib(resident()));
    CHECK(seconds < 1, "doubling an untouched array to %.0f MiB took %.2f s", mib(size), seconds);
    free(bytes);
}

/* Advice for a part of a block splits its mapping, so that the system refuses to move it as one; numpy gives such advice. */
static void a_block_with_advice_for_a_part_grows(void)
{
    static const int advices[] = {MADV_HUGEPAGE, MADV_DONTDUMP};
    for (size_t at = 0; at < COUNT_OF(advices); at++) {
        size_t size = 8 * MIB;
        unsigned char *bytes = malloc(size);
        CHECK(bytes != NULL, "malloc(%zu) fails", size);
        memset(bytes, 7, size);
        uintptr_t page = ((uintptr_t)bytes + 8191) & ~(uintptr_t)4095;
        madvise((void *)page, size / 2, advices[at]);
        bytes = realloc(bytes, 2 * size);
        CHECK(bytes != NULL, "realloc of a block with advice %d for a part fails", advices[at]);
        for (size_t byte = 0; byte < size; byte += 1000)
            CHECK(bytes[byte] == 7, "realloc loses byte %zu", byte);
        free(bytes);
    }
}

int main(void)
{
    require_pymalloc();
    a_block_with_advice_for_a_part_grows();
    one_array_grows_without_copies();
    arrays_grow_side_by_side();
    an_untouched_array_doubles_in_no_time();
    return 0;
}
