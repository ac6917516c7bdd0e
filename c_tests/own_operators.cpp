/*
 * A program with operators of its own, which put a header in front of each block. It has replaced the plain and the aligned form
 * of `new` and `delete`, and no other.
 *
 * What must hold: every other form goes through these, as the standard says, from whatever library it is called; the forms that do not
 * throw return null where the program's own throws; and all other functions for memory are untouched by it.
 */
#include "check.h"

#include <algorithm>
#include <new>
#include <string>
#include <vector>

/* That is the point. */
#pragma GCC diagnostic ignored "-Wsized-deallocation"

namespace {

constexpr std::size_t HEADER = 256, MARK = 0x600d600d;
const std::align_val_t aligned{HEADER};
long live;
bool refuses;

void *make(std::size_t size, std::size_t align)
{
    if (refuses)
        throw std::bad_alloc();
    char *block = static_cast<char *>(aligned_alloc(align, HEADER + (size + align - 1) / align * align));
    if (!block)
        throw std::bad_alloc();
    *reinterpret_cast<std::size_t *>(block) = MARK;
    live++;
    return block + HEADER;
}

void unmake(void *block)
{
    if (!block)
        return;
    std::size_t *header = reinterpret_cast<std::size_t *>(static_cast<char *>(block) - HEADER);
    CHECK(*header == MARK, "operator delete gets a block that operator new did not make");
    *header = 0;
    live--;
    free(header);
}

/* Makes a block by one form and unmakes it by another. */
template <typename New, typename Delete> void pair(const char *name, New make, Delete unmake)
{
    for (std::size_t size : {std::size_t(1), std::size_t(100), std::size_t(3000), std::size_t(100000)}) {
        void *block = hide(make(size));
        CHECK(block != nullptr && live == 1, "%s of %zu bytes does not come to the program's operator new", name, size);
        memset(block, 1, size);
        unmake(block, size);
        CHECK(live == 0, "%s of %zu bytes does not come to the program's operator delete", name, size);
    }
}

template <typename New> void refused(const char *name, New make)
{
    refuses = true;
    void *block = hide(make(100));
    refuses = false;
    CHECK(block == nullptr, "%s is not null though the program's operator new throws", name);
}

} // namespace

void *operator new(std::size_t size)
{
    return make(size, 16);
}

void *operator new(std::size_t size, std::align_val_t align)
{
    return make(size, static_cast<std::size_t>(align));
}

void operator delete(void *block) noexcept
{
    unmake(block);
}

void operator delete(void *block, std::align_val_t) noexcept
{
    unmake(block);
}

int main()
{
    require_pymalloc();
    using std::nothrow;
    using std::size_t;
    pair("new, sized delete", [](size_t n) { return operator new(n); }, [](void *p, size_t n) { operator delete(p, n); });
    pair("new, nothrow delete", [](size_t n) { return operator new(n); }, [](void *p, size_t) { operator delete(p, nothrow); });
    pair("new[]", [](size_t n) { return operator new[](n); }, [](void *p, size_t) { operator delete[](p); });
    pair("new[], sized delete[]", [](size_t n) { return operator new[](n); }, [](void *p, size_t n) { operator delete[](p, n); });
    pair("nothrow new", [](size_t n) { return operator new(n, nothrow); }, [](void *p, size_t) { operator delete(p); });
    pair("nothrow new[]", [](size_t n) { return operator new[](n, nothrow); }, [](void *p, size_t) { operator delete[](p, nothrow); });
    pair("aligned new", [](size_t n) { return operator new(n, aligned); }, [](void *p, size_t n) { operator delete(p, n, aligned); });
    pair("aligned new[]", [](size_t n) { return operator new[](n, aligned); }, [](void *p, size_t) { operator delete[](p, aligned); });
    pair("aligned nothrow new", [](size_t n) { return operator new(n, aligned, nothrow); },
         [](void *p, size_t) { operator delete(p, aligned, nothrow); });
    pair("aligned nothrow new[]", [](size_t n) { return operator new[](n, aligned, nothrow); },
         [](void *p, size_t n) { operator delete[](p, n, aligned); });
    pair("aligned new[], nothrow delete[]", [](size_t n) { return operator new[](n, aligned); },
         [](void *p, size_t) { operator delete[](p, aligned, nothrow); });
    refused("nothrow new", [](size_t n) { return operator new(n, nothrow); });
    refused("nothrow new[]", [](size_t n) { return operator new[](n, nothrow); });
    refused("aligned nothrow new", [](size_t n) { return operator new(n, aligned, nothrow); });
    refused("aligned nothrow new[]", [](size_t n) { return operator new[](n, aligned, nothrow); });
    {
        std::vector<int> numbers(5000);
        for (size_t at = 0; at < numbers.size(); at++)
            numbers[at] = static_cast<int>(at * 7919 % 5000);
        std::stable_sort(numbers.begin(), numbers.end());
        std::vector<std::string> texts(50, std::string(1000, 'x'));
        CHECK(live > 0 && numbers[4999] >= numbers[0], "a vector does not come to the program's operator new");
    }
    CHECK(live == 0, "%ld blocks are left", live);
    return 0;
}
