/* Passive false sharing: blocks that one thread allocated, next to each other, are handed to all threads, freed there, and in some
 * allocators allocated there again, still next to each other.
 *
 * After cache-scratch of Berger, McKinley, Blumofe and Wilson, "Hoard: a scalable memory allocator for multithreaded applications"
 * (2000). */

#include "cache.h"

static struct block *handed;

static void prepare(struct thread *self)
{
    for (unsigned i = 0; self->number == 0 && i < self->threads; i++)
        handed[i] = allocate(self, SIZE);
}

static void work(struct thread *self)
{
    release(handed[self->number]);
    use_repeatedly(self);
}

int main(int argc, char **argv)
{
    struct arguments arguments = read_arguments(argc, argv);

    handed = table(arguments.threads, sizeof(*handed));
    run(arguments, prepare, work);
    return 0;
}
