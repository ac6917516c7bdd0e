/* The start and end of short processes, one after the other, as in a shell script or a build.
 *
 * After the small programs of every Unix system; what an allocator does before main is paid by each of them.
 * What must hold: the processes run on the allocator that this one runs on, since they inherit LD_PRELOAD; each of them succeeds,
 * which is all that can be checked. */

#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>

static void work(struct thread *self)
{
    char program[] = "/bin/true";
    char *arguments[] = { program, NULL };

    for (uint64_t i = 0; i < self->rounds; i++) {
        pid_t child;
        int status, error = posix_spawn(&child, program, NULL, NULL, arguments, environ);

        if (error != 0)
            fail("%s cannot be run: %s", program, strerror(error));
        if (waitpid(child, &status, 0) != child || status != 0)
            fail("%s failed", program);
    }
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), NULL, work);
    return 0;
}
