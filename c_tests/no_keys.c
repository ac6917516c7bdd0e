/*
 * A program that has used up all keys of thread-specific data before pymalloc is loaded: no_keys PATH.
 *
 * What must hold: the library, which would like a key to learn that a thread ends, works without one, and takes none of the
 * program's: the values of the program's keys stay, and their destructors are called with them.
 */
#include "check.h"

#include <limits.h>
#include <pthread.h>

static pthread_key_t keys[PTHREAD_KEYS_MAX];
static int key_count;
static int destroyed;
static int values[PTHREAD_KEYS_MAX];

static void *(*own_malloc)(size_t);
static void (*own_free)(void *);

static void destroy(void *value)
{
    CHECK((int *)value >= values && (int *)value < values + key_count,
          "a destructor is called with %p, which is no value of the program's", value);
    own_free(own_malloc(100));
    destroyed++;
}

static void *use(void *unused)
{
    for (int at = 0; at < key_count; at++)
        CHECK(pthread_setspecific(keys[at], &values[at]) == 0, "pthread_setspecific fails");
    void *block = own_malloc(48);
    CHECK(block != NULL, "pymalloc_malloc fails");
    memset(block, 1, 48);
    own_free(block);
    for (int at = 0; at < key_count; at++)
        CHECK(pthread_getspecific(keys[at]) == &values[at], "the value of key %d is %p, not the program's", at,
              pthread_getspecific(keys[at]));
    return unused;
}

int main(int count, char **arguments)
{
    CHECK(count == 2, "usage: %s PATH", arguments[0]);
    CHECK(dlsym(RTLD_DEFAULT, "pymalloc_inspect") == NULL, "pymalloc is linked or preloaded: this test is about neither");
    while (key_count < PTHREAD_KEYS_MAX && pthread_key_create(&keys[key_count], destroy) == 0)
        key_count++;
    CHECK(key_count > 100, "only %d keys could be had", key_count);
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL, "dlopen: %s", dlerror());
    own_malloc = (__typeof__(own_malloc))(uintptr_t)dlsym(library, "pymalloc_malloc");
    own_free = (__typeof__(own_free))(uintptr_t)dlsym(library, "pymalloc_free");
    CHECK(own_malloc && own_free, "dlsym: %s", dlerror());
    for (int round = 0; round < 10; round++) {
        pthread_t thread;
        destroyed = 0;
        CHECK(pthread_create(&thread, NULL, use, NULL) == 0, "pthread_create fails");
        pthread_join(thread, NULL);
        CHECK(destroyed == key_count, "%d of %d destructors were called", destroyed, key_count);
    }
    return 0;
}
