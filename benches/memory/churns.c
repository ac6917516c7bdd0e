/* Replaces live blocks, one by one, while their sizes change: `churns SHAPE LIVE REPLACEMENTS IDLE`.
 *
 * What it asks: how much more than what is live stays resident while nothing is dropped on the whole, whatever the sizes do. The
 * ratio is the worst of all points but those of the first era, in which nothing has changed yet: the one that is furthest above what is
 * aimed at (`worst_allowed`): 1.30, or what the promise makes of the page floor for a live byte (`worst_floor`), whichever is more.
 * Owns: the shapes. Each has ERAS eras, in which as many blocks are replaced. A block is as likely to go as any other, but in `survivors`. */

#include "meter.h"

enum { ERAS = 8, LOOKS = 12 };
/* As in scenarios.toml. */
static const double SHARE = 1.125, SLACK = 8 << 20, RATIO = 1.30;

/* Of each era the least and the largest size. */
struct range {
    size_t low, high;
};

static struct range narrow(size_t era)
{
    (void)era;
    return (struct range){ 200, 300 };
}

/* Up and down again by a tenth of their range: the one of churn.py. */
static struct range drift(size_t era)
{
    size_t step = era <= ERAS / 2 ? era : ERAS - era;

    return (struct range){ 24 + 80 * step, 824 + 80 * step };
}

static struct range rising(size_t era)
{
    return (struct range){ 64 << era, 96 << era };
}

static struct range falling(size_t era)
{
    return rising(ERAS - 1 - era);
}

/* Small ones and large ones, in turns. */
static struct range humps(size_t era)
{
    return era % 2 == 0 ? (struct range){ 32, 128 } : (struct range){ 1500, 2500 };
}

static struct range wide(size_t era)
{
    (void)era;
    return (struct range){ 16, 8192 };
}

/* Any doubling between the two is as likely as any other. */
static size_t logarithmic(uint64_t *random, struct range range)
{
    size_t doublings = 0;

    while (range.low << (doublings + 1) <= range.high)
        doublings++;
    size_t low = range.low << draw(random, 0, doublings - 1);
    return draw(random, low, 2 * low - 1);
}

/* Of a thousand blocks each, in a CPython 3.11 that has parsed and compiled a quarter of its standard library and holds all of it
 * (`classes` of pymalloc_stats_json; the rest are drawn as 8 KiB). */
static size_t traced(uint64_t *random)
{
    static const struct {
        unsigned share;
        size_t size;
    } sizes[] = {
        { 303, 64 }, { 240, 32 }, { 180, 48 }, { 155, 208 }, { 47, 16 }, { 25, 80 }, { 14, 128 }, { 7, 96 }, { 6, 160 }, { 4, 112 },
        { 2, 224 },  { 2, 256 },  { 2, 304 },  { 2, 400 },   { 2, 768 }, { 2, 960 }, { 3, 2048 }, { 3, 4096 },
    };
    size_t number = draw(random, 0, 999);

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (number < sizes[i].share)
            return sizes[i].size;
        number -= sizes[i].share;
    }
    return 8192;
}

static const struct shape {
    const char *name;
    struct range (*range)(size_t era);
    int logarithmic, traced;
    /* Of ten blocks, how many are never replaced after the first era. */
    size_t survive;
} shapes[] = {
    { "narrow", narrow, 0, 0, 0 },    { "drift", drift, 0, 0, 0 }, { "rising", rising, 0, 0, 0 },    { "falling", falling, 0, 0, 0 },
    { "humps", humps, 0, 0, 0 },      { "wide", wide, 1, 0, 0 },   { "survivors", drift, 0, 0, 1 }, { "traced", narrow, 0, 1, 0 },
    { "humps-survivors", humps, 0, 0, 1 },
};

static size_t size_of(const struct shape *shape, size_t era, uint64_t *random)
{
    struct range range = shape->range(era);

    return shape->traced ? traced(random) : shape->logarithmic ? logarithmic(random, range) : draw(random, range.low, range.high);
}

struct worst {
    double ratio, floor, sum, points, allowed;
};

static void look(const struct figures *before, const struct block *blocks, size_t count, struct worst *worst)
{
    struct figures now = { 0 };
    size_t found = resident();

    count_survivors(&now, blocks, count);
    double ratio = (double)(found - before->before) / (double)now.live;
    worst->sum += ratio;
    worst->points++;
    double most = ((double)now.floor * SHARE + SLACK) / (double)now.live;
    most = most < RATIO ? RATIO : most;
    if (worst->ratio == 0 || ratio / most > worst->ratio / worst->allowed) {
        worst->ratio = ratio;
        worst->floor = (double)now.floor / (double)now.live;
        worst->allowed = most;
    }
}

int main(int argc, char **argv)
{
    struct figures figures = { 0 };
    struct worst worst = { 0 };
    const struct shape *shape = shapes, *last = shapes + sizeof(shapes) / sizeof(shapes[0]);
    uint64_t random = 1;
    char more[160];

    while (argc == 5 && shape < last && strcmp(argv[1], shape->name) != 0)
        shape++;
    if (argc != 5 || shape == last) {
        fputs("usage: churns SHAPE LIVE REPLACEMENTS IDLE\n", stderr);
        return 2;
    }
    size_t count = read_count(argv[2]), replacements = read_count(argv[3]);
    double idle = read_seconds(argv[4]), seconds = 0, start;
    struct block *blocks = table(count, sizeof(*blocks));
    begin(&figures);
    start = now();
    for (size_t i = 0; i < count; i++)
        blocks[i] = allocate(size_of(shape, 0, &random), i);
    for (size_t era = 0; era < ERAS; era++) {
        for (size_t at = 0; at < LOOKS; at++) {
            for (size_t i = 0; i < replacements / ERAS / LOOKS; i++) {
                size_t place = draw(&random, 0, count - 1);
                if (place % 10 < shape->survive && era > 0)
                    continue;
                release(&blocks[place]);
                blocks[place] = allocate(size_of(shape, era, &random), place);
            }
            seconds += now() - start;
            size_t found = resident();
            figures.peak = found > figures.peak ? found : figures.peak;
            if (era > 0)
                look(&figures, blocks, count, &worst);
            start = now();
        }
    }
    end(&figures, idle);
    count_survivors(&figures, blocks, count);
    snprintf(more, sizeof(more), ", \"ratio\": %.4f, \"mean_ratio\": %.4f, \"worst_floor\": %.4f, \"worst_allowed\": %.4f", worst.ratio,
             worst.sum / worst.points, worst.floor, worst.allowed);
    report(&figures, seconds, more);
    return 0;
}
