// operator new and delete in all their forms, exceptions that cross threads,
// a new-handler, and a process that ends by exit() in one of its threads while
// others still allocate. Prints the same on every malloc; ends with status 23.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <iostream>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

// The compiler may leave out an allocation that it can see the end of.
template <typename Pointer> static Pointer seen(Pointer pointer)
{
    asm volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

static void expect(bool holds, const char *what)
{
    if (!holds) {
        std::cout << "does not hold: " << what << std::endl;
        std::_Exit(1);
    }
}

static bool aligned(const void *pointer, std::size_t alignment)
{
    return reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0;
}

struct alignas(256) wide {
    char bytes[768];
};

struct counted {
    static std::atomic<long> live;
    std::string name;
    explicit counted(std::string n) : name(std::move(n)) { live++; }
    counted(const counted &other) : name(other.name) { live++; }
    ~counted() { live--; }
};
std::atomic<long> counted::live{0};

struct refuses {
    counted part{"part"};
    refuses()
    {
        if (seen(this))
            throw std::runtime_error("a constructor that throws, with a text " + std::string(40, 'l') + "ong");
    }
};

static const std::size_t too_large = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) - 64;

static void plain_forms()
{
    delete seen(new int(1));
    delete[] seen(new counted[3]{counted("a"), counted("b"), counted("c")});
    for (std::size_t size = 0; size < 5000; size += 37) {
        void *one = seen(::operator new(size));
        void *array = seen(::operator new[](size));
        void *quiet = seen(::operator new(size, std::nothrow));
        void *quiet_array = seen(::operator new[](size, std::nothrow));
        expect(one && array && quiet && quiet_array, "new of a usual size");
        expect(aligned(one, alignof(std::max_align_t)) || size < alignof(std::max_align_t), "alignment of new");
        std::fill_n(static_cast<char *>(array), size, 'x');
        ::operator delete(one);
        ::operator delete[](array, size);
        ::operator delete(quiet, std::nothrow);
        ::operator delete[](quiet_array, std::nothrow);
        ::operator delete(seen(::operator new(size)), size);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr, std::nothrow);
    std::cout << "plain, live " << counted::live << '\n';
}

static void aligned_forms()
{
    for (std::size_t alignment = 16; alignment <= 65536; alignment *= 2) {
        const auto at = std::align_val_t(alignment);
        for (std::size_t size : {std::size_t(1), alignment - 1, alignment, 3 * alignment + 5}) {
            void *one = seen(::operator new(size, at));
            void *array = seen(::operator new[](size, at));
            void *quiet = seen(::operator new(size, at, std::nothrow));
            void *quiet_array = seen(::operator new[](size, at, std::nothrow));
            for (void *pointer : {one, array, quiet, quiet_array})
                expect(pointer && aligned(pointer, alignment), "alignment that was asked for");
            ::operator delete(one, at);
            ::operator delete[](array, size, at);
            ::operator delete(quiet, at, std::nothrow);
            ::operator delete[](quiet_array, at, std::nothrow);
            ::operator delete(seen(::operator new(size, at)), size, at);
            ::operator delete[](seen(::operator new[](size, at)), at);
        }
    }
    std::vector<std::unique_ptr<wide>> wides;
    for (int i = 0; i < 200; i++) {
        wides.push_back(std::make_unique<wide>());
        expect(aligned(wides.back().get(), 256), "alignment of an over-aligned type");
    }
    std::cout << "aligned\n";
}

static int handler_calls;

static void failures()
{
    expect(!seen(::operator new(too_large, std::nothrow)), "nothrow gives a null pointer");
    expect(!seen(::operator new[](too_large, std::align_val_t(64), std::nothrow)), "aligned nothrow too");
    int caught = 0;
    const auto tries = {+[] { return ::operator new(too_large); }, +[] { return ::operator new[](too_large); },
                        +[] { return ::operator new(too_large, std::align_val_t(4096)); }};
    for (auto make : tries) {
        try {
            seen(make());
        } catch (const std::bad_alloc &error) {
            caught++;
        }
    }
    try {
        volatile std::size_t huge = std::numeric_limits<std::size_t>::max() / 2;
        seen(new long[huge]);
    } catch (const std::bad_array_new_length &error) {
        std::cout << error.what() << '\n';
    }
    std::set_new_handler([] {
        if (++handler_calls == 3)
            std::set_new_handler(nullptr);
    });
    try {
        seen(::operator new(too_large));
    } catch (const std::bad_alloc &error) {
        std::cout << error.what() << " after " << handler_calls << " calls of the handler\n";
    }
    std::set_new_handler([] { throw std::length_error("a handler that throws"); });
    try {
        seen(::operator new[](too_large));
    } catch (const std::length_error &error) {
        std::cout << error.what() << '\n';
    }
    std::set_new_handler(nullptr);
    std::cout << "failures caught " << caught << '\n';
}

static int thrown(int depth)
{
    counted here("at " + std::to_string(depth));
    if (depth == 0)
        return seen(std::make_unique<refuses>().get()) != nullptr;
    try {
        return thrown(depth - 1) + 1;
    } catch (const std::runtime_error &error) {
        std::throw_with_nested(std::logic_error("through " + here.name));
    }
}

static std::size_t unwound(const std::exception &error)
{
    try {
        std::rethrow_if_nested(error);
    } catch (const std::exception &inner) {
        return std::string(error.what()).size() + unwound(inner);
    }
    return std::string(error.what()).size();
}

static void exceptions()
{
    std::vector<std::future<int>> workers;
    for (int i = 0; i < 8; i++)
        workers.push_back(std::async(std::launch::async, [i] {
            for (int round = 0; round < 300; round++) {
                try {
                    thrown(1 + round % 20);
                } catch (const std::logic_error &) {
                }
            }
            return thrown(i + 1);
        }));
    std::size_t total = 0;
    for (auto &worker : workers) {
        // The exception was made in the worker and is freed here.
        try {
            worker.get();
        } catch (const std::exception &error) {
            total += unwound(error);
        }
    }
    std::cout << "exceptions " << total << ", live " << counted::live << '\n';
}

static void handed_over()
{
    std::mutex mutex;
    std::condition_variable changed;
    std::list<std::unique_ptr<std::unordered_map<std::string, std::string>>> queue;
    std::size_t received = 0, bytes = 0;
    const std::size_t wanted = 4 * 500;
    std::vector<std::thread> makers;
    for (int maker = 0; maker < 4; maker++)
        makers.emplace_back([&, maker] {
            for (int i = 0; i < 500; i++) {
                auto map = std::make_unique<std::unordered_map<std::string, std::string>>();
                for (int k = 0; k < 20; k++)
                    (*map)[std::to_string(maker) + "/" + std::to_string(k)] = std::string(k * 11, 'v');
                std::lock_guard<std::mutex> lock(mutex);
                queue.push_back(std::move(map));
                changed.notify_one();
            }
        });
    while (received < wanted) {
        std::list<std::unique_ptr<std::unordered_map<std::string, std::string>>> taken;
        {
            std::unique_lock<std::mutex> lock(mutex);
            changed.wait(lock, [&] { return !queue.empty(); });
            taken.swap(queue);
        }
        received += taken.size();
        for (const auto &map : taken)
            for (const auto &[key, value] : *map)
                bytes += key.size() + value.size();
    }
    for (auto &maker : makers)
        maker.join();
    std::cout << "handed over " << bytes << '\n';
}

// Lives until its thread ends, and allocates in its destructor.
struct last_words {
    std::vector<std::string> words;
    ~last_words()
    {
        std::ostringstream text;
        for (const auto &word : words)
            text << word << ' ';
        static std::atomic<std::size_t> total;
        total += seen(new std::string(text.str()))->size();
    }
};

static void short_lives()
{
    for (int round = 0; round < 50; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++)
            threads.emplace_back([i] {
                thread_local last_words words;
                words.words.assign(10 + i, std::string(100, 'w'));
            });
        for (auto &thread : threads)
            thread.join();
    }
    std::cout << "short lives\n";
}

// Destroyed after main, in the thread that called exit.
struct until_the_end {
    std::vector<std::unique_ptr<counted>> held;
    ~until_the_end()
    {
        held.clear();
        std::printf("at the end, live %ld\n", counted::live.load());
    }
};
static until_the_end at_the_end;

int main()
{
    plain_forms();
    aligned_forms();
    failures();
    exceptions();
    handed_over();
    short_lives();

    for (int i = 0; i < 1000; i++)
        at_the_end.held.push_back(std::make_unique<counted>("held " + std::to_string(i)));
    for (int i = 0; i < 4; i++)
        std::thread([] {
            for (;;) {
                std::vector<std::string> busy(50, std::string(60, 'b'));
                seen(busy.data());
            }
        }).detach();
    std::atexit([] { delete[] seen(new char[100000]); });
    std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        std::cout << std::flush;
        std::exit(23);
    }).join();
}
