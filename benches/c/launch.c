/* Runs a program and measures it: `launch [--timeout SECONDS] OUTFILE PROGRAM [ARGUMENTS...]`.
 *
 * Owns: what a run cost (time, faults, peak of resident memory), as JSON in OUTFILE, and the process group of the program.
 * What must hold: this process stays tiny, because the peak of a child begins with the size of its parent. It is never preloaded
 * itself: the file that BENCH_PRELOAD names becomes the program's LD_PRELOAD. OUTFILE is whole or not there. The program
 * does not outlive this process, nor what it started in its group the program. */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A day, in seconds: longer than any run, and the longest single wait. */
#define LONGEST 86400

struct outcome {
    double wall;
    int status;
    struct rusage usage;
    bool timed_out;
    int forwarded; /* the signal that was passed on to the program, or 0 */
};

/* What is written so far; becomes OUTFILE when it is complete. */
static char *partial;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "launch: %s: %s\n", what, why);
    if (partial != NULL)
        unlink(partial);
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double read_timeout(const char *text)
{
    char *end;
    double timeout = strtod(text, &end);

    if (end == text || *end != '\0' || !(timeout > 0 && timeout <= LONGEST))
        fail(text, "not a number of seconds above 0, at most a day");
    return timeout;
}

/* Of a library that it cannot load the dynamic linker only says so and goes on, on another allocator. */
static void set_preload(void)
{
    const char *library = getenv("BENCH_PRELOAD");

    unsetenv("LD_PRELOAD");
    if (library == NULL || *library == '\0')
        return;
    char *path = realpath(library, NULL);
    if (path == NULL || access(path, R_OK) != 0)
        fail(library, strerror(errno));
    if (strpbrk(path, ": ") != NULL)
        fail(path, "the dynamic linker preloads no path with a colon or a space");
    setenv("LD_PRELOAD", path, 1);
    free(path);
}

static FILE *open_result(const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0 && !S_ISREG(status.st_mode))
        fail(path, "not a regular file");
    unlink(path);
    if (asprintf(&partial, "%s.partial", path) < 0)
        fail(path, strerror(errno));
    FILE *result = fopen(partial, "we");
    if (result == NULL)
        fail(partial, strerror(errno));
    return result;
}

/* `failed` takes the error if the program cannot be run, and closes when it runs. */
static void become(char **arguments, const sigset_t *mask, pid_t parent, int failed)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) {
        sigprocmask(SIG_SETMASK, mask, NULL);
        execvp(arguments[0], arguments);
        int error = errno;
        _exit(write(failed, &error, sizeof(error)) == sizeof(error));
    }
    _exit(1);
}

static pid_t start(char **arguments, const sigset_t *mask)
{
    int failed[2], error;
    pid_t parent = getpid();

    if (pipe2(failed, O_CLOEXEC) != 0)
        fail("pipe", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        fail("fork", strerror(errno));
    if (child == 0)
        become(arguments, mask, parent, failed[1]);
    close(failed[1]);
    if (read(failed[0], &error, sizeof(error)) == sizeof(error)) {
        waitpid(child, NULL, 0);
        fail(arguments[0], strerror(error));
    }
    close(failed[0]);
    return child;
}

/* One of `signals`, which are blocked, or something else below 1 after `longest` seconds at the latest. */
static int next_signal(const sigset_t *signals, double longest)
{
    double wait = longest < LONGEST ? longest : LONGEST;
    struct timespec time = { (time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9) };

    return sigtimedwait(signals, NULL, &time);
}

static bool has_ended(pid_t child)
{
    siginfo_t info = { 0 };

    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid == child;
}

static struct outcome measure(char **arguments, double timeout)
{
    struct outcome outcome = { 0 };
    sigset_t signals, before;

    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &signals, &before);

    double started = now(), deadline = started + timeout;
    pid_t child = start(arguments, &before);
    while (!has_ended(child)) {
        if (now() >= deadline) {
            outcome.timed_out = true;
            deadline = INFINITY;
            kill(-child, SIGKILL);
        }
        int signal = next_signal(&signals, deadline - now());
        if (signal == SIGINT || signal == SIGTERM) {
            outcome.forwarded = signal;
            kill(-child, signal);
        }
    }
    outcome.wall = now() - started;
    /* As long as the child is not reaped, its number is no one else's. */
    kill(-child, SIGKILL);
    wait4(child, &outcome.status, 0, &outcome.usage);
    return outcome;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void print_number(FILE *result, const char *name, bool there, int number)
{
    if (there)
        fprintf(result, ", \"%s\": %d", name, number);
    else
        fprintf(result, ", \"%s\": null", name);
}

static void write_result(FILE *result, const char *path, const struct outcome *outcome)
{
    const struct rusage *usage = &outcome->usage;
    int status = outcome->status;

    fprintf(result, "{\"wall\": %.6f, \"user\": %.6f, \"system\": %.6f", outcome->wall, seconds(usage->ru_utime),
            seconds(usage->ru_stime));
    /* The kernel counts the peak in KiB. */
    fprintf(result, ", \"peak\": %lld, \"minor_faults\": %ld, \"major_faults\": %ld", usage->ru_maxrss * 1024LL, usage->ru_minflt,
            usage->ru_majflt);
    print_number(result, "exit", WIFEXITED(status), WEXITSTATUS(status));
    print_number(result, "signal", WIFSIGNALED(status), WTERMSIG(status));
    fprintf(result, "%s}\n", outcome->timed_out ? ", \"timed_out\": true" : "");
    bool broken = ferror(result) != 0;
    if (fclose(result) != 0 || broken || rename(partial, path) != 0)
        fail(path, strerror(errno));
}

/* So that whoever started this process sees that it was interrupted. */
static void die_of(int number)
{
    sigset_t none;

    sigemptyset(&none);
    signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    raise(number);
}

int main(int argc, char **argv)
{
    double timeout = INFINITY;
    int first = 1;

    if (argc > 2 && strcmp(argv[1], "--timeout") == 0) {
        timeout = read_timeout(argv[2]);
        first = 3;
    }
    if (argc < first + 2) {
        fputs("usage: launch [--timeout SECONDS] OUTFILE PROGRAM [ARGUMENTS...]\n", stderr);
        return 2;
    }
    set_preload();
    FILE *result = open_result(argv[first]);
    struct outcome outcome = measure(argv + first + 1, timeout);
    write_result(result, argv[first], &outcome);
    if (outcome.forwarded != 0)
        die_of(outcome.forwarded);
    return 0;
}
