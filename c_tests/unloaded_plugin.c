/*
 * A plugin that has the static library in it (late_free_library.c), opened and closed while a thread has blocks of it, with settings by which it has a
 * thread and a signal of its own. Then the other thread ends, the signal comes, and the program forks.
 *
 * What must hold: whatever calls the library when the plugin is closed finds it: the end of a thread, a signal, a fork, its own thread. So the plugin
 * stays, as the shared library does, and is the same when it is opened again.
 */
#include "check.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PLACE = 64 << 10 };

static void *(*allocate)(size_t);
static pthread_barrier_t is_closed;

static void *user(void *arguments)
{
    void *block = allocate(100);
    CHECK(block != NULL, "the plugin has no block");
    // Allocated; then the plugin is closed.
    pthread_barrier_wait(&is_closed);
    pthread_barrier_wait(&is_closed);
    return arguments;
}

int main(int count, char **arguments)
{
    char *first = NULL;

    CHECK(count == 2, "usage: %s PLUGIN", arguments[0]);
    CHECK(setenv("PYMALLOC_CONF", "background_purge=1,stats_signal=12", 1) == 0, "setenv fails");
    CHECK(pthread_barrier_init(&is_closed, NULL, 2) == 0, "no barrier");
    for (int round = 0; round < 3; round++) {
        int status = 0;
        pthread_t thread;
        void *plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);

        CHECK(plugin != NULL, "dlopen: %s", dlerror());
        *(void **)&allocate = dlsym(plugin, "pymalloc_malloc");
        CHECK(allocate != NULL, "the library is not in the plugin");
        char *place = (char *)((struct link_map *)plugin)->l_addr;
        CHECK(round == 0 || place == first, "the plugin is another one");
        first = place;
        CHECK(pthread_create(&thread, NULL, user, NULL) == 0, "no thread");
        pthread_barrier_wait(&is_closed);
        CHECK(dlclose(plugin) == 0, "dlclose: %s", dlerror());
        pthread_barrier_wait(&is_closed);
        CHECK(pthread_join(thread, NULL) == 0, "the thread does not end");
        CHECK(raise(SIGUSR2) == 0, "no signal");
        pid_t child = fork();
        CHECK(child >= 0, "fork fails");
        if (child == 0)
            _exit(7);
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7,
              "the child ends with status %x", (unsigned)status);
        char *taken = mmap(place, PLACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        // Refused, or by an emulator that does not know the flag mapped elsewhere.
        CHECK(taken != place, "the plugin has left its place");
        if (taken != MAP_FAILED)
            munmap(taken, PLACE);
    }
    return 0;
}
