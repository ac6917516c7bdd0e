/* Arithmetic on numbers of a few machine words, each in a little array of its own that lives for one step: Lucas and Lehmer's test
 * for which of the numbers 2^p - 1 are prime.
 *
 * After cfrac (Barrett), which factors numbers so.
 * What must hold: exactly the exponents that are known to give primes do; the residues of the last ROUNDS_KEPT rounds stay
 * live, as cfrac keeps its relations, and are the same in every round. */

#include "bench.h"

#include <stdbool.h>

enum { ROUNDS_KEPT = 64 };

static const struct {
    unsigned exponent;
    bool prime;
} cases[] = {
    { 61, true },   { 67, false },  { 71, false },  { 73, false },  { 79, false },  { 83, false },  { 89, true },
    { 97, false },  { 101, false }, { 103, false }, { 107, true },  { 109, false }, { 113, false }, { 127, true },
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* The lowest digit first, and no zero above the highest. */
struct number {
    uint32_t length;
    uint32_t digits[];
};

static struct number *create(uint32_t length)
{
    struct number *number = malloc(sizeof(*number) + length * sizeof(uint32_t));

    if (number == NULL)
        fail("no memory for a number of %u digits", length);
    number->length = length;
    return number;
}

static struct number *trim(struct number *a)
{
    while (a->length > 0 && a->digits[a->length - 1] == 0)
        a->length--;
    return a;
}

static bool equal(const struct number *a, const struct number *b)
{
    return a->length == b->length && memcmp(a->digits, b->digits, a->length * sizeof(uint32_t)) == 0;
}

static unsigned bits(const struct number *a)
{
    return a->length == 0 ? 0 : a->length * 32 - (unsigned)__builtin_clz(a->digits[a->length - 1]);
}

static struct number *add(const struct number *a, const struct number *b)
{
    uint32_t length = (a->length > b->length ? a->length : b->length) + 1;
    struct number *sum = create(length);
    uint64_t carry = 0;

    for (uint32_t i = 0; i < length; i++) {
        carry += (i < a->length ? a->digits[i] : 0) + (uint64_t)(i < b->length ? b->digits[i] : 0);
        sum->digits[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return trim(sum);
}

static struct number *square(const struct number *a)
{
    struct number *product = create(a->length * 2);

    memset(product->digits, 0, a->length * 2 * sizeof(uint32_t));
    for (uint32_t i = 0; i < a->length; i++) {
        uint64_t carry = 0;

        for (uint32_t j = 0; j < a->length; j++) {
            carry += (uint64_t)a->digits[i] * a->digits[j] + product->digits[i + j];
            product->digits[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product->digits[i + a->length] = (uint32_t)carry;
    }
    return trim(product);
}

/* The bits of `a` from `low` on, `count` of them at most. */
static struct number *slice(const struct number *a, unsigned low, unsigned count)
{
    struct number *part = create((count + 31) / 32);

    for (uint32_t i = 0; i < part->length; i++) {
        uint32_t at = low / 32 + i;
        uint64_t two = at < a->length ? a->digits[at] : 0;

        if (at + 1 < a->length)
            two |= (uint64_t)a->digits[at + 1] << 32;
        part->digits[i] = (uint32_t)(two >> (low % 32));
    }
    if (count % 32 != 0)
        part->digits[part->length - 1] &= (1u << (count % 32)) - 1;
    return trim(part);
}

/* `a`, which is freed, modulo 2^exponent - 1: from 1 to the modulus itself, which stands for zero. */
static struct number *reduce(struct number *a, unsigned exponent)
{
    while (bits(a) > exponent) {
        struct number *low = slice(a, 0, exponent), *high = slice(a, exponent, bits(a) - exponent);

        free(a);
        a = add(low, high);
        free(low);
        free(high);
    }
    return a;
}

/* 2^exponent - `less`. */
static struct number *mersenne(unsigned exponent, uint32_t less)
{
    struct number *number = create((exponent + 31) / 32);

    memset(number->digits, 0xff, number->length * sizeof(uint32_t));
    number->digits[0] -= less - 1;
    number->digits[number->length - 1] >>= -exponent % 32;
    return number;
}

/* `*place` is a residue of an earlier round, or NULL, and `residue` is the one of this round. */
static void keep(struct number **place, struct number *residue)
{
    if (*place != NULL && !equal(*place, residue))
        fail("a residue is not what it was some rounds ago");
    free(*place);
    *place = residue;
}

static void test(struct number **place, unsigned exponent, bool prime)
{
    static const struct number four = { 1, { 4 } };
    struct number *zero = mersenne(exponent, 1), *minus_two = mersenne(exponent, 3);
    const struct number *residue = &four;

    for (unsigned i = 2; i < exponent; i++) {
        struct number *squared = square(residue), *next = reduce(add(squared, minus_two), exponent);

        free(squared);
        keep(place++, next);
        residue = next;
    }
    if (equal(residue, zero) != prime)
        fail("2^%u - 1 is%s prime, but was found to be the opposite", exponent, prime ? "" : " not");
    free(zero);
    free(minus_two);
}

static void work(struct thread *self)
{
    size_t residues = 0;

    for (size_t i = 0; i < CASES; i++)
        residues += cases[i].exponent - 2;
    struct number **kept = table(ROUNDS_KEPT * residues, sizeof(*kept));
    for (uint64_t round = 0; round < self->rounds; round++) {
        struct number **place = &kept[round % ROUNDS_KEPT * residues];

        for (size_t i = 0; i < CASES; i++) {
            test(place, cases[i].exponent, cases[i].prime);
            place += cases[i].exponent - 2;
        }
    }
    for (size_t i = ROUNDS_KEPT * residues; i-- > 0;) {
        if (kept[i] != NULL && !equal(kept[i], kept[i % residues]))
            fail("a residue is not what it was some rounds ago");
        free(kept[i]);
    }
}

int main(int argc, char **argv)
{
    run(read_arguments(argc, argv), NULL, work);
    return 0;
}
