// A host of plugins that opens them with RTLD_DEEPBIND: deepbind HOW FOLDER.
//
// HOW is `dlopen` or `dlmopen`. FOLDER has plugin.so, whose RUNPATH is a folder in there with inner.so. What must hold: blocks go from
// the host to the plugin and back and are freed where they arrive; a plugin finds by its bare name a library in its own RUNPATH, which the host
// cannot find; what cannot be opened is told as ever. The runner knows whether the program is to end well.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void require(int condition, const char *what)
{
    if (!condition) {
        const char *error = dlerror();
        fprintf(stderr, "%s: %s\n", what, error ? error : "no error");
        exit(1);
    }
}

int main(int count, char **arguments)
{
    require(count == 3, "two arguments");
    int by_dlmopen = strcmp(arguments[1], "dlmopen") == 0;
    int flags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
    char path[4096];
    snprintf(path, sizeof path, "%s/plugin.so", arguments[2]);

    void *plugin = by_dlmopen ? dlmopen(LM_ID_BASE, path, flags) : dlopen(path, flags);
    require(plugin != NULL, "the plugin opens");
    // The flags that are left mean what they did: the plugin is local, and open already.
    require(dlsym(RTLD_DEFAULT, "plugin_takes") == NULL, "a local plugin is not seen from the program");
    dlerror();
    require(dlopen(path, RTLD_NOW | RTLD_NOLOAD | RTLD_DEEPBIND) == plugin, "the plugin is open");
    require(dlopen("/no/such/plugin.so", flags) == NULL, "no plugin");
    require(strstr(dlerror(), "/no/such/plugin.so") != NULL, "the error names the file");

    require(dlopen("pymalloc-test-inner.so", flags) == NULL, "the program's RUNPATH has no such library");
    void *(*open_inner)(int) = (void *(*)(int))dlsym(plugin, "plugin_opens_inner");
    require(open_inner(by_dlmopen) != NULL, "the plugin's own RUNPATH is searched");

    if (by_dlmopen) {
        // In a namespace of its own a plugin has a C library of its own as well, and its malloc.
        void *apart = dlmopen(LM_ID_NEWLM, path, flags & ~RTLD_LOCAL);
        require(apart != NULL && apart != plugin, "a namespace of its own");
    }

    void (*takes)(char *) = (void (*)(char *))dlsym(plugin, "plugin_takes");
    char *(*gives)(size_t) = (char *(*)(size_t))dlsym(plugin, "plugin_gives");
    for (size_t size = 1; size < 200000; size += size / 3 + 1) {
        char *block = malloc(size);
        memset(block, 1, size);
        takes(block);
        free(gives(size));
    }
    puts("ok");
    return 0;
}
