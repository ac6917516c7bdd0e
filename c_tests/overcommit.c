/*
 * Blocks of more than all memory and swap.
 *
 * What must hold: the library follows the system's policy (vm.overcommit_memory), as the C library does. Unless it is 1 such a block is refused
 * when it is asked for, and not by the end of the process when it is written; and that a block was refused takes no longer in a
 * process with a large heap.
 */
#include "check.h"

#include <sys/mman.h>
#include <time.h>

/* The machine's memory and swap. */
static size_t all_memory(void)
{
    char text[8192];
    read_proc("/proc/meminfo", text, sizeof text);
    const char *memory = strstr(text, "MemTotal:"), *swap = strstr(text, "SwapTotal:");
    CHECK(memory && swap, "/proc/meminfo does not tell");
    return (strtoull(memory + 9, NULL, 10) + strtoull(swap + 10, NULL, 10)) * KIB;
}

static int policy(void)
{
    char text[16];
    read_proc("/proc/sys/vm/overcommit_memory", text, sizeof text);
    return atoi(text);
}

static void expect(const char *name, size_t size, void *block)
{
    int refused = policy() != 1;
    CHECK(refused == (block == NULL), "policy %d: %s of %zu bytes is %s", policy(), name, size, block ? "given" : "refused");
    CHECK(block || errno == ENOMEM, "%s of %zu bytes sets errno %d", name, size, errno);
    free(block);
}

int main(void)
{
    require_pymalloc();
    /* What a plain mapping gets is what the system says. */
    void *plain = mmap(NULL, 2 * all_memory(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK((plain == MAP_FAILED) == (policy() != 1), "policy %d is another than this test knows", policy());
    if (plain != MAP_FAILED)
        munmap(plain, 2 * all_memory());
    for (size_t times = 2; times <= 16; times *= 2) {
        size_t size = hide_size(times * all_memory());
        errno = 0;
        expect("malloc", size, hide(malloc(size)));
        expect("calloc", size, hide(calloc(1, size)));
        expect("aligned_alloc", size, hide(aligned_alloc(MIB, size)));
        expect("realloc", size, hide(realloc(NULL, size)));
        char *block = malloc(3 * MIB);
        block[0] = 'x';
        char *grown = realloc(block, size);
        CHECK(grown ? policy() == 1 : policy() != 1, "policy %d: a block grows to %zu bytes, or not", policy(), size);
        CHECK((grown ? grown : block)[0] == 'x', "a block that was to grow to %zu bytes has lost its contents", size);
        free(grown ? grown : block);
    }
    return 0;
}
