/*
 * What the programs of this directory share: failing with a reason, asking pymalloc about an address, patterns that
 * show whether a block kept its bytes, and the memory figures of the process.
 *
 * Include it first. Everything here works without malloc, so that a broken allocator cannot hide its own failure; and
 * every program calls require_pymalloc() before anything else, so that a test that ran on some other malloc fails.
 */
#ifndef PYMALLOC_CHECK_H
#define PYMALLOC_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pymalloc.h"

#define MAYBE_UNUSED __attribute__((unused))
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Writes with write(2) alone: stdio may be what a test has just broken. */
MAYBE_UNUSED __attribute__((format(printf, 2, 3))) static void say(int descriptor, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 1)
        length = (int)sizeof line - 1;
    for (int written = 0; written < length;) {
        ssize_t step = write(descriptor, line + written, (size_t)(length - written));
        if (step <= 0)
            return;
        written += (int)step;
    }
}

/*
 * Ends the process at once, from whichever thread or child: exit() would run handlers that free and so might bury the reason
 * under a second failure.
 */
#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        say(STDERR_FILENO, "%s:%d: ", __FILE__, __LINE__);                                                             \
        say(STDERR_FILENO, __VA_ARGS__);                                                                               \
        say(STDERR_FILENO, "\n");                                                                                      \
        _exit(1);                                                                                                      \
    } while (0)

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            FAIL(__VA_ARGS__);                                                                                         \
    } while (0)

/*
 * The compiler knows malloc and free: it may drop a pair whose block is not read, and warns of the very misuse
 * that some tests are about. What has passed through here it knows nothing of.
 */
MAYBE_UNUSED static inline void *hide(const void *pointer)
{
    void *hidden = (void *)(uintptr_t)pointer;
    __asm__ volatile("" : "+r"(hidden) : : "memory");
    return hidden;
}

MAYBE_UNUSED static inline size_t hide_size(size_t size)
{
    __asm__ volatile("" : "+r"(size));
    return size;
}

typedef int inspect_function(const void *, pymalloc_info *);

/*
 * Looks a function up by name, so that one source serves a program that is linked with the library and one that it is
 * preloaded into.
 */
#ifndef STATIC_PROGRAM
static const void *look_up(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}
#else
/* A program without a dynamic linker: all names that a test asks for. */
#define NAMES(with)                                                                                                                \
    with(pymalloc_inspect) with(pymalloc_stats_get) with(pymalloc_stats_json) with(pymalloc_heapmap) with(pymalloc_version)        \
        with(pymalloc_malloc) with(pymalloc_free) with(free_sized) with(free_aligned_sized) with(cfree)
#define DECLARE(name) extern const char linked_##name[] __asm__(#name);
NAMES(DECLARE)

static const void *look_up(const char *name)
{
#define COMPARE(known)                                                                                                             \
    if (strcmp(name, #known) == 0)                                                                                                 \
        return linked_##known;
    NAMES(COMPARE)
    return NULL;
}
#endif

MAYBE_UNUSED static uintptr_t find(const char *name)
{
    const void *found = look_up(name);
    CHECK(found != NULL, "%s is not in this process: pymalloc is neither linked nor preloaded, or does not export it", name);
    return (uintptr_t)found;
}

MAYBE_UNUSED static inspect_function *find_inspect(void)
{
    static inspect_function *found;
    if (!found)
        found = (inspect_function *)find("pymalloc_inspect");
    return found;
}

/* What pymalloc says of an address; kind and state are NONE if it is not the library's. */
MAYBE_UNUSED static pymalloc_info inspect(const void *address)
{
    pymalloc_info info;
    memset(&info, 0, sizeof info);
    int ours = find_inspect()(address, &info);
    CHECK(ours == 0 || ours == 1, "pymalloc_inspect(%p) returns %d", address, ours);
    CHECK((ours == 1) == (info.kind != PYMALLOC_KIND_NONE), "pymalloc_inspect(%p) returns %d with kind %d", address,
          ours, (int)info.kind);
    if (!ours)
        CHECK(info.state == PYMALLOC_STATE_NONE, "pymalloc_inspect(%p): not ours, yet state %d", address,
              (int)info.state);
    return info;
}

MAYBE_UNUSED static void require_pymalloc(void)
{
    void *block = hide(malloc(48));
    pymalloc_info info = inspect(block);
    CHECK(info.state == PYMALLOC_STATE_ALLOCATED && info.block == block,
          "malloc of this process is not pymalloc's: inspect(%p) says kind %d, state %d", block, (int)info.kind,
          (int)info.state);
    free(block);
}

/* Splitmix64: the tests must draw the same numbers in each run. */
MAYBE_UNUSED static inline uint64_t next_random(uint64_t *state)
{
    uint64_t mixed = (*state += 0x9e3779b97f4a7c15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

MAYBE_UNUSED static inline size_t random_between(uint64_t *state, size_t low, size_t high)
{
    return low + (size_t)(next_random(state) % (high - low + 1));
}

/* Fills a block with bytes that depend on `id` and on the place, so that a byte from another block or place shows. */
MAYBE_UNUSED static void fill(void *block, size_t size, uint64_t id)
{
    unsigned char *bytes = (unsigned char *)block;
    uint64_t word = (id + 1) * 0x9e3779b97f4a7c15u;
    size_t at = 0;
    for (; at + sizeof word <= size; at += sizeof word) {
        uint64_t value = word + at;
        memcpy(bytes + at, &value, sizeof value);
    }
    for (; at < size; at++)
        bytes[at] = (unsigned char)(word >> 32) ^ (unsigned char)at;
}

/*
 * Whether the first `size` bytes of a block are as fill() of at least `size` bytes left them; `size` is a multiple of 8,
 * or all of what was filled.
 */
MAYBE_UNUSED static int is_filled(const void *block, size_t size, uint64_t id)
{
    const unsigned char *bytes = (const unsigned char *)block;
    uint64_t word = (id + 1) * 0x9e3779b97f4a7c15u;
    uint64_t difference = 0;
    size_t at = 0;
    for (; at + sizeof word <= size; at += sizeof word) {
        uint64_t value;
        memcpy(&value, bytes + at, sizeof value);
        difference |= value ^ (word + at);
    }
    for (; at < size; at++)
        difference |= bytes[at] ^ (unsigned char)((unsigned char)(word >> 32) ^ (unsigned char)at);
    return difference == 0;
}

/* Reads a small file of /proc into `text`, without malloc. */
MAYBE_UNUSED static void read_proc(const char *path, char *text, size_t size)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(descriptor >= 0, "cannot open %s: errno %d", path, errno);
    size_t length = 0;
    for (ssize_t step; (step = read(descriptor, text + length, size - 1 - length)) > 0;)
        length += (size_t)step;
    close(descriptor);
    text[length] = 0;
}

/* An emulator of a process puts the program below this address, and itself above. */
#define PROGRAM_END ((uintptr_t)1 << 40)

/* Bytes of physical memory of the mappings that begin below an address. */
static size_t resident_below(uintptr_t end)
{
    static char text[1 << 16];
    int file = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0, "/proc/self/smaps: errno %d", errno);
    size_t sum = 0, length = 0;
    uintptr_t start = 0;
    for (ssize_t got; (got = read(file, text + length, sizeof text - 1 - length)) > 0;) {
        length += (size_t)got;
        text[length] = 0;
        char *line = text;
        for (char *next; (next = strchr(line, '\n')) != NULL; line = next + 1) {
            if ((*line >= '0' && *line <= '9') || (*line >= 'a' && *line <= 'f'))
                start = (uintptr_t)strtoull(line, NULL, 16);
            else if (start < end && strncmp(line, "Rss:", 4) == 0)
                sum += (size_t)strtoull(line + 4, NULL, 10) * KIB;
        }
        length = (size_t)(text + length - line);
        memmove(text, line, length);
    }
    close(file);
    return sum;
}

/* As `patience` of tests/common/platform.rs: how many times as long a program may take under an emulator. */
enum { PATIENCE = 5 };

/* The seconds to wait for what takes less than so many on this machine itself. */
MAYBE_UNUSED static unsigned within(unsigned seconds)
{
    return getenv("PYMALLOC_TEST_EMULATED") ? seconds * PATIENCE : seconds;
}

/*
 * Bytes of physical memory that the process holds. From smaps_rollup, which walks the page tables: the counters
 * behind statm may lag by a megabyte per processor.
 */
MAYBE_UNUSED static size_t resident(void)
{
    char text[4096];
    if (getenv("PYMALLOC_TEST_EMULATED"))
        return resident_below(PROGRAM_END);
    read_proc("/proc/self/smaps_rollup", text, sizeof text);
    const char *line = strstr(text, "\nRss:");
    CHECK(line != NULL, "/proc/self/smaps_rollup has no Rss line");
    return (size_t)strtoull(line + 5, NULL, 10) * KIB;
}

/* One of several things that a program checks: the one that its argument names. */
struct mode {
    const char *name;
    void (*run)(void);
};

/* Runs the mode of that name. 0 when there is none. */
MAYBE_UNUSED static int run_mode(const struct mode *modes, size_t count, const char *name)
{
    for (size_t at = 0; at < count; at++)
        if (strcmp(name, modes[at].name) == 0) {
            modes[at].run();
            return 1;
        }
    return 0;
}

/* Bytes of address space that the process has mapped. */
MAYBE_UNUSED static size_t address_space(void)
{
    char text[256];
    read_proc("/proc/self/statm", text, sizeof text);
    return (size_t)strtoull(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

MAYBE_UNUSED static double mib(size_t bytes)
{
    return (double)bytes / (double)MIB;
}

#endif
