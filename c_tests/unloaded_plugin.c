/*
 * A plugin that has the static library in it (late_free_library.c), loaded and unloaded; then the program forks. The next time it is loaded elsewhere.
 *
 * What must hold: of what is unloaded, the C library calls nothing any more around a fork, and nothing of the thread leads there.
 */
#include "check.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PLACE = 64 << 10 };

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: %s PLUGIN", arguments[0]);
    for (int round = 0; round < 3; round++) {
        int status = 0;
        void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);

        CHECK(plugin != NULL, "dlopen: %s", dlerror());
        CHECK(dlsym(plugin, "pymalloc_malloc") != NULL, "the library is not in the plugin");
        char *place = (char *)((struct link_map *)plugin)->l_addr;
        CHECK(dlclose(plugin) == 0, "dlclose: %s", dlerror());
        CHECK(dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) == NULL, "the plugin is still there");
        pid_t child = fork();
        CHECK(child >= 0, "fork fails");
        if (child == 0)
            _exit(7);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7,
              "the child ends with status %x", (unsigned)status);
        char *taken = mmap(place, PLACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        CHECK(taken == place, "the plugin's place cannot be taken: errno %d", errno);
    }
    return 0;
}
