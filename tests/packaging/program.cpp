// A C++ program that links pymalloc: operator new and the containers get the library's blocks.
// It prints `ok` and nothing else when all is well.
// Not with FULLY_STATIC: std::bad_alloc, which the library throws through the C++ library's own operator new. That one is
// not to be found in a program without a dynamic linker.

#include <pymalloc.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

static void check(bool holds, const char *what)
{
    if (!holds) {
        std::printf("does not hold: %s\n", what);
        std::exit(1);
    }
}

static void check_ours(const void *block)
{
    pymalloc_info info;

    check(pymalloc_inspect(block, &info) == 1, "the block is the library's");
    check(info.state == PYMALLOC_STATE_ALLOCATED, "it is allocated");
    check(info.block == block, "it starts where new said");
}

struct alignas(256) Aligned {
    char bytes[256];
};

int main()
{
    auto one = std::make_unique<int>(1);
    check_ours(one.get());

    auto aligned = std::make_unique<Aligned>();
    check_ours(aligned.get());
    check(reinterpret_cast<std::uintptr_t>(aligned.get()) % 256 == 0, "new keeps an alignment");

    std::unique_ptr<char[]> nothrow(new (std::nothrow) char[1000]);
    check_ours(nothrow.get());

    std::map<std::string, std::vector<int>> table;
    std::thread other([&table] {
        for (int i = 0; i < 1000; i++)
            table["a key too long for the string itself " + std::to_string(i)].assign(100, i);
    });
    other.join();
    check_ours(table.begin()->second.data());
    table.clear();

#ifndef FULLY_STATIC
    // Through a pointer that the compiler cannot see through, so that the call stays.
    void *(*volatile allocate)(std::size_t) = ::operator new;
    bool thrown = false;
    try {
        allocate(static_cast<std::size_t>(-1) / 2 + 1);
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    check(thrown, "new throws bad_alloc");
#endif

    std::puts("ok");
    return 0;
}
