/* Blocks of 1 to 32 MiB, written in every page, as images and matrices are: a few are live, and one gives way to another.
 *
 * After malloc-large of mimalloc-bench, which goes to 25 MiB. */

enum { LIVE = 4, SMALLEST = 1 << 20, LARGEST = 32 << 20 };

#include "any-order.h"

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
