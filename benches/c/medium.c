/* Blocks of 1 to 17 KiB, as buffers are: one of those that are live, whichever, gives way to another.
 *
 * After rpmalloc-benchmark (Jansson), which goes to 16,000 bytes. */

enum { LIVE = 1 << 10, SMALLEST = 1 << 10, LARGEST = 17 << 10 };

#include "any-order.h"

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
