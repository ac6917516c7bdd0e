/*
 * A plugin that has the static library in it (late_free_library.c), loaded and unloaded; then the program forks.
 *
 * What must hold: of what is unloaded, the C library calls nothing any more around a fork.
 */
#include "check.h"

#include <dlfcn.h>
#include <sys/wait.h>

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: %s PLUGIN", arguments[0]);
    for (int round = 0; round < 3; round++) {
        int status = 0;
        void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);

        CHECK(plugin != NULL, "dlopen: %s", dlerror());
        CHECK(dlsym(plugin, "pymalloc_malloc") != NULL, "the library is not in the plugin");
        CHECK(dlclose(plugin) == 0, "dlclose: %s", dlerror());
        CHECK(dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) == NULL, "the plugin is still there");
        pid_t child = fork();
        CHECK(child >= 0, "fork fails");
        if (child == 0)
            _exit(7);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7,
              "the child ends with status %x", (unsigned)status);
    }
    return 0;
}
