/*
 * The calls that meet a pointer which the library must not be given, by name, and what is said around them.
 *
 * Owns: the lines on stdout. The first is the pointer that is about to be misused; `survived` follows should the call return. The
 * runner (tests/c_tests.rs) expects that it never does, and that the library says on one line of stderr which call met which
 * pointer.
 * What must hold: prepare_call comes before the misused pointer exists. The other thread is there from then on: to create it later
 * would allocate, perhaps the very block that was freed.
 */
#ifndef PYMALLOC_CALLS_H
#define PYMALLOC_CALLS_H

#include "check.h"

#include <pthread.h>
#include <sys/resource.h>

static void do_free(void *pointer)
{
    free(pointer);
}

static void do_realloc(void *pointer)
{
    hide(realloc(pointer, 10000));
}

static void do_realloc_to_nothing(void *pointer)
{
    hide(realloc(pointer, hide_size(0)));
}

static void do_usable_size(void *pointer)
{
    hide_size(malloc_usable_size(pointer));
}

static pthread_barrier_t turn;
static void *handed_over;

static void *wait_and_free(void *unused)
{
    pthread_barrier_wait(&turn);
    free(handed_over);
    pthread_barrier_wait(&turn);
    return unused;
}

static void do_free_in_another_thread(void *pointer)
{
    handed_over = pointer;
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
}

static const struct call {
    const char *name;
    void (*make)(void *pointer);
} calls[] = {
    {"free", do_free},
    {"realloc", do_realloc},
    {"realloc-to-nothing", do_realloc_to_nothing},
    {"malloc_usable_size", do_usable_size},
    {"free-in-another-thread", do_free_in_another_thread},
};

static const struct call *prepare_call(const char *name)
{
    /* The abort is the expected end, and needs no core file. */
    CHECK(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0, "setrlimit fails");
    const struct call *call = calls;
    while (call < calls + COUNT_OF(calls) && strcmp(call->name, name) != 0)
        call++;
    CHECK(call < calls + COUNT_OF(calls), "no such call: %s", name);
    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    CHECK(pthread_create(&thread, NULL, wait_and_free, NULL) == 0, "pthread_create fails");
    return call;
}

static void misuse(const struct call *call, const void *pointer)
{
    say(STDOUT_FILENO, "%p\n", pointer);
    call->make(hide(pointer));
    say(STDOUT_FILENO, "survived\n");
}

#endif
