/* A server: threads that replace blocks at random, live for a while, and leave all their blocks to a successor.
 *
 * After Larson and Krishnan, "Memory allocation for long-running server applications" (1998).
 * What must hold: THREADS of them are alive at a time; the successor is always a new thread. */

#include "bench.h"

enum { LIVE = 10000, REPLACED = 20000, SMALLEST = 8, LARGEST = 1000 };

static void prepare(struct thread *self)
{
    fill(self, LIVE, SMALLEST, LARGEST);
}

static void *serve(void *thread)
{
    struct thread *self = thread;

    for (int i = 0; i < REPLACED; i++)
        replace(self, &self->blocks[draw(self, 0, LIVE - 1)], SMALLEST, LARGEST);
    return NULL;
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++)
        pthread_join(start_thread(serve, self), NULL);
    drop(self, LIVE);
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
