/* Builds many blocks, then frees all but a few: `drop blocks|arrays COUNT IDLE`.
 *
 * Owns: what is built. `blocks`: half of 512 B, a third of 1 KiB and a sixth of 2 KiB, in a random order; one in twenty, drawn at
 * random, is kept. `arrays`: of 300 to 700 KB each; every tenth is kept. */

#include "meter.h"

static size_t block_size(uint64_t *random)
{
    static const size_t sizes[] = { 512, 512, 512, 1024, 1024, 2048 };

    return sizes[draw(random, 0, 5)];
}

static size_t array_size(uint64_t *random)
{
    return draw(random, 300000, 700000);
}

int main(int argc, char **argv)
{
    int arrays = argc == 4 && strcmp(argv[1], "arrays") == 0;
    struct figures figures = { 0 };
    uint64_t random = 1;

    if (argc != 4 || (!arrays && strcmp(argv[1], "blocks") != 0)) {
        fputs("usage: drop blocks|arrays COUNT IDLE\n", stderr);
        return 2;
    }
    size_t count = read_count(argv[2]);
    double idle = read_seconds(argv[3]);
    struct block *blocks = table(count, sizeof(*blocks));
    begin(&figures);
    double start = now();
    for (size_t i = 0; i < count; i++)
        blocks[i] = allocate(arrays ? array_size(&random) : block_size(&random), i);
    figures.peak = resident();
    for (size_t i = 0; i < count; i++)
        if (arrays ? i % 10 != 0 : draw(&random, 1, 20) != 1)
            release(&blocks[i]);
    double seconds = now() - start;
    end(&figures, idle);
    count_survivors(&figures, blocks, count);
    report(&figures, seconds, "");
    return 0;
}
