/*
 * Every form of `operator new`, asked for more than there can be: see failing_new.c. With PROGRAM defined it is a program by itself.
 */
#include <cstddef>
#include <cstdio>
#include <new>
#include <string>
#include <vector>

namespace {

/* More than the addresses of any processor, and less than what a compiler warns of. */
volatile std::size_t too_much = ~static_cast<std::size_t>(0) >> 2;
const std::align_val_t aligned{256};
int handled;

void give_up_at_third_call()
{
    if (++handled == 3)
        throw std::bad_alloc();
}

template <typename Form> bool throws(Form form)
{
    try {
        return form() == nullptr && false;
    } catch (const std::bad_alloc &) {
        return true;
    }
}

struct form {
    const char *name;
    bool (*fails)();
};

const form forms[] = {
    {"operator new", [] { return throws([] { return operator new(too_much); }); }},
    {"operator new[]", [] { return throws([] { return operator new[](too_much); }); }},
    {"operator new, aligned", [] { return throws([] { return operator new(too_much, aligned); }); }},
    {"operator new[], aligned", [] { return throws([] { return operator new[](too_much, aligned); }); }},
    {"operator new, nothrow", [] { return operator new(too_much, std::nothrow) == nullptr; }},
    {"operator new[], nothrow", [] { return operator new[](too_much, std::nothrow) == nullptr; }},
    {"operator new, aligned, nothrow", [] { return operator new(too_much, aligned, std::nothrow) == nullptr; }},
    {"operator new[], aligned, nothrow", [] { return operator new[](too_much, aligned, std::nothrow) == nullptr; }},
    {"std::string", [] { return throws([] { return std::string(too_much, 'x').data() - 1; }); }},
    {"std::vector", [] { return throws([] { return std::vector<char>(too_much).data(); }); }},
};

char said[200];

} // namespace

/* What is wrong, or null. */
extern "C" const char *wrong()
{
    for (const form &each : forms) {
        std::set_new_handler(nullptr);
        if (!each.fails()) {
            std::snprintf(said, sizeof said, "%s does not fail as it is to", each.name);
            return said;
        }
        handled = 0;
        std::set_new_handler(give_up_at_third_call);
        bool fails = each.fails();
        std::set_new_handler(nullptr);
        if (!fails || handled != 3) {
            std::snprintf(said, sizeof said, "%s with a new-handler: it was called %d times", each.name, handled);
            return said;
        }
    }
    return nullptr;
}

#ifdef PROGRAM
int main()
{
    const char *what = wrong();
    if (what)
        std::fprintf(stderr, "%s\n", what);
    return what != nullptr;
}
#endif
