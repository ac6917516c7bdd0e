/* Watches the resident memory of a program from outside: `sample PROGRAM [ARGUMENTS...]` runs it and passes on what it prints,
 * its last line, a JSON object, with one member more: "series", a list of [seconds since the start, resident bytes].
 *
 * What must hold: nothing is asked of the program, and this process allocates next to nothing, since the allocator that is
 * measured is preloaded into it too. It ends as the program ends: with its exit status, or by its signal. */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    INTERVAL = 20, /* milliseconds: some fifty points to a second, and hardly any work for the kernel */
    OUTPUT = 1 << 16,
    POINTS = 1 << 14, /* five minutes; what is later is not watched */
};

static char output[OUTPUT], drawn[POINTS * 32];
static struct {
    double seconds;
    unsigned long bytes;
} points[POINTS];
static size_t points_taken;

static void fail(const char *what)
{
    fprintf(stderr, "sample: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, text, length);
        if (written < 0)
            fail("stdout");
        text += written;
        length -= (size_t)written;
    }
}

static void write_text(const char *text)
{
    write_all(text, strlen(text));
}

/* statm: the size and what is resident, in pages. A process that has ended and is not yet reaped has nothing resident. */
static void take_point(int statm, double seconds)
{
    char text[128];
    unsigned long resident;
    ssize_t length = pread(statm, text, sizeof(text) - 1, 0);

    if (length <= 0 || points_taken == POINTS)
        return;
    text[length] = '\0';
    if (sscanf(text, "%*u %lu", &resident) != 1 || resident == 0)
        return;
    points[points_taken].seconds = seconds;
    points[points_taken++].bytes = resident * (unsigned long)sysconf(_SC_PAGESIZE);
}

/* Everything that the program prints until it closes its stdout, with a point every INTERVAL; returns the length. */
static size_t watch(int from, int statm)
{
    double start = now(), next = start;
    size_t length = 0;

    for (;;) {
        double at = now();
        if (at >= next) {
            take_point(statm, at - start);
            next = at + INTERVAL / 1e3;
        }
        struct pollfd ready = { .fd = from, .events = POLLIN };
        if (poll(&ready, 1, (int)((next - at) * 1e3) + 1) <= 0)
            continue;
        ssize_t got = read(from, output + length, sizeof(output) - length);
        if (got <= 0)
            return length;
        length += (size_t)got;
        if (length == sizeof(output)) {
            errno = EMSGSIZE;
            fail("the program's output");
        }
    }
}

static void run(char **arguments, pid_t parent, int to)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && dup2(to, STDOUT_FILENO) == STDOUT_FILENO) {
        execvp(arguments[0], arguments);
        fail(arguments[0]);
    }
    _exit(1);
}

/* As the program ended, without a core file of our own. */
static void end_alike(int status)
{
    if (WIFSIGNALED(status)) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
    exit(WEXITSTATUS(status));
}

static void write_series(void)
{
    size_t length = 0;

    for (size_t i = 0; i < points_taken; i++)
        length += (size_t)snprintf(drawn + length, sizeof(drawn) - length, "%s[%.3f, %lu]", i == 0 ? "" : ", ", points[i].seconds,
                                   points[i].bytes);
    write_text(", \"series\": [");
    write_all(drawn, length);
    write_text("]}\n");
}

int main(int argc, char **argv)
{
    char path[64];
    int pipes[2], status;
    pid_t self = getpid();

    if (argc < 2) {
        fputs("usage: sample PROGRAM [ARGUMENTS...]\n", stderr);
        return 2;
    }
    if (pipe2(pipes, O_CLOEXEC) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        run(argv + 1, self, pipes[1]);
    close(pipes[1]);
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)child);
    int statm = open(path, O_RDONLY | O_CLOEXEC);
    if (statm < 0)
        fail(path);
    size_t length = watch(pipes[0], statm);
    if (waitpid(child, &status, 0) != child)
        fail("waitpid");
    if (status != 0 || length < 2 || memcmp(output + length - 2, "}\n", 2) != 0) {
        write_all(output, length);
        end_alike(status);
    }
    write_all(output, length - 2);
    write_series();
    return 0;
}
