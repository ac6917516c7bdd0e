/*
 * Reads what pymalloc_stats_json and pymalloc_heapmap write, byte by byte as the formats say, so that any deviation fails.
 *
 * Owns: the text that is being read, the figures, and a table with the state of every 16 bytes of every arena. All of it is static:
 * a program reads its own snapshots, and also when it has no memory left.
 */
#ifndef PYMALLOC_SNAPSHOT_H
#define PYMALLOC_SNAPSHOT_H

#include "check.h"

#include <ctype.h>
#include <sys/mman.h>

#define GRANULE 16
#define MOST_CLASSES 256
#define MOST_ARENAS 256
#define MOST_MAPPINGS 4096
#define LARGEST_ARENA MIB

/* What lies at a granule beside `a`, `f` and `u` for a block of a pool. */
enum { NOTHING = 0, LARGE = 'l' };

struct class_figures {
    size_t size, pools, in_use, free, untouched;
};

/* What pymalloc_stats_json writes. */
struct totals {
    pymalloc_stats whole;
    size_t pid;
    struct class_figures classes[MOST_CLASSES];
};

struct snapshot {
    struct totals totals;
    size_t page, slot, arena, first_slot;
    struct {
        size_t size, blocks, slots;
    } classes[MOST_CLASSES];
    size_t class_count;
    size_t arena_count;
    struct {
        uintptr_t at;
        size_t free;
        const char *resident;
        unsigned char states[LARGEST_ARENA / GRANULE];
    } arenas[MOST_ARENAS];
    size_t mapping_count;
    struct {
        uintptr_t at;
        size_t bytes, resident;
    } mappings[MOST_MAPPINGS];
    /* The sums over the pools and large blocks that were read. */
    struct class_figures rows[MOST_CLASSES];
    size_t large_count, large_bytes, mapping_bytes;
};

static struct snapshot snapshot;

/* Where reading has come to. */
static const char *at;

static void expect(const char *text)
{
    size_t length = strlen(text);
    CHECK(strncmp(at, text, length) == 0, "not `%s` but `%.60s`", text, at);
    at += length;
}

static int skip(const char *text)
{
    size_t length = strlen(text);
    if (strncmp(at, text, length) != 0)
        return 0;
    at += length;
    return 1;
}

static size_t expect_number(void)
{
    CHECK(isdigit((unsigned char)*at), "no number: `%.60s`", at);
    CHECK(*at != '0' || !isdigit((unsigned char)at[1]), "a leading zero: `%.60s`", at);
    size_t number = 0;
    while (isdigit((unsigned char)*at))
        number = number * 10 + (size_t)(*at++ - '0');
    return number;
}

static size_t expect_after(const char *text)
{
    expect(text);
    return expect_number();
}

static uintptr_t expect_hex(void)
{
    char *end;
    uintptr_t number = strtoull(at, &end, 16);
    CHECK(end > at && !isspace((unsigned char)*at), "no address: `%.60s`", at);
    at = end;
    return number;
}

static void expect_time(void)
{
    size_t seconds = expect_after(",\"time\":");
    CHECK(seconds > 1500000000 && *at++ == '.', "no time: `%.60s`", at);
    for (int digit = 0; digit < 3; digit++)
        CHECK(isdigit((unsigned char)*at++), "not three digits of milliseconds");
}

/* The text in front of each figure, in the order of the fields of pymalloc_stats. */
static const char *const figures[] = {
    ",\"resident\":",
    ",\"bytes_in_use\":",
    ",\"bytes_free\":",
    ",\"arenas\":{\"live\":",
    ",\"most\":",
    ",\"mapped\":",
    ",\"unmapped\":",
    ",\"bytes\":",
    "},\"slots\":{\"free\":",
    ",\"purged\":",
    ",\"dirty_bytes\":",
    "},\"pages\":{\"unscanned_bytes\":",
    ",\"purged_bytes\":",
    "},\"retained_bytes\":",
    ",\"large\":{\"count\":",
    ",\"bytes\":",
    "},\"mappings\":{\"count\":",
    ",\"bytes\":",
    ",\"kept_bytes\":",
    "},\"heaps\":{\"live\":",
    ",\"spare\":",
    "},\"remote_frees\":",
    ",\"budget\":{\"used_bytes\":",
    ",\"bytes\":",
    "},\"lazy_bytes\":",
};
_Static_assert(sizeof(pymalloc_stats) == COUNT_OF(figures) * sizeof(size_t), "a figure has no place in the JSON");

static void expect_version(void)
{
    const char *(*version)(void) = (const char *(*)(void))find("pymalloc_version");
    expect("{\"pymalloc\":\"");
    expect(version());
    expect("\"");
}

static void read_totals(struct totals *totals)
{
    memset(totals, 0, sizeof *totals);
    expect_version();
    totals->pid = expect_after(",\"pid\":");
    expect_time();
    size_t values[COUNT_OF(figures)];
    for (size_t figure = 0; figure < COUNT_OF(figures); figure++)
        values[figure] = expect_after(figures[figure]);
    memcpy(&totals->whole, values, sizeof values);
    expect(",\"classes\":[");
    for (size_t last = 0; !skip("]}");) {
        if (last > 0)
            expect(",");
        size_t class = expect_after("{\"class\":");
        CHECK(class > last && class < MOST_CLASSES, "size class %zu after %zu", class, last);
        struct class_figures *row = &totals->classes[class];
        row->size = expect_after(",\"size\":");
        row->pools = expect_after(",\"pools\":");
        row->in_use = expect_after(",\"in_use\":");
        row->free = expect_after(",\"free\":");
        row->untouched = expect_after(",\"untouched\":");
        CHECK(row->pools > 0, "size class %zu has no pools, and yet a row", class);
        expect("}");
        last = class;
    }
}

/* Reads a pool behind its `[`, and enters the states of its blocks. */
static void read_pool(unsigned char *states, int with_blocks)
{
    size_t slot = expect_number();
    size_t class = expect_after(",");
    CHECK(class > 0 && class < snapshot.class_count, "no size class: %zu", class);
    size_t size = snapshot.classes[class].size, blocks = snapshot.classes[class].blocks;
    size_t end = slot + snapshot.classes[class].slots;
    CHECK(slot >= snapshot.first_slot && end <= snapshot.arena / snapshot.slot, "a pool of slots %zu to %zu", slot, end);
    size_t in_use = expect_after(","), free = expect_after(","), untouched = expect_after(",");
    CHECK(in_use + free + untouched == blocks, "%zu and %zu and %zu are not %zu blocks", in_use, free, untouched, blocks);
    struct class_figures *sum = &snapshot.rows[class];
    sum->pools += 1;
    sum->in_use += in_use;
    sum->free += free;
    sum->untouched += untouched;
    expect(",\"");
    size_t block = 0;
    for (char last = 0; !skip("\"]");) {
        size_t length = expect_number();
        char state = *at++;
        CHECK(strchr("afu", state) != NULL && state != last && length > 0, "no run of blocks: `%.20s`", at - 2);
        CHECK(block + length <= blocks, "more than %zu blocks", blocks);
        for (size_t end_of_run = block + length; block < end_of_run; block++) {
            size_t granule = (slot * snapshot.slot + block * size) / GRANULE;
            memset(states + granule, state, size / GRANULE);
        }
        *(state == 'a' ? &in_use : state == 'f' ? &free : &untouched) -= length;
        last = state;
    }
    CHECK(with_blocks ? block == blocks && !in_use && !free && !untouched : block == 0,
          "the runs of a pool are not the blocks that its numbers say");
}

static void read_large(unsigned char *states)
{
    size_t slot = expect_number(), slots = expect_after(","), bytes = expect_after(",");
    expect("]");
    CHECK(slot >= snapshot.first_slot && slots > 0 && slot + slots <= snapshot.arena / snapshot.slot,
          "a large block of slots %zu to %zu", slot, slot + slots);
    CHECK(bytes == slots * snapshot.slot, "a large block of %zu slots with %zu bytes", slots, bytes);
    memset(states + slot * snapshot.slot / GRANULE, LARGE, bytes / GRANULE);
    snapshot.large_count += 1;
    snapshot.large_bytes += bytes;
}

static void read_arena(int with_blocks)
{
    CHECK(snapshot.arena_count < MOST_ARENAS, "too many arenas for this test");
    __auto_type arena = &snapshot.arenas[snapshot.arena_count++];
    memset(arena->states, NOTHING, sizeof arena->states);
    expect("{\"at\":\"");
    arena->at = expect_hex();
    CHECK(arena->at % snapshot.arena == 0, "an arena at %zx", (size_t)arena->at);
    arena->free = expect_after("\",\"free\":");
    expect(",\"resident\":\"");
    arena->resident = at;
    size_t digits = (snapshot.arena / snapshot.page + 7) / 8 * 2;
    CHECK(strspn(at, "0123456789abcdef") == digits, "not %zu digits: `%.80s`", digits, at);
    at += digits;
    expect("\",\"pools\":[");
    for (int first = 1; !skip("]"); first = 0) {
        expect(first ? "[" : ",[");
        read_pool(arena->states, with_blocks);
    }
    expect(",\"large\":[");
    for (int first = 1; !skip("]"); first = 0) {
        expect(first ? "[" : ",[");
        read_large(arena->states);
    }
    expect("}");
}

/* Reads one snapshot from `text` into `snapshot`. Returns the text behind it. */
static const char *read_snapshot(const char *text, int with_blocks)
{
    at = text;
    snapshot.class_count = snapshot.arena_count = snapshot.mapping_count = 0;
    snapshot.large_count = snapshot.large_bytes = snapshot.mapping_bytes = 0;
    memset(snapshot.rows, 0, sizeof snapshot.rows);
    expect_version();
    CHECK(expect_after(",\"format\":") == 1, "another format");
    size_t pid = expect_after(",\"pid\":");
    expect(",\"command\":\"");
    while (*at != '"') {
        CHECK((unsigned char)*at >= ' ' && (unsigned char)*at < 0x7f, "the command is not printable");
        at += *at == '\\' ? 6 : 1;
    }
    expect("\"");
    expect_time();
    snapshot.page = expect_after(",\"page\":");
    snapshot.slot = expect_after(",\"slot\":");
    snapshot.arena = expect_after(",\"arena\":");
    snapshot.first_slot = expect_after(",\"first_slot\":");
    CHECK(snapshot.page == (size_t)sysconf(_SC_PAGESIZE) && snapshot.arena <= LARGEST_ARENA, "sizes that cannot be");
    expect(",\"classes\":[");
    do {
        __auto_type class = &snapshot.classes[snapshot.class_count++];
        class->size = expect_after("[");
        class->blocks = expect_after(",");
        class->slots = expect_after(",");
        expect("]");
    } while (skip(","));
    expect("],\"totals\":");
    read_totals(&snapshot.totals);
    CHECK(snapshot.totals.pid == pid, "two process ids");
    expect(",\"arenas\":[");
    for (int first = 1; !skip("]"); first = 0) {
        if (!first)
            expect(",");
        read_arena(with_blocks);
    }
    expect(",\"mappings\":[");
    for (int first = 1; !skip("]"); first = 0) {
        CHECK(snapshot.mapping_count < MOST_MAPPINGS, "too many mappings for this test");
        __auto_type mapping = &snapshot.mappings[snapshot.mapping_count++];
        expect(first ? "[\"" : ",[\"");
        mapping->at = expect_hex();
        mapping->bytes = expect_after("\",");
        mapping->resident = expect_after(",");
        expect("]");
        CHECK(mapping->resident <= mapping->bytes, "more resident than there is");
        snapshot.mapping_bytes += mapping->bytes;
    }
    expect("}\n");
    return at;
}

/* The state of the block at an address, LARGE, or NOTHING. */
MAYBE_UNUSED static int state_at(const void *address)
{
    for (size_t index = 0; index < snapshot.arena_count; index++) {
        size_t offset = (uintptr_t)address - snapshot.arenas[index].at;
        if (offset < snapshot.arena)
            return snapshot.arenas[index].states[offset / GRANULE];
    }
    return NOTHING;
}

/* What a call has written to a file descriptor: a file without a name, which takes no address space. */
static char text[64 * MIB];

static int open_file(void)
{
    int descriptor = memfd_create("snapshot", MFD_CLOEXEC);
    CHECK(descriptor >= 0, "memfd_create fails: errno %d", errno);
    return descriptor;
}

static void read_text(int descriptor)
{
    size_t length = 0;
    for (ssize_t step; (step = pread(descriptor, text + length, sizeof text - 1 - length, (off_t)length)) > 0;)
        length += (size_t)step;
    CHECK(length > 0 && length < sizeof text - 1, "%zu bytes written", length);
    text[length] = 0;
    CHECK(memchr(text, '\n', length) == text + length - 1, "not one line");
}

typedef int write_function(int descriptor, int flags);

MAYBE_UNUSED static void take_snapshot(int flags)
{
    static int descriptor = -1;
    if (descriptor < 0)
        descriptor = open_file();
    CHECK(ftruncate(descriptor, 0) == 0 && lseek(descriptor, 0, SEEK_SET) == 0, "the file cannot be emptied");
    int result = ((write_function *)find("pymalloc_heapmap"))(descriptor, flags);
    CHECK(result == 0, "pymalloc_heapmap returns %d, errno %d", result, errno);
    read_text(descriptor);
    CHECK(*read_snapshot(text, flags == 0) == 0, "more than a snapshot");
}

/* A block of the heap that is looked at, touched whole. */
MAYBE_UNUSED static void *must_allocate(size_t size)
{
    void *block = malloc(size);
    CHECK(block != NULL, "malloc(%zu) fails", size);
    memset(block, 1, size);
    return block;
}

#endif
