// The plugin of deepbind.c, and with -DINNER the library that lies in the plugin's own RUNPATH.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#ifdef INNER
int inner_is_there(void)
{
    return 1;
}
#else
void plugin_takes(char *block)
{
    free(block);
}

char *plugin_gives(size_t size)
{
    char *block = malloc(size);
    memset(block, 2, size);
    return block;
}

void *plugin_opens_inner(int by_dlmopen)
{
    // Not as the last call: the caller must be the plugin.
    void *volatile inner = by_dlmopen ? dlmopen(LM_ID_BASE, "pymalloc-test-inner.so", RTLD_NOW | RTLD_DEEPBIND)
                                      : dlopen("pymalloc-test-inner.so", RTLD_NOW | RTLD_DEEPBIND);
    return inner;
}
#endif
