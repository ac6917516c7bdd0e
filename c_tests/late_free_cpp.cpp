/*
 * C++ objects of thread and of static storage that allocate while they are destroyed.
 *
 * What must hold: a thread_local destructor may allocate and free whatever the order in which the allocator's own end of
 * thread comes; what threads leave so is bounded; and static destructors find a working allocator after main has returned.
 */
#include "check.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int threads_in_all = 3000;
constexpr int at_once = 8;
constexpr int warm_up = 400;

std::atomic<int> destroyed{0};

/* A ring of what ended threads have left; the next ones free it. */
std::atomic<std::string *> left[64];
std::atomic<unsigned> next_left{0};

class Late {
public:
    explicit Late(std::size_t size) : bytes(size, 'x') {}

    ~Late()
    {
        std::vector<std::string> strings;
        for (std::size_t at = 0; at < 50; at++)
            strings.emplace_back(bytes.size() / 50 + at * 8, 'y');
        CHECK(bytes.find_first_not_of('x') == std::string::npos, "a thread_local string was overwritten");
        bytes.assign(bytes.size() * 2 + 1, 'z');
        std::unique_ptr<std::string> old(left[next_left++ % 64].exchange(new std::string(bytes)));
        CHECK(!old || old->find_first_not_of('z') == std::string::npos, "a string left by an ended thread was overwritten");
        destroyed++;
    }

    std::string bytes;
};

thread_local Late small(40);
thread_local std::vector<std::unique_ptr<Late>> several;
thread_local std::map<int, std::string> tree;
thread_local Late large(300000);

void live()
{
    /* First used, and so last destroyed, are the ones on either side of the containers. */
    small.bytes[0] = 'x';
    for (int at = 0; at < 20; at++)
        tree[at] = std::string(static_cast<std::size_t>(at) * 100, 't');
    several.push_back(std::make_unique<Late>(1000));
    several.push_back(std::make_unique<Late>(20000));
    large.bytes[0] = 'x';
}

class AfterMain {
public:
    ~AfterMain()
    {
        for (auto &place : left)
            delete place.exchange(nullptr);
        std::map<int, std::string> fresh;
        for (int at = 0; at < 1000; at++)
            fresh[at] = std::string(static_cast<std::size_t>(at), 'f');
        CHECK(fresh.size() == 1000 && fresh[999].size() == 999, "a map made after main is wrong");
        say(STDOUT_FILENO, "static destructor ran\n");
    }
};

AfterMain after_main;

} // namespace

int main()
{
    require_pymalloc();
    std::size_t resident_then = 0, mapped_then = 0;
    for (int first = 0; first < threads_in_all; first += at_once) {
        std::vector<std::thread> threads;
        for (int at = 0; at < at_once; at++)
            threads.emplace_back(live);
        for (auto &thread : threads)
            thread.join();
        if (first == warm_up) {
            resident_then = resident();
            mapped_then = address_space();
        }
    }
    CHECK(destroyed == threads_in_all * 4, "%d of %d thread_local objects were destroyed", destroyed.load(), threads_in_all * 4);
    CHECK(resident() <= resident_then + 8 * MIB, "resident grows with the number of ended threads: from %.1f to %.1f MiB",
          mib(resident_then), mib(resident()));
    CHECK(address_space() <= mapped_then + 32 * MIB,
          "address space grows with the number of ended threads: from %.1f to %.1f MiB", mib(mapped_then), mib(address_space()));
    /* The main thread's own are destroyed too, after this. */
    live();
    return 0;
}
