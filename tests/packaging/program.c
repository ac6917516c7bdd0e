/* A C program that links pymalloc: its own allocations and the C library's are the library's blocks.
 * It prints `ok` and nothing else when all is well. */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <pymalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int holds, const char *what)
{
    if (!holds) {
        printf("does not hold: %s\n", what);
        exit(1);
    }
}

static void check_ours(void *block, size_t size)
{
    pymalloc_info info;

    check(pymalloc_inspect(block, &info) == 1, "the block is the library's");
    check(info.kind != PYMALLOC_KIND_NONE, "its kind is known");
    check(info.state == PYMALLOC_STATE_ALLOCATED, "it is allocated");
    check(info.block == block, "it starts where malloc said");
    check(info.block_size >= size, "it is as large as asked for");
}

static void *thread(void *argument)
{
    char *text = strdup(argument);

    check_ours(text, strlen(argument) + 1);
    free(text);
    return malloc(100);
}

int main(void)
{
    pymalloc_info info;
    pthread_t other;
    void *block = malloc(42);
    void *from_thread;
    int local;

    check_ours(block, 42);
    check(pymalloc_inspect(block, &info) == 1 && info.kind == PYMALLOC_KIND_POOL, "42 bytes come from a pool");
    block = realloc(block, 5 * 1000 * 1000);
    check_ours(block, 5 * 1000 * 1000);
    free(block);

    block = pymalloc_calloc(3, 1000);
    check_ours(block, 3000);
    free(block);

    check(pymalloc_inspect(&local, &info) == 0 && info.kind == PYMALLOC_KIND_NONE, "the stack is not the library's");
    check(strcmp(pymalloc_version(), "0.1.0") == 0, "the version is 0.1.0");

    check(pthread_create(&other, NULL, thread, "a thread") == 0, "a thread starts");
    check(pthread_join(other, &from_thread) == 0, "a thread ends");
    check_ours(from_thread, 100);
    free(from_thread);

    puts("ok");
    return 0;
}
