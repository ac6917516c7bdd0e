/*
 * operator new and delete in all their forms, and what the C++ library builds on them.
 *
 * What must hold: every form's memory is pymalloc's, is aligned as asked, and is freed by its counterpart; an allocation that
 * fails calls the new-handler and then throws a bad_alloc that can be caught (or returns null, for the nothrow forms).
 */
#include "check.h"

#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <sys/resource.h>

namespace {

const std::size_t sizes[] = {0, 1, 8, 16, 48, 100, 513, 3000, 20000, 100000, 700000, 5 * MIB};
const std::size_t alignments[] = {1, 8, 16, 32, 64, 128, 1024, 4096, 65536, 2 * MIB};

void expect_live(void *block, std::size_t size, std::size_t alignment, const char *form)
{
    pymalloc_info info = inspect(block);
    CHECK(info.state == PYMALLOC_STATE_ALLOCATED, "%s of %zu bytes: %p is not pymalloc's", form, size, block);
    CHECK(reinterpret_cast<std::uintptr_t>(block) % alignment == 0, "%s of %zu bytes is at %p", form, size, block);
    CHECK(malloc_usable_size(block) >= size, "%s of %zu bytes: usable size is %zu", form, size, malloc_usable_size(block));
    memset(block, 0x3c, size);
}

void expect_dead(void *block, const char *form)
{
    CHECK(inspect(block).state != PYMALLOC_STATE_ALLOCATED, "%s did not free %p", form, block);
}

/* Each operator is called by its name: a new-expression leaves the choice of the form, and even the call, to the compiler. */
void plain_forms()
{
    for (std::size_t size : sizes) {
        void *block = hide(::operator new(hide_size(size)));
        expect_live(block, size, 16, "operator new");
        ::operator delete(hide(block));
        expect_dead(block, "operator delete");

        block = hide(::operator new(hide_size(size)));
        ::operator delete(hide(block), size);
        expect_dead(block, "sized operator delete");

        block = hide(::operator new[](hide_size(size)));
        expect_live(block, size, 16, "operator new[]");
        ::operator delete[](hide(block));
        expect_dead(block, "operator delete[]");

        block = hide(::operator new[](hide_size(size)));
        ::operator delete[](hide(block), size);
        expect_dead(block, "sized operator delete[]");

        block = hide(::operator new(hide_size(size), std::nothrow));
        expect_live(block, size, 16, "nothrow operator new");
        ::operator delete(hide(block), std::nothrow);
        expect_dead(block, "nothrow operator delete");

        block = hide(::operator new[](hide_size(size), std::nothrow));
        expect_live(block, size, 16, "nothrow operator new[]");
        ::operator delete[](hide(block), std::nothrow);
        expect_dead(block, "nothrow operator delete[]");

        /* Memory of operator new and of malloc is one: libraries mix them. */
        block = hide(::operator new(hide_size(size)));
        std::free(hide(block));
        expect_dead(block, "free of an operator new");
    }
    ::operator delete(hide(nullptr));
    ::operator delete[](hide(nullptr));
    ::operator delete(hide(nullptr), std::size_t(8));
    ::operator delete(hide(nullptr), std::align_val_t(64));
    ::operator delete[](hide(nullptr), std::size_t(8), std::align_val_t(64));
    void *one = hide(::operator new(hide_size(0))), *other = hide(::operator new(hide_size(0)));
    CHECK(one != other, "two live objects of no bytes are both at %p", one);
    ::operator delete(one);
    ::operator delete(other);
}

void aligned_forms()
{
    for (std::size_t number : alignments) {
        const std::align_val_t alignment{number};
        for (std::size_t size : sizes) {
            void *block = hide(::operator new(hide_size(size), alignment));
            expect_live(block, size, number, "aligned operator new");
            ::operator delete(hide(block), alignment);
            expect_dead(block, "aligned operator delete");

            block = hide(::operator new(hide_size(size), alignment));
            ::operator delete(hide(block), size, alignment);
            expect_dead(block, "sized aligned operator delete");

            block = hide(::operator new[](hide_size(size), alignment));
            expect_live(block, size, number, "aligned operator new[]");
            ::operator delete[](hide(block), alignment);
            expect_dead(block, "aligned operator delete[]");

            block = hide(::operator new[](hide_size(size), alignment));
            ::operator delete[](hide(block), size, alignment);
            expect_dead(block, "sized aligned operator delete[]");

            block = hide(::operator new(hide_size(size), alignment, std::nothrow));
            expect_live(block, size, number, "aligned nothrow operator new");
            ::operator delete(hide(block), alignment, std::nothrow);
            expect_dead(block, "aligned nothrow operator delete");

            block = hide(::operator new[](hide_size(size), alignment, std::nothrow));
            expect_live(block, size, number, "aligned nothrow operator new[]");
            ::operator delete[](hide(block), alignment, std::nothrow);
            expect_dead(block, "aligned nothrow operator delete[]");
        }
    }
}

int handler_calls;
void *reserve;

void handler_that_gives_up()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

class OutOfReserve : public std::bad_alloc {};

void handler_that_throws()
{
    handler_calls++;
    throw OutOfReserve();
}

void handler_that_frees_the_reserve()
{
    handler_calls++;
    std::free(reserve);
    reserve = nullptr;
    std::set_new_handler(nullptr);
}

/* Calls one form with an impossible size; returns whether it threw, and else what it returned. */
template <typename Form> void expect_refused(const char *name, bool throws, Form form)
{
    for (std::size_t size : {std::size_t(PTRDIFF_MAX) + 1, std::size_t(PTRDIFF_MAX) - 4096, SIZE_MAX, SIZE_MAX - 4095}) {
        for (bool with_handler : {false, true}) {
            handler_calls = 0;
            std::set_new_handler(with_handler ? handler_that_gives_up : nullptr);
            bool thrown = false;
            void *block = nullptr;
            try {
                block = hide(form(hide_size(size)));
            } catch (const std::bad_alloc &error) {
                thrown = true;
                CHECK(error.what()[0] != 0, "%s: the bad_alloc has no text", name);
            }
            CHECK(block == nullptr, "%s of 0x%zx bytes returns %p", name, size, block);
            CHECK(thrown == throws, "%s of 0x%zx bytes %s", name, size, thrown ? "throws" : "does not throw");
            CHECK(handler_calls == (with_handler ? 3 : 0), "%s of 0x%zx bytes called the new-handler %d times", name, size,
                  handler_calls);

            handler_calls = 0;
            std::set_new_handler(with_handler ? handler_that_throws : nullptr);
            if (!with_handler)
                continue;
            /* The exception of the handler gets through, but for the nothrow forms. */
            thrown = false;
            try {
                block = hide(form(hide_size(size)));
            } catch (const OutOfReserve &) {
                thrown = true;
            }
            CHECK(block == nullptr && thrown == throws && handler_calls == 1,
                  "%s: a new-handler that throws was called %d times, thrown: %d", name, handler_calls, int(thrown));
            std::set_new_handler(nullptr);
        }
    }
}

void failures_call_the_handler_and_throw()
{
    const std::align_val_t alignment{256};
    expect_refused("operator new", true, [](std::size_t size) { return ::operator new(size); });
    expect_refused("operator new[]", true, [](std::size_t size) { return ::operator new[](size); });
    expect_refused("nothrow operator new", false, [](std::size_t size) { return ::operator new(size, std::nothrow); });
    expect_refused("nothrow operator new[]", false, [](std::size_t size) { return ::operator new[](size, std::nothrow); });
    expect_refused("aligned operator new", true, [=](std::size_t size) { return ::operator new(size, alignment); });
    expect_refused("aligned operator new[]", true, [=](std::size_t size) { return ::operator new[](size, alignment); });
    expect_refused("aligned nothrow operator new", false,
                   [=](std::size_t size) { return ::operator new(size, alignment, std::nothrow); });
    expect_refused("aligned nothrow operator new[]", false,
                   [=](std::size_t size) { return ::operator new[](size, alignment, std::nothrow); });
    /* What the compiler itself finds to be too much. */
    bool thrown = false;
    try {
        hide(new std::uint64_t[hide_size(SIZE_MAX / 4)]);
    } catch (const std::bad_array_new_length &) {
        thrown = true;
    }
    CHECK(thrown, "new of an array that overflows does not throw");
}

/* Counts itself, and fails to be built on demand. */
struct Fragile {
    static int alive, to_be_built;
    static void *first;
    char payload[120];

    Fragile()
    {
        if (to_be_built-- == 0)
            throw std::runtime_error(std::string(200, 'r'));
        if (alive++ == 0)
            first = this;
    }
    ~Fragile() { alive--; }
};
int Fragile::alive, Fragile::to_be_built;
void *Fragile::first;

void a_constructor_that_throws_leaks_nothing()
{
    for (int built = 0; built < 20; built++) {
        Fragile::to_be_built = built;
        bool thrown = false;
        try {
            hide(new Fragile[20]);
        } catch (const std::runtime_error &error) {
            thrown = std::string(error.what()) == std::string(200, 'r');
        }
        CHECK(thrown && Fragile::alive == 0, "%d objects are alive after their array was not built", Fragile::alive);
        if (built > 0)
            expect_dead(Fragile::first, "a new-expression whose constructor throws");
    }
    Fragile::to_be_built = 1 << 30;
}

struct alignas(512) Overaligned {
    int value;
    char rest[100];
};

void containers_work()
{
    std::map<int, std::string> tree;
    std::unordered_map<std::string, std::vector<int>> table;
    std::list<std::unique_ptr<int>> list;
    for (int at = 0; at < 20000; at++) {
        tree[at * 7919 % 20011] = std::string(static_cast<std::size_t>(at % 300), 'm');
        table[std::to_string(at % 1000)].push_back(at);
        list.push_back(std::make_unique<int>(at));
        if (at % 3 == 0)
            list.pop_front();
    }
    long long sum = 0;
    for (const auto &entry : table)
        sum = std::accumulate(entry.second.begin(), entry.second.end(), sum);
    CHECK(sum == 20000LL * 19999 / 2, "an unordered_map of vectors sums to %lld", sum);
    for (const auto &entry : tree)
        CHECK(entry.second.find_first_not_of('m') == std::string::npos, "a string of a map was overwritten");

    std::vector<Overaligned> overaligned(3);
    for (int at = 0; at < 100; at++)
        overaligned.push_back(Overaligned{at, {}});
    CHECK(reinterpret_cast<std::uintptr_t>(overaligned.data()) % 512 == 0, "a vector of overaligned objects is at %p",
          static_cast<void *>(overaligned.data()));
    auto shared = std::make_shared<Overaligned>();
    CHECK(reinterpret_cast<std::uintptr_t>(shared.get()) % 512 == 0, "a shared overaligned object is at %p",
          static_cast<void *>(shared.get()));
    std::weak_ptr<Overaligned> weak = shared;
    shared.reset();
    CHECK(weak.expired(), "a weak_ptr keeps its object");
}

void memory_resources_work()
{
    std::pmr::memory_resource *upstream = std::pmr::new_delete_resource();
    for (std::size_t alignment : alignments) {
        for (std::size_t size : sizes) {
            void *block = hide(upstream->allocate(size, alignment));
            expect_live(block, size, alignment, "new_delete_resource");
            upstream->deallocate(hide(block), size, alignment);
            expect_dead(block, "new_delete_resource");
        }
    }
    std::pmr::unsynchronized_pool_resource pool(upstream);
    std::pmr::monotonic_buffer_resource buffer(upstream);
    for (std::pmr::memory_resource *resource : {static_cast<std::pmr::memory_resource *>(&pool),
                                                static_cast<std::pmr::memory_resource *>(&buffer)}) {
        std::pmr::vector<std::pmr::string> strings(resource);
        for (int at = 0; at < 5000; at++)
            strings.emplace_back(static_cast<std::size_t>(at % 500), 'p');
        for (std::size_t at = 0; at < strings.size(); at++)
            CHECK(strings[at].size() == at % 500, "a string of a memory resource has %zu bytes", strings[at].size());
        void *aligned = resource->allocate(1000, 4096);
        CHECK(reinterpret_cast<std::uintptr_t>(aligned) % 4096 == 0, "a memory resource aligns to %p", aligned);
        resource->deallocate(aligned, 1000, 4096);
    }
}

thread_local std::vector<std::string> of_thread;

void threads_throw_and_end()
{
    for (int round = 0; round < 50; round++) {
        std::vector<std::thread> threads;
        for (int at = 0; at < 8; at++) {
            threads.emplace_back([at] {
                for (int step = 0; step < 50; step++) {
                    of_thread.emplace_back(static_cast<std::size_t>(at * 100 + step), 't');
                    try {
                        std::vector<std::string> lost(10, std::string(100, 'l'));
                        throw std::runtime_error(lost[static_cast<std::size_t>(step % 10)]);
                    } catch (const std::exception &error) {
                        CHECK(std::string(error.what()) == std::string(100, 'l'), "an exception lost its text");
                    }
                }
            });
        }
        for (auto &thread : threads)
            thread.join();
    }
}

/* Last, for the limit stays: nothing is left, and that must still be told by an exception that can be caught. */
void exhaustion_can_be_caught()
{
    constexpr std::size_t room = 128 * MIB;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0, "getrlimit fails");
    limit.rlim_cur = address_space() + room;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit fails");
    for (std::size_t size : {3 * MIB, std::size_t(100000), std::size_t(1000), std::size_t(64)}) {
        std::list<std::unique_ptr<char[]>> held;
        bool thrown = false;
        try {
            for (;;)
                held.push_back(std::unique_ptr<char[]>(new char[size]));
        } catch (const std::bad_alloc &) {
            thrown = true;
        }
        CHECK(thrown && held.size() * size > room / 2, "%zu blocks of %zu bytes could be had of %zu MiB", held.size(), size,
              room / MIB);
        CHECK(hide(::operator new(hide_size(room), std::nothrow)) == nullptr, "exhausted, yet %zu MiB can be had", room / MIB);
        /* Room for text that the exception itself must allocate, in whichever size class. */
        for (std::size_t freed = held.size() / 8; freed > 0; freed--)
            held.pop_back();
        try {
            throw std::runtime_error(std::string(40, 'e'));
        } catch (const std::runtime_error &error) {
            CHECK(std::string(error.what()) == std::string(40, 'e'), "an exception thrown in exhaustion lost its text");
        }
        held.clear();
        std::vector<char> whole(room / 2, 'w');
        CHECK(whole[room / 4] == 'w', "what was freed cannot be used");
    }

    handler_calls = 0;
    reserve = hide(std::malloc(room * 3 / 4));
    CHECK(reserve != nullptr, "there is no room for the reserve");
    std::set_new_handler(handler_that_frees_the_reserve);
    void *block = hide(::operator new(hide_size(room / 2)));
    CHECK(handler_calls == 1 && reserve == nullptr, "the new-handler was called %d times", handler_calls);
    memset(block, 1, room / 2);
    ::operator delete(block);
}

} // namespace

int main()
{
    require_pymalloc();
    plain_forms();
    aligned_forms();
    failures_call_the_handler_and_throw();
    a_constructor_that_throws_leaks_nothing();
    containers_work();
    memory_resources_work();
    threads_throw_and_end();
    exhaustion_can_be_caught();
    return 0;
}
