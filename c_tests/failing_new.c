/*
 * A program in C that opens plugins in C++, as Python opens its extensions (failing_new_plugin.cpp), in which every form of `operator new`
 * fails. The plugins are its arguments: they may have brought different C++ libraries with them.
 *
 * What must hold: each plugin can catch what is thrown in it; the forms that do not throw return null; the new-handler of the plugin's own
 * C++ library is run until it gives up.
 */
#include "check.h"

int main(int count, char **arguments)
{
    CHECK(count >= 2, "usage: %s PLUGIN...", arguments[0]);
    require_pymalloc();
    void *plugins[8];
    for (int at = 1; at < count; at++) {
        plugins[at] = dlopen(arguments[at], RTLD_NOW | RTLD_LOCAL);
        CHECK(plugins[at] != NULL, "dlopen: %s", dlerror());
    }
    /* In turns, so that what was found for one would show in the other. */
    for (int round = 0; round < 2; round++)
        for (int at = 1; at < count; at++) {
            const char *(*wrong)(void) = (const char *(*)(void))(uintptr_t)dlsym(plugins[at], "wrong");
            CHECK(wrong != NULL, "%s has no such function", arguments[at]);
            const char *what = wrong();
            CHECK(what == NULL, "%s: %s", arguments[at], what);
        }
    return 0;
}
