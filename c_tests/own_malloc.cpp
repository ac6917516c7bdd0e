/*
 * A program with `malloc`, `free`, `calloc`, `realloc` and `aligned_alloc` of its own, which it exports, as a browser does.
 *
 * What must hold: all that goes through these in the C library and in every C++ library does so here: what is had by one is freed by the
 * other. The library's own names still are the library's.
 */
#include "check.h"

#include <new>
#include <string>
#include <vector>

namespace {

alignas(4096) char memory[16 * MIB];
std::size_t used;
long live;

void *take(std::size_t size, std::size_t align)
{
    used = (used + 16 + align - 1) / align * align;
    void *block = memory + used;
    memcpy(memory + used - sizeof size, &size, sizeof size);
    used += size;
    CHECK(used < sizeof memory, "the program's own memory is full");
    live++;
    return block;
}

bool is_own(const void *block)
{
    return block >= memory && block < memory + sizeof memory;
}

std::size_t size_of(const void *block)
{
    std::size_t size;
    memcpy(&size, static_cast<const char *>(block) - sizeof size, sizeof size);
    return size;
}

} // namespace

extern "C" {

void *malloc(std::size_t size)
{
    return take(size, 16);
}

void free(void *block)
{
    CHECK(!block || is_own(block), "free gets a block that malloc did not make");
    live -= block != nullptr;
}

void *calloc(std::size_t count, std::size_t size)
{
    return memset(take(count * size, 16), 0, count * size);
}

void *realloc(void *block, std::size_t size)
{
    void *moved = take(size, 16);
    if (block)
        memcpy(moved, block, std::min(size, size_of(block)));
    free(block);
    return moved;
}

void *aligned_alloc(std::size_t align, std::size_t size)
{
    return take(size, align);
}
}

int main()
{
    const std::align_val_t aligned{64};
    find_inspect();
    CHECK(is_own(hide(malloc(10))), "the compiler has its own idea of malloc");
    long before = live;

    char *block = static_cast<char *>(hide(malloc(10)));
    strcpy(block, "contents");
    block = static_cast<char *>(hide(reallocarray(block, 10, 10)));
    CHECK(is_own(block) && strcmp(block, "contents") == 0, "reallocarray does not come to the program's realloc");
    free(block);
    errno = 0;
    CHECK(hide(reallocarray(NULL, hide_size(SIZE_MAX), 2)) == NULL && errno == ENOMEM, "reallocarray misses an overflow");

    void *first = hide(operator new(40)), *second = hide(operator new[](40)), *third = hide(operator new(0));
    void *fourth = hide(operator new(40, std::nothrow)), *fifth = hide(operator new(40, aligned));
    CHECK(is_own(first) && is_own(second) && is_own(third) && is_own(fourth), "operator new does not come to the program's malloc");
    CHECK(is_own(fifth) && reinterpret_cast<std::uintptr_t>(fifth) % 64 == 0, "nor does the aligned one to aligned_alloc");
    free(first);
    free(second);
    free(third);
    free(fourth);
    free(fifth);
    operator delete(hide(malloc(40)));
    operator delete(hide(malloc(40)), std::size_t(40));
    operator delete[](hide(malloc(40)));
    operator delete(hide(aligned_alloc(64, 64)), aligned);
    {
        std::vector<std::string> texts(50, std::string(1000, 'x'));
        CHECK(is_own(texts[7].data()), "a string does not come to the program's malloc");
    }
    free(strdup("text"));
    CHECK(live == before, "%ld blocks are left", live - before);

    void *ours = hide(((void *(*)(std::size_t))find("pymalloc_malloc"))(100));
    CHECK(!is_own(ours) && inspect(ours).state == PYMALLOC_STATE_ALLOCATED, "pymalloc_malloc is not the library's");
    ((void (*)(void *))find("pymalloc_free"))(ours);
    return 0;
}
