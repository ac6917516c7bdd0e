/* A process that lies to whoever looks at it from outside. Its library is the real one until it says "ready"; from then on it writes what it likes. Its argument:

   types     blocks that look like Python's objects, of 50,000 types: names with control characters, of any length, without an end; metatypes in a circle; counts
             of items beyond all memory; dictionaries that are none
   changing  the same, and a loop that writes them anew all the time
   statics   the library's own figures: arenas and heaps that are none, by the thousand, lists without an end, tables of 2^60 entries
   execs     becomes itself anew, again and again, by `exec`
   ends      as execs, but it ends, and its parent starts it again

   It is killed in the end. */

#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TYPES = 50000, OBJECTS = 200000, TYPE_WORDS = 40, NAME = 200, ARENA = 1 << 20, ARENAS = 30000, HEAPS = 100000, PAGE = 4096 };

/* In a type: words, and flags. */
enum { METATYPE = 1, TYPE_NAME = 3, BASIC_SIZE = 4, ITEM_SIZE = 5, FLAGS = 21, DICTIONARY = 33 };
static const uintptr_t READY = 1 << 12, AT_RUN_TIME = 1 << 9, TUPLE = 1 << 26, OF_TYPES = (uintptr_t)1 << 31;

static uintptr_t types[TYPES + 3][TYPE_WORDS];
static char names[TYPES][NAME];
static uintptr_t *objects[OBJECTS];

static uint64_t next(void)
{
    static uint64_t state = 42;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        exit(1);
}

static void make_type(int number)
{
    static const char *const parts[] = {"\x1b[2J", "\x07", "\n", "\r", "\xe2\x80\xae", "\x9b", "\xff\xfe", "A", "\t", "\x7f", "\xc2\x85"};
    uintptr_t *type = types[number];
    char *name = names[number];
    int length = next() % NAME;

    for (int at = 0; at < length;) {
        const char *part = parts[next() % (sizeof(parts) / sizeof(*parts))];
        at += snprintf(name + at, NAME - at, "%s%d", part, number);
    }
    name[NAME - 1] = number % 7 ? 0 : 'x';
    /* The last three: `type`, and two that are each other's. */
    type[METATYPE] = (uintptr_t)types[TYPES + (number % 5 ? 0 : 1 + number % 2)];
    type[TYPE_NAME] = number % 11 ? (uintptr_t)name : next();
    type[BASIC_SIZE] = number % 13 ? 24 : next();
    type[ITEM_SIZE] = number % 13 ? 8 : next();
    type[FLAGS] = READY | (number % 3 ? 0 : TUPLE) | (number % 2 ? AT_RUN_TIME : 0);
    type[DICTIONARY] = (uintptr_t)types[next() % TYPES];
}

static void make_object(int number)
{
    uintptr_t *object = objects[number];
    object[0] = number % 17;
    object[1] = (uintptr_t)types[next() % TYPES];
    object[2] = number % 5 ? 1 : (uintptr_t)1 << 60;
    for (int at = 3; at < 8; at++)
        object[at] = (uintptr_t)objects[next() % OBJECTS] + next() % 64;
}

static void forge(int again)
{
    for (int number = TYPES; number < TYPES + 3; number++) {
        types[number][METATYPE] = (uintptr_t)types[number == TYPES ? TYPES : number == TYPES + 1 ? TYPES + 2 : TYPES + 1];
        types[number][TYPE_NAME] = (uintptr_t)"type";
        types[number][BASIC_SIZE] = 64;
        types[number][FLAGS] = READY | OF_TYPES;
    }
    for (int number = 0; number < TYPES; number++)
        make_type(number);
    for (int number = 0; number < OBJECTS; number++) {
        if (!(objects[number] = malloc(64)))
            exit(1);
    }
    for (int number = 0; number < OBJECTS; number++)
        make_object(number);
    say("ready\n");
    while (!again)
        pause();
    for (;;) {
        make_type(next() % TYPES);
        make_object(next() % OBJECTS);
        objects[next() % OBJECTS][next() % 8] = next();
    }
}

/* Where the library's note leads: the words behind its name are the layout, the version (16 bytes), and the distance of each static from its own place. */
static uintptr_t statics[64];
static int count;

static int find(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const char *at = (const char *)info->dlpi_addr + header->p_vaddr, *end = at + header->p_memsz;
        while (header->p_type == PT_NOTE && at + 12 < end) {
            const uint32_t *words = (const uint32_t *)at;
            const char *description = at + 12 + ((words[0] + 3) & ~3u);
            if (words[0] == 9 && !memcmp(at + 12, "pymalloc", 9))
                for (size_t place = 24; place + 8 <= words[1] && count < 64; place += 8)
                    statics[count++] = (uintptr_t)description + place + *(const uintptr_t *)(description + place);
            at = description + ((words[1] + 3) & ~3u);
        }
    }
    return 0;
}

static void lie(void)
{
    uintptr_t *first = malloc(64), *page = (uintptr_t *)((uintptr_t)first & ~(uintptr_t)(ARENA - 1));
    char *area = mmap(NULL, (size_t)ARENA * (ARENAS + 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uintptr_t *heaps = mmap(NULL, (size_t)PAGE * (HEAPS + 4), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int words = PAGE / sizeof(*heaps);

    for (int number = 0; number < OBJECTS; number++)
        if (!(objects[number] = malloc(16 + number % 500)))
            exit(1);
    dl_iterate_phdr(find, NULL);
    if (!first || area == MAP_FAILED || heaps == MAP_FAILED || count < 12)
        exit(1);
    area = (char *)(((uintptr_t)area + ARENA - 1) & ~(uintptr_t)(ARENA - 1));
    /* Arenas, each with the headers of a real one; and heaps, each of which names the next one everywhere, and the last one itself. */
    for (int number = 0; number < ARENAS; number++)
        memcpy(area + (size_t)number * ARENA, page, PAGE);
    for (size_t number = 0; number < HEAPS; number++)
        for (int word = 0; word < words; word++)
            heaps[number * words + word] = (uintptr_t)&heaps[(number + (number + 1 < HEAPS)) * words];
    uintptr_t *map = (uintptr_t *)statics[1], *mappings = (uintptr_t *)statics[10], *last_heap = (uintptr_t *)statics[count - 1];
    say("ready\n");
    for (;;) {
        for (int place = 0; place < 16384; place++)
            map[place] = (uintptr_t)area + (size_t)(next() % ARENAS) * ARENA;
        *last_heap = (uintptr_t)&heaps[next() % 2 ? 0 : (HEAPS - 1) * words];
        for (int word = 0; word < 6; word++) {
            mappings[word] = next() % 2 ? (uintptr_t)area : (uintptr_t)1 << (next() % 62);
            ((uintptr_t *)statics[0])[next() % 40] = next() % 2 ? (uintptr_t)area : (uintptr_t)1 << (next() % 62);
        }
        usleep(1000);
    }
}

int main(int arguments, char **values)
{
    const char *what = arguments > 1 ? values[1] : "";
    if (!strcmp(what, "types") || !strcmp(what, "changing"))
        forge(!strcmp(what, "changing"));
    if (!strcmp(what, "statics"))
        lie();
    for (int number = 0; number < OBJECTS / 4; number++)
        if (!(objects[number] = malloc(64)))
            exit(1);
    if (!strcmp(what, "ends")) {
        say("ready\n");
        usleep(next() % 20000);
        return 0;
    }
    if (!strcmp(what, "execs")) {
        if (arguments == 2)
            say("ready\n");
        usleep(next() % 5000);
        execl("/proc/self/exe", values[0], what, "again", (char *)NULL);
    }
    return 2;
}
