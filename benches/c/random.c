/* Small blocks of all sizes: one of those that are live, whichever, gives way to another.
 *
 * After alloc-test (OLogN Technologies), with sizes evenly spread. */

enum { LIVE = 1 << 15, SMALLEST = 1, LARGEST = 512 };

#include "any-order.h"

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), prepare, work);
    return 0;
}
