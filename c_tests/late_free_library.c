/*
 * The library that late_free.c loads: it allocates in its constructor, and in its destructor frees that and allocates anew.
 */
#include "check.h"

static char *blocks[5];
static const size_t sizes[COUNT_OF(blocks)] = {48, 3000, 40000, 200000, 2 * MIB};

__attribute__((constructor)) static void begin(void)
{
    for (size_t at = 0; at < COUNT_OF(blocks); at++) {
        blocks[at] = hide(malloc(sizes[at]));
        CHECK(blocks[at] != NULL, "malloc(%zu) fails in a constructor", sizes[at]);
        fill(blocks[at], sizes[at], at);
    }
    say(STDOUT_FILENO, "constructor of the library ran\n");
}

__attribute__((destructor)) static void end(void)
{
    for (size_t at = 0; at < COUNT_OF(blocks); at++) {
        CHECK(is_filled(blocks[at], sizes[at], at), "a block of %zu bytes was overwritten before the destructor", sizes[at]);
        void *passing = hide(malloc(sizes[at]));
        CHECK(passing != NULL, "malloc(%zu) fails in a destructor", sizes[at]);
        free(blocks[at]);
        free(passing);
    }
    say(STDOUT_FILENO, "destructor of the library ran\n");
}
