/*
 * The mutex by which a thread's heap tells that the thread has ended, over forks. The program has functions of its own in the place of
 * the C library's for mutexes, which watch it.
 *
 * What must hold: a robust mutex is never made anew while it is held, since a C library may still have it on the list of the thread that holds
 * it, in a child as well (glibc before 2.25); and after a fork the thread holds it again, in both processes.
 */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>

static pthread_mutex_t *robust, *volatile held;
static int made;

int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    int is_robust = 0;
    if (attributes && pthread_mutexattr_getrobust(attributes, &is_robust) == 0 && is_robust == PTHREAD_MUTEX_ROBUST) {
        CHECK(held == NULL, "a robust mutex is made anew while it is held");
        robust = mutex;
        made++;
    }
    return ((int (*)(pthread_mutex_t *, const pthread_mutexattr_t *))(uintptr_t)dlsym(RTLD_NEXT, __func__))(mutex, attributes);
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    int result = ((int (*)(pthread_mutex_t *))(uintptr_t)dlsym(RTLD_NEXT, __func__))(mutex);
    if (mutex == robust && result == 0)
        held = mutex;
    return result;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int result = ((int (*)(pthread_mutex_t *))(uintptr_t)dlsym(RTLD_NEXT, __func__))(mutex);
    if (mutex == robust) {
        CHECK(result == 0, "to give the robust mutex back fails with %d", result);
        held = NULL;
    }
    return result;
}

int main(void)
{
    require_pymalloc();
    free(hide(malloc(100)));
    CHECK(held != NULL && made == 1, "the first thread holds no robust mutex: %d were made", made);
    for (int generation = 1; generation < 4; generation++) {
        pid_t child = fork();
        CHECK(child >= 0, "fork fails");
        CHECK(held != NULL && made == 1 + generation, "after %d forks the thread holds no robust mutex: %d were made", generation, made);
        if (child > 0) {
            int status;
            CHECK(waitpid(child, &status, 0) == child && status == 0, "a child ends with status %d", status);
            _exit(0);
        }
    }
    return 0;
}
