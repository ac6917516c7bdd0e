/* Builds the same spike of blocks again and again, and frees it each time: `spikes SPIKES BLOCKS IDLE`.
 *
 * What it asks: what giving memory back costs a program that wants it again at once (time, page faults), and whether the memory
 * of the last spike comes back all the same. A spike is BLOCKS blocks of 16 to 512 bytes, freed in the order of their
 * allocation. */

#include "meter.h"

#include <sys/resource.h>

static long faults(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

int main(int argc, char **argv)
{
    struct figures figures = { 0 };
    char more[64];

    if (argc != 4) {
        fputs("usage: spikes SPIKES BLOCKS IDLE\n", stderr);
        return 2;
    }
    size_t spikes = read_count(argv[1]), count = read_count(argv[2]);
    double idle = read_seconds(argv[3]);
    struct block *blocks = table(count, sizeof(*blocks));
    begin(&figures);
    long faults_before = faults();
    double seconds = 0;
    for (size_t spike = 0; spike < spikes; spike++) {
        uint64_t random = 1;
        double start = now();
        for (size_t i = 0; i < count; i++)
            blocks[i] = allocate(draw(&random, 16, 512), i);
        seconds += now() - start;
        size_t now_resident = resident();
        figures.peak = now_resident > figures.peak ? now_resident : figures.peak;
        start = now();
        for (size_t i = 0; i < count; i++) {
            if (blocks[i].address[0] != filling(i)) {
                errno = EFAULT;
                fail("a block was changed by someone else");
            }
            release(&blocks[i]);
        }
        seconds += now() - start;
    }
    long faults_during = faults() - faults_before;
    end(&figures, idle);
    snprintf(more, sizeof(more), ", \"faults\": %ld", faults_during);
    report(&figures, seconds, more);
    return 0;
}
