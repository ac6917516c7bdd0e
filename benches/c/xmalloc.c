/* Half of the threads allocate batches of blocks of very different sizes, the other half free whichever batch they find.
 *
 * After xmalloc-test (Lever and Boreham, 2000; Eder; Kuszmaul's version in SuperMalloc), whose batches are blocks themselves.
 * What must hold: threads come in pairs, at least one; a fixed number of batches is between the two halves at most. */

#include "bench.h"

#include <semaphore.h>

/* A pair of threads has so many batches under way, of so many blocks. */
enum { BATCHES = 16, BATCH = 1024 };

static const uint16_t sizes[] = { 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048 };

struct batch {
    struct batch *next;
    struct block blocks[BATCH];
};

static struct batch *newest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sem_t filled, vacant;

static void produce(struct thread *self)
{
    struct batch *batch = malloc(sizeof(*batch));

    if (batch == NULL)
        fail("no memory for a batch");
    for (size_t i = 0; i < BATCH; i++)
        batch->blocks[i] = allocate(self, sizes[draw(self, 0, sizeof(sizes) / sizeof(sizes[0]) - 1)]);
    sem_wait(&vacant);
    pthread_mutex_lock(&lock);
    batch->next = newest;
    newest = batch;
    pthread_mutex_unlock(&lock);
    sem_post(&filled);
}

static void consume(void)
{
    sem_wait(&filled);
    pthread_mutex_lock(&lock);
    struct batch *batch = newest;
    newest = batch->next;
    pthread_mutex_unlock(&lock);
    sem_post(&vacant);
    for (size_t i = 0; i < BATCH; i++)
        release(batch->blocks[i]);
    free(batch);
}

static void work(struct thread *self)
{
    for (uint64_t i = 0; i < self->rounds; i++) {
        if (self->number % 2 == 0)
            produce(self);
        else
            consume();
    }
}

int main(int argc, char **argv)
{
    struct arguments arguments = read_arguments(argc, argv);

    arguments.threads += arguments.threads % 2;
    sem_init(&filled, 0, 0);
    sem_init(&vacant, 0, arguments.threads / 2 * BATCHES);
    run(arguments, NULL, work);
    return 0;
}
