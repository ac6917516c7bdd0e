/* How long a process takes from its start to its end: `start RUNS PROGRAM [LIBRARY...]` runs PROGRAM that many times with nothing
 * preloaded and with each LIBRARY, in turns, and prints the median of each in milliseconds, one a line, in that order.
 *
 * What must hold: every run of one round stands next to the others of that round, so that a machine that slows down
 * slows down all of them. */

#define _GNU_SOURCE

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static double run(char *program, char *preload)
{
    char *arguments[] = { program, NULL };
    char *environment[] = { preload, NULL };
    double start = now();
    int status;
    pid_t child;

    if (posix_spawn(&child, program, NULL, NULL, arguments, environment) != 0)
        fail(program);
    if (waitpid(child, &status, 0) != child || status != 0)
        fail(preload != NULL ? preload : program);
    return now() - start;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    size_t runs = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    size_t libraries = argc > 3 ? (size_t)argc - 3 : 0;
    char **preloads = calloc(libraries + 1, sizeof(*preloads));
    double *times = calloc((libraries + 1) * runs, sizeof(*times));

    if (runs == 0) {
        fputs("usage: start RUNS PROGRAM [LIBRARY...]\n", stderr);
        return 2;
    }
    if (preloads == NULL || times == NULL)
        fail("start");
    for (size_t i = 1; i <= libraries; i++)
        if (asprintf(&preloads[i], "LD_PRELOAD=%s", argv[2 + i]) < 0)
            fail("start");
    for (size_t i = 0; i < runs; i++)
        for (size_t j = 0; j <= libraries; j++)
            times[j * runs + i] = run(argv[2], preloads[j]);
    for (size_t j = 0; j <= libraries; j++) {
        qsort(times + j * runs, runs, sizeof(*times), compare);
        printf("%.4f\n", times[j * runs + runs / 2]);
    }
    return 0;
}
