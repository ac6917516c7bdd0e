/* Arrays that grow by appending, as CPython's lists do (by an eighth), and then shrink by halves, many at once, all by realloc.
 *
 * After the lists of interpreters and the vectors of C++ (the notes on FBVector in folly say what they ask of an allocator).
 * What must hold: item i of an array is always its first item plus i; the edges and the middle are checked after each realloc and
 * before each free. */

#include "bench.h"

/* An array's most items is SHORTEST shifted by up to DOUBLINGS: from 256 bytes to a megabyte. */
enum { ARRAYS = 64, SHORTEST = 64, DOUBLINGS = 12 };

struct array {
    uint32_t *items;
    uint32_t count, most, first;
    int shrinks;
};

static struct array *arrays;

static void check_items(const struct array *array, const uint32_t *items, uint32_t count)
{
    const uint32_t scanned[] = { 0, count / 2, count - 1 };

    for (size_t i = 0; count > 0 && i < sizeof(scanned) / sizeof(scanned[0]); i++)
        if (items[scanned[i]] != array->first + scanned[i])
            fail("an array of %u items at %p was changed by someone else", count, (const void *)items);
}

static void resize(struct array *array, uint32_t count)
{
    uint32_t kept = count < array->count ? count : array->count;
    uint32_t *items = realloc(array->items, count * sizeof(*items));

    if (items == NULL)
        fail("no memory for an array of %u items", count);
    check_items(array, items, kept);
    for (uint32_t i = kept; i < count; i++)
        items[i] = array->first + i;
    array->items = items;
    array->count = count;
}

static void drop_items(struct array *array)
{
    check_items(array, array->items, array->count);
    free(array->items);
    array->items = NULL;
}

static void step_array(struct thread *self, struct array *array)
{
    if (array->items == NULL)
        *array = (struct array){ .most = SHORTEST << draw(self, 0, DOUBLINGS), .first = draw(self, 0, UINT32_MAX - 1) };
    array->shrinks |= array->count >= array->most;
    if (!array->shrinks) {
        resize(array, array->count + array->count / 8 + 6);
    } else if (array->count > SHORTEST) {
        resize(array, array->count / 2);
    } else {
        drop_items(array);
    }
}

static void work(struct thread *self)
{
    struct array *own = &arrays[self->number * ARRAYS];

    for (uint64_t i = 0; i < self->rounds; i++)
        step_array(self, &own[draw(self, 0, ARRAYS - 1)]);
    for (size_t i = 0; i < ARRAYS; i++)
        if (own[i].items != NULL)
            drop_items(&own[i]);
}

int main(int argc, char **argv)
{
    struct arguments arguments = read_arguments(argc, argv);

    arrays = table((size_t)arguments.threads * ARRAYS, sizeof(*arrays));
    run(arguments, NULL, work);
    return 0;
}
