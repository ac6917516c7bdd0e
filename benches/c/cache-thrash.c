/* Active false sharing: threads that allocate at the same time get blocks in one cache line from an allocator that does not
 * give each thread memory of its own.
 *
 * After cache-thrash of Berger, McKinley, Blumofe and Wilson, "Hoard: a scalable memory allocator for multithreaded applications"
 * (2000). */

#include "cache.h"

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), NULL, use_repeatedly);
    return 0;
}
