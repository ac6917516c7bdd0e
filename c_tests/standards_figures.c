/*
 * What glibc promises of the functions of malloc's family that tell figures or give memory back, one function per promise.
 */
#include "standards.h"

static size_t in_use(const struct mallinfo2 *figures)
{
    return figures->uordblks + figures->hblkhd;
}

static void mallinfo_follows_the_program(void)
{
    enum { SMALL = 30000, LARGE = 30, HUGE_BLOCKS = 3 };
    static void *blocks[SMALL + LARGE + HUGE_BLOCKS];
    struct mallinfo2 before = mallinfo2();
    size_t asked = 0;
    for (size_t at = 0; at < COUNT_OF(blocks); at++) {
        size_t size = at < SMALL ? 100 : at < SMALL + LARGE ? 100000 : 8 * MIB;
        blocks[at] = must_malloc(size);
        asked += size;
    }
    struct mallinfo2 full = mallinfo2();
    for (size_t at = 0; at < COUNT_OF(blocks); at++)
        free(blocks[at]);
    struct mallinfo2 after = mallinfo2();

    CHECK(in_use(&full) >= in_use(&before) + asked, "%.1f MiB were allocated, yet mallinfo2 counts %.1f more",
          mib(asked), mib(in_use(&full)) - mib(in_use(&before)));
    CHECK(in_use(&full) <= in_use(&before) + asked + asked / 4, "%.1f MiB were allocated, yet mallinfo2 counts %.1f more",
          mib(asked), mib(in_use(&full)) - mib(in_use(&before)));
    CHECK(in_use(&after) <= in_use(&before) + asked / 50, "all is freed, yet mallinfo2 counts %.1f MiB in use, %.1f before",
          mib(in_use(&after)), mib(in_use(&before)));
    CHECK(full.arena + full.hblkhd >= in_use(&before) + asked, "mallinfo2: %.1f MiB are allocated out of %.1f mapped",
          mib(asked), mib(full.arena + full.hblkhd));
    /* As in glibc, the blocks that are mappings of their own are not counted in uordblks. */
    CHECK(full.hblkhd >= before.hblkhd + HUGE_BLOCKS * 8 * MIB, "mallinfo2 counts %zu bytes of mappings, %zu before", full.hblkhd,
          before.hblkhd);
    CHECK(full.uordblks <= full.arena, "mallinfo2: %zu bytes are in use of %zu in arenas", full.uordblks, full.arena);
    CHECK(after.fordblks > 0, "mallinfo2 counts nothing free after %zu bytes were freed", asked);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    CHECK(narrow.arena >= 0 && narrow.hblkhd >= 0 && narrow.uordblks >= 0, "mallinfo has negative figures");
    CHECK((size_t)narrow.uordblks <= in_use(&after) + MIB, "mallinfo counts %d bytes in use, mallinfo2 %zu",
          narrow.uordblks, in_use(&after));
}

/* Just enough XML to see that every tag is closed by its own name and that there is one root. */
static void check_xml(const char *text, const char *wanted_root)
{
    enum { DEEPEST = 32 };
    struct {
        const char *name;
        size_t length;
    } open_tags[DEEPEST];
    int depth = 0, roots = 0;
    for (const char *at = text; *at;) {
        if (*at != '<') {
            CHECK(depth > 0 || strchr(" \t\r\n", *at), "malloc_info: text outside of the root: %.40s", at);
            CHECK(*at != '&' && *at != '>', "malloc_info: a bare '%c' in the text: %.40s", *at, at);
            at++;
            continue;
        }
        const char *end = at;
        for (char quote = 0; *end && (quote || *end != '>'); end++)
            if (*end == '"' || *end == '\'')
                quote = quote == *end ? 0 : quote ? quote : *end;
        CHECK(*end == '>', "malloc_info: a tag is not closed: %.40s", at);
        if (at[1] == '?' || at[1] == '!') {
            at = end + 1;
            continue;
        }
        int closing = at[1] == '/';
        const char *name = at + 1 + closing;
        size_t length = strcspn(name, " \t\r\n/>");
        CHECK(length > 0, "malloc_info: a tag has no name: %.40s", at);
        if (closing) {
            CHECK(depth > 0, "malloc_info: a closing tag too many: %.40s", at);
            depth--;
            CHECK(open_tags[depth].length == length && memcmp(open_tags[depth].name, name, length) == 0,
                  "malloc_info: <%.*s> is closed by %.40s", (int)open_tags[depth].length, open_tags[depth].name, at);
        } else {
            if (depth == 0) {
                CHECK(++roots == 1, "malloc_info: a second root: %.40s", at);
                CHECK(length == strlen(wanted_root) && memcmp(name, wanted_root, length) == 0,
                      "malloc_info: the root is not <%s>: %.40s", wanted_root, at);
            }
            if (end[-1] != '/') {
                CHECK(depth < DEEPEST, "malloc_info: tags are nested too deep");
                open_tags[depth].name = name;
                open_tags[depth++].length = length;
            }
        }
        at = end + 1;
    }
    CHECK(roots == 1 && depth == 0, "malloc_info: %d roots, %d tags left open", roots, depth);
}

static void malloc_info_is_xml(void)
{
    /* A memory stream grows by realloc while malloc_info writes to it, which a lock held meanwhile would not survive. */
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    CHECK(stream != NULL, "open_memstream fails");
    CHECK(malloc_info(0, stream) == 0, "malloc_info(0) fails");
    CHECK(fclose(stream) == 0, "the stream of malloc_info fails");
    CHECK(size > 0 && strlen(text) == size, "malloc_info wrote %zu bytes", size);
    check_xml(text, "malloc");
    free(text);
    /* No options exist, so that any is an error. */
    CHECK(malloc_info(1, stderr) != 0, "malloc_info(1) succeeds");
}

static void malloc_stats_prints(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe fails");
    int saved = dup(STDERR_FILENO);
    /* The pipe must not fill: nobody reads it until all is written. */
    CHECK(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) >= 0, "the pipe cannot be enlarged");
    CHECK(dup2(ends[1], STDERR_FILENO) >= 0, "dup2 fails");
    malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    char text[4096];
    ssize_t length = read(ends[0], text, sizeof text);
    close(ends[0]);
    CHECK(length > 0, "malloc_stats writes nothing to stderr");
    CHECK(text[length - 1] == '\n' || length == sizeof text, "malloc_stats ends in the middle of a line");
}

static void trim_and_mallopt_answer(void)
{
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    for (int at = 0; at < BLOCKS; at++)
        memset(blocks[at] = must_malloc(1000), 1, 1000);
    for (int at = 0; at < BLOCKS; at++)
        if (at % 100)
            free(blocks[at]);
    int answer = malloc_trim(0);
    CHECK(answer == 0 || answer == 1, "malloc_trim returns %d", answer);
    CHECK(malloc_trim(0) == 0, "a second malloc_trim in a row claims to give memory back once more");
    for (int at = 0; at < BLOCKS; at += 100)
        free(blocks[at]);
    static const int parameters[] = {M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX, M_MXFAST, -12345};
    for (size_t at = 0; at < COUNT_OF(parameters); at++) {
        answer = mallopt(parameters[at], 64);
        CHECK(answer == 0 || answer == 1, "mallopt(%d) returns %d", parameters[at], answer);
    }
}

int main(void)
{
    require_pymalloc();
    mallinfo_follows_the_program();
    malloc_info_is_xml();
    malloc_stats_prints();
    trim_and_mallopt_answer();
    return 0;
}
