/*
 * Statistics: statistics figures | structure | errors.
 *
 * What must hold: the structure, the JSON, the XML and the table say the same; what a program allocates and frees is counted
 * exactly, class by class, also of threads that have ended and of frees in other threads.
 */
#include "snapshot.h"

#include <pthread.h>

typedef int get_function(pymalloc_stats *stats, size_t size);
typedef int json_function(int descriptor);

static struct totals totals;

static void take_totals(void)
{
    int descriptor = open_file();
    CHECK(((json_function *)find("pymalloc_stats_json"))(descriptor) == 0, "pymalloc_stats_json fails, errno %d", errno);
    read_text(descriptor);
    close(descriptor);
    at = text;
    read_totals(&totals);
    expect("\n");
    CHECK(*at == 0, "more than an object");
    CHECK(totals.pid == (size_t)getpid(), "another process id");
}

static pymalloc_stats get(void)
{
    pymalloc_stats stats;
    CHECK(((get_function *)find("pymalloc_stats_get"))(&stats, sizeof stats) == 0, "pymalloc_stats_get fails");
    return stats;
}

/* Of all figures but one, which others may change. */
static void expect_same(pymalloc_stats a, pymalloc_stats b)
{
    a.resident = b.resident = 0;
    CHECK(memcmp(&a, &b, sizeof a) == 0, "the same figures differ");
}

enum { COUNT = 3000 };
static void *blocks[COUNT];

static const struct class_figures *class_of(const void *block)
{
    take_totals();
    return &totals.classes[inspect(block).size_class];
}

static void *free_some(void *unused)
{
    for (size_t at = 1; at < COUNT; at += 3)
        free(blocks[at]);
    return unused;
}

static void pooled_blocks(size_t size)
{
    blocks[0] = must_allocate(size);
    struct class_figures before = *class_of(blocks[0]);
    size_t remote = totals.whole.remote_frees;
    for (size_t at = 1; at < COUNT; at++)
        blocks[at] = must_allocate(size);
    struct class_figures full = *class_of(blocks[0]);
    CHECK(full.in_use == before.in_use + COUNT - 1, "%zu bytes: %zu in use", size, full.in_use);
    CHECK(full.pools > before.pools, "no more pools than before");
    for (size_t at = 0; at < COUNT; at += 3)
        free(blocks[at]);
    struct class_figures freed = *class_of(blocks[1]);
    CHECK(freed.in_use == full.in_use - COUNT / 3, "%zu bytes: %zu in use after frees", size, freed.in_use);
    CHECK(freed.free + freed.untouched == full.free + full.untouched + COUNT / 3, "%zu bytes: what was freed is not free", size);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, free_some, NULL) == 0 && pthread_join(thread, NULL) == 0, "pthread_create fails");
    struct class_figures less = *class_of(blocks[2]);
    CHECK(less.in_use == freed.in_use - COUNT / 3, "%zu bytes: %zu in use after frees by another thread", size, less.in_use);
    CHECK(totals.whole.remote_frees > remote, "no remote frees");
    for (size_t at = 2; at < COUNT; at += 3)
        free(blocks[at]);
    take_totals();
}

/* The number in front of `meaning` in the table, or the one in an XML element. */
static size_t number_in_table(const char *table, const char *meaning)
{
    const char *line = strstr(table, meaning);
    CHECK(line != NULL, "`%s` is not there", meaning);
    while (line > table && line[-1] != '\n')
        line--;
    return strtoull(line, NULL, 10);
}

static size_t number_in_xml(const char *xml, const char *tag)
{
    const char *found = strstr(xml, tag);
    CHECK(found != NULL, "`%s` is not there", tag);
    return strtoull(found + strlen(tag), NULL, 10);
}

static void all_formats_agree(void)
{
    static char xml[64 * KIB], table[64 * KIB];
    FILE *stream = fmemopen(xml, sizeof xml, "w");
    CHECK(stream != NULL, "fmemopen fails");
    setvbuf(stream, NULL, _IONBF, 0);
    int ends[2], own = dup(STDERR_FILENO);
    CHECK(pipe(ends) == 0 && own >= 0, "pipe fails");
    dup2(ends[1], STDERR_FILENO);
    take_totals();
    pymalloc_stats stats = get();
    CHECK(malloc_info(0, stream) == 0, "malloc_info fails");
    malloc_stats();
    struct mallinfo2 info = mallinfo2();
    expect_same(stats, get());
    dup2(own, STDERR_FILENO);
    CHECK(read(ends[0], table, sizeof table - 1) > 0, "no table");
    fclose(stream);
    expect_same(stats, totals.whole);
    CHECK(number_in_table(table, "arenas mapped now") == stats.arenas_live && number_in_xml(xml, "<arenas_live>") == stats.arenas_live,
          "numbers of arenas differ");
    CHECK(number_in_table(table, "bytes of large blocks") == stats.large_bytes &&
              number_in_xml(xml, "<large_bytes>") == stats.large_bytes,
          "bytes of large blocks differ");
    CHECK(number_in_table(table, "bytes that are allowed to") == stats.budget_bytes &&
              number_in_xml(xml, "<budget_bytes>") == stats.budget_bytes,
          "the last figures differ");
    for (size_t class = 1; class < MOST_CLASSES; class++) {
        const struct class_figures *row = &totals.classes[class];
        if (!row->pools)
            continue;
        char line[200];
        snprintf(line, sizeof line, "\n%5zu%7zu%10zu%10zu%10zu%10zu%15zu", class, row->size, row->pools, row->in_use, row->free,
                 row->untouched, row->in_use * row->size);
        CHECK(strstr(table, line) != NULL, "the table does not have `%s`", line);
        snprintf(line, sizeof line,
                 "<size_class class=\"%zu\" size=\"%zu\" pools=\"%zu\" in_use=\"%zu\" free=\"%zu\" untouched=\"%zu\"/>\n",
                 class, row->size, row->pools, row->in_use, row->free, row->untouched);
        CHECK(strstr(xml, line) != NULL, "the XML does not have `%s`", line);
    }
    CHECK(info.arena == stats.arenas_live * stats.arenas_bytes && info.hblks == stats.mappings_count &&
              info.hblkhd == stats.mappings_bytes && info.uordblks + info.hblkhd == stats.bytes_in_use,
          "mallinfo2 says something else");
}

static void figures_are_exact(void)
{
    for (size_t size = 16; size < 9000; size = size * 3 / 2 + 1)
        pooled_blocks(size);
    pymalloc_stats before = get();
    void *large = must_allocate(100 * KIB), *mapping = must_allocate(3 * MIB);
    pymalloc_stats with = get();
    CHECK(with.large_count == before.large_count + 1 && with.large_bytes >= before.large_bytes + 100 * KIB,
          "a large block is not counted");
    CHECK(with.mappings_count == before.mappings_count + 1 && with.mappings_bytes == before.mappings_bytes + 3 * MIB,
          "a mapping is not counted");
    CHECK(with.bytes_in_use >= before.bytes_in_use + 3 * MIB + 100 * KIB, "bytes in use are not counted");
    CHECK(with.resident >= before.resident + 3 * MIB, "3 MiB more, and %zu bytes resident after %zu", with.resident, before.resident);
    all_formats_agree();
    free(large);
    free(mapping);
    pymalloc_stats after = get();
    CHECK(after.mappings_kept_bytes >= 3 * MIB && after.budget_used_bytes >= after.mappings_kept_bytes, "a kept mapping is not counted");
    CHECK(after.large_count == before.large_count && after.bytes_in_use == before.bytes_in_use, "what was freed still counts");
}

/* Programs of older and newer headers. */
static void structures_of_other_sizes(void)
{
    get_function *stats_get = (get_function *)find("pymalloc_stats_get");
    struct {
        pymalloc_stats stats;
        size_t behind[4];
    } found;
    pymalloc_stats whole = get();
    for (size_t size = 1; size <= sizeof found; size++) {
        memset(&found, 0x5a, sizeof found);
        CHECK(stats_get(&found.stats, size) == 0, "a size of %zu fails", size);
        size_t filled = size < sizeof whole ? size : sizeof whole;
        for (size_t byte = 0; byte < sizeof found; byte++)
            /* The resident bytes, the first figure, may change. */
            if (byte >= sizeof(size_t) || byte >= filled)
                CHECK(((unsigned char *)&found)[byte] == (byte < filled ? ((unsigned char *)&whole)[byte] : 0x5a),
                      "size %zu, byte %zu", size, byte);
    }
}

static void errors(void)
{
    get_function *stats_get = (get_function *)find("pymalloc_stats_get");
    json_function *json = (json_function *)find("pymalloc_stats_json");
    pymalloc_stats stats;
    errno = 0;
    CHECK(stats_get(NULL, sizeof stats) == -1 && errno == EINVAL, "no structure: errno %d", errno);
    errno = 0;
    CHECK(stats_get(&stats, 0) == -1 && errno == EINVAL, "no size: errno %d", errno);
    CHECK(json(-1) == -1 && errno == EBADF, "a bad descriptor: errno %d", errno);
    CHECK(json(open("/dev/full", O_WRONLY | O_CLOEXEC)) == -1 && errno == ENOSPC, "a full device: errno %d", errno);
    errno = 1234;
    take_totals();
    CHECK(errno == 1234, "errno is %d after a success", errno);
    close(STDERR_FILENO);
    malloc_stats();
    CHECK(errno == 1234, "errno is %d after a table for nobody", errno);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    const char *mode = count == 2 ? arguments[1] : "";
    if (strcmp(mode, "figures") == 0)
        figures_are_exact();
    else if (strcmp(mode, "structure") == 0)
        structures_of_other_sizes();
    else if (strcmp(mode, "errors") == 0)
        errors();
    else
        FAIL("usage: %s figures | structure | errors", arguments[0]);
    return 0;
}
