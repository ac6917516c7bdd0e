/*
 * fork beside threads that are inside stdio: fork_stdio threads | inside | inside-alone.
 *
 * What must hold: a fork waits neither for a lock of the C library whose holder waits for one of the allocator, nor the other way round; and a
 * thread may fork while it is inside stdio itself, whether there are others or not. An alarm ends a process that hangs.
 */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { READERS = 3, FORKERS = 2, FORKS = 200, HANG_SECONDS = 40, LINE = 20000 };

static atomic_int stopped;
static atomic_long forks;

static void use_stdio(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL, "tmpfile fails with errno %d", errno);
    CHECK(fprintf(file, "%d\n", 42) == 3, "fprintf fails");
    CHECK(fflush(file) == 0, "fflush fails with errno %d", errno);
    fclose(file);
}

static void *use_stdio_in_a_thread(void *unused)
{
    use_stdio();
    return unused;
}

/* A child does not inherit the alarm. */
static pid_t fork_with_alarm(void)
{
    pid_t child = fork();
    if (child == 0)
        alarm(within(HANG_SECONDS));
    return child;
}

static void wait_for(pid_t child)
{
    int status;
    CHECK(child >= 0, "fork fails with errno %d", errno);
    CHECK(waitpid(child, &status, 0) == child, "waitpid fails with errno %d", errno);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %#x%s", (unsigned)status,
          WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
}

/* What a child does: all of stdio must be open to it, and to a thread of its own. */
__attribute__((noreturn)) static void live_as_child(void)
{
    use_stdio();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use_stdio_in_a_thread, NULL) == 0, "a child cannot start a thread");
    pthread_join(thread, NULL);
    _exit(0);
}

/* Has a stream, and grows a line meanwhile. */
static void *read_lines(void *unused)
{
    FILE *file = tmpfile();
    CHECK(file != NULL, "tmpfile fails with errno %d", errno);
    for (int at = 0; at < LINE - 1; at++)
        fputc('x', file);
    fputc('\n', file);
    while (!atomic_load(&stopped)) {
        char *line = NULL;
        size_t size = 0;
        rewind(file);
        CHECK(getline(&line, &size, file) == LINE, "getline fails");
        free(line);
        /* So that others get a turn with the stream: the C library gives it to whoever comes first. */
        usleep(20);
    }
    fclose(file);
    return unused;
}

/* Has the list of streams, and waits for each of them. */
static void *flush_all(void *unused)
{
    while (!atomic_load(&stopped))
        fflush(NULL);
    return unused;
}

static void *fork_on(void *unused)
{
    while (!atomic_load(&stopped)) {
        pid_t child = fork_with_alarm();
        if (child == 0)
            live_as_child();
        wait_for(child);
        atomic_fetch_add(&forks, 1);
    }
    return unused;
}

static void beside_threads_in_stdio(void)
{
    pthread_t threads[READERS + FORKERS + 1];
    int count = 0;
    for (; count < READERS; count++)
        CHECK(pthread_create(&threads[count], NULL, read_lines, NULL) == 0, "pthread_create fails");
    for (; count < READERS + FORKERS; count++)
        CHECK(pthread_create(&threads[count], NULL, fork_on, NULL) == 0, "pthread_create fails");
    CHECK(pthread_create(&threads[count++], NULL, flush_all, NULL) == 0, "pthread_create fails");
    while (atomic_load(&forks) < FORKS)
        usleep(10000);
    atomic_store(&stopped, 1);
    for (int at = 0; at < count; at++)
        pthread_join(threads[at], NULL);
}

static pid_t from_inside;

/* The write function of a stream, in which the thread has that stream, and by fflush(NULL) the list of all. */
static ssize_t fork_in_stream(void *unused, const char *bytes, size_t size)
{
    (void)unused;
    (void)bytes;
    from_inside = fork_with_alarm();
    return (ssize_t)size;
}

static void fork_inside(int child_uses_stdio)
{
    cookie_io_functions_t functions = {.write = fork_in_stream};
    FILE *file = fopencookie(NULL, "w", functions);
    CHECK(file != NULL, "fopencookie fails");
    for (int by_list = 0; by_list < 2; by_list++) {
        fputs("some bytes", file);
        fflush(by_list ? NULL : file);
        if (from_inside == 0 && child_uses_stdio)
            live_as_child();
        if (from_inside == 0)
            _exit(0);
        wait_for(from_inside);
    }
    flockfile(stdout);
    pid_t child = fork_with_alarm();
    if (child == 0 && child_uses_stdio)
        live_as_child();
    if (child == 0)
        _exit(0);
    funlockfile(stdout);
    wait_for(child);
    use_stdio();
}

static void from_inside_alone(void)
{
    fork_inside(1);
}

static void from_inside_beside_others(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, read_lines, NULL) == 0, "pthread_create fails");
    /* The C library itself makes the list nobody's in the child of several threads, whoever has it. */
    fork_inside(0);
    atomic_store(&stopped, 1);
    pthread_join(thread, NULL);
}

int main(int count, char **arguments)
{
    require_pymalloc();
    alarm(within(HANG_SECONDS));
    static const struct mode modes[] = {
        {"threads", beside_threads_in_stdio}, {"inside", from_inside_beside_others}, {"inside-alone", from_inside_alone}};
    CHECK(count == 2 && run_mode(modes, COUNT_OF(modes), arguments[1]), "usage: %s threads | inside | inside-alone",
          arguments[0]);
    return 0;
}
