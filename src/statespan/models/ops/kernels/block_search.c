/* The largest products of a query with summaries of blocks, without reading most of these.
 *
 * The upper bits of the codes beside the summaries (codes.h) bound each product from above. The blocks of
 * the largest bounds, a few more than `top_k`, are multiplied as floats. Of the others, those whose bound is
 * not below the least of the `top_k` largest products so far are bounded by the lower bits as well, and if
 * they still are not below, multiplied: what is found is the `top_k` largest products, the first of equal
 * ones. A dimension in which the query is 0 is not read. While the upper bits for one decision are read, what
 * the next stage of the decision before it reads comes into the cache.
 *
 * A decision sees the blocks before its end: the first `kept` of them, and those found of the others.
 *
 * Layouts: query [row, decider, decision, width]; summaries [row, found, capacity, width], with codes of
 * as many rows and heads; ends [decision]; index [row, decider, decision, kept + top_k], whose last
 * numbers are -1 where there are fewer blocks. Where a number is not finite, `failed` is 1, and the index
 * means nothing.
 */
#include <stdlib.h>

#include "code_bounds.h"
#include "linear.h"
#include "ranking.h"

#define STAGES 4 /* of a decision */
#define NEAR 12 /* rows that come into the first cache ahead of their turn */
#define FEW_BLOCKS 1024 /* of fewer, all bounds are compared */
#define LOWEST INT16_MIN /* which no sum is */

typedef struct {
    const float *query, *summaries, *steps;
    const uint8_t *upper, *lower;
    const int64_t *ends;
    int32_t *index, *failed;
    int64_t deciders, found, decisions, width, capacity, groups, kept, top_k, count, tasks;
} search;

/* A group in a decision: what its bounds are, and the least sum of the blocks of the first list. */
typedef struct {
    scale by;
    int16_t edge;
} section;

/* A decision at work: `sums` are those of the upper bits, LOWEST where a block is not searched, `tops` bounds
 * among which the largest of all are, `weights` those of the lower bits of each section. */
typedef struct {
    const float *query;
    int16_t *sums;
    float *tops;
    section *sections;
    int8_t *weights;
    int32_t *listed, *index;
    int64_t head, begin, end, count;
    ranking best;
} decision;

typedef struct {
    decision each[STAGES];
    reading query;
} room;

INLINE const float *summary_of(const search *s, const decision *d, int64_t place) {
    return s->summaries + (d->head * s->capacity + place) * s->width;
}

/* Leave out the blocks of a part that are not searched. */
static void cut_part(const decision *d, int64_t begin) {
    for (int64_t i = begin; i < begin + PART; i++)
        if (i < d->begin || i >= d->end) d->sums[i] = LOWEST;
}

/* Put the largest bound of each few blocks of a part into `tops`; return their number. */
static int64_t put_tops(const decision *d, int64_t begin, scale by, float *tops) {
    words most = words_at(d->sums + begin);
    for (int64_t i = WORDS; i < PART; i += WORDS) {
        words next = words_at(d->sums + begin + i), larger = next > most;
        most = (next & larger) | (most & ~larger);
    }
    for (int64_t i = 0; i < WORDS; i++) tops[i] = most[i] == LOWEST ? -INFINITY : by.base + by.unit * most[i];
    return WORDS;
}

/* Bound all products. Return whether all numbers are finite. */
static int bound(const search *s, decision *d, const reading *query) {
    float finite = 0;
    int64_t size = 2 * low_bytes(s->width);
    memset(d->weights, 0, (d->end + GROUP - 1) / GROUP * size);
    for (int64_t begin = 0; begin < d->end; begin += GROUP) {
        int64_t group = begin / GROUP, all = d->head * s->groups + group;
        const uint8_t *upper = s->upper + all * s->width * (GROUP / 2);
        const float *steps = s->steps + all * 2 * s->width;
        fetch(steps + 2 * s->width, 2 * s->width);
        scale by = d->sections[group].by = weigh(query, steps);
        spread_weights(query, d->weights + group * size);
        finite += 0 * (by.base + by.unit * INT16_MAX);
        for (int64_t part = begin; part < begin + GROUP && part < d->end; part += PART) {
            int64_t segment = (part - begin) / SEGMENT * s->width * SEGMENT, rest = part % SEGMENT;
            add_upper_bits(query, upper + (segment + rest) / 2, d->sums + part);
            if (part < d->begin || part + PART > d->end) cut_part(d, part);
        }
    }
    return finite == 0;
}

/* Return a number that the bounds of some more blocks than are wanted are not below. */
static float find_edge(const decision *d) {
    int64_t wanted = 3 * d->best.most / 2, count = 0;
    int few = d->end < FEW_BLOCKS;
    for (int64_t part = 0; part < d->end; part += PART) {
        scale by = d->sections[part / GROUP].by;
        if (!few) count += put_tops(d, part, by, d->tops + count);
        for (int64_t i = part; few && i < part + PART; i++)
            d->tops[count++] = d->sums[i] == LOWEST ? -INFINITY : by.base + by.unit * d->sums[i];
    }
    return bar(d->tops, count, wanted);
}

/* List the blocks whose bounds are not below `low`, and a few more; of a second list, those of no first. */
static void list(decision *d, float low, int first) {
    d->count = 0;
    for (int64_t begin = 0; begin < d->end; begin += GROUP) {
        section *in = &d->sections[begin / GROUP];
        int16_t least = sum_below(in->by, low), edge = first ? INT16_MAX : in->edge;
        int64_t end = begin + GROUP < d->end ? begin + GROUP : d->end;
        if (first) in->edge = least;
        for (int64_t b = begin; b < end; b += WORDS) {
            words next = words_at(d->sums + b), none = {0};
            d->count += put_places(d->listed + d->count, (int32_t)b, (next >= none + least) & (next < none + edge));
        }
    }
}

INLINE const uint8_t *lower_of(const search *s, const decision *d, int64_t place) {
    return s->lower + (d->head * s->capacity + place) * low_bytes(s->width);
}

static void rank_products(const search *s, decision *d) {
    for (int64_t i = 0; i < d->count; i++) {
        if (i + 3 < d->count) fetch(summary_of(s, d, d->listed[i + 3]), s->width);
        rank(&d->best, row_product(d->query, summary_of(s, d, d->listed[i]), s->width), d->listed[i]);
    }
}

/* The first stage: bound all products, and list the blocks of the largest bounds. */
static void begin_decision(const search *s, decision *d, reading *query, int64_t at) {
    int64_t row = at / s->decisions / s->deciders, decider = at / s->decisions % s->deciders;
    int64_t end = s->ends[at % s->decisions], begin = s->kept < end ? s->kept : end;
    d->query = s->query + at * s->width;
    d->index = s->index + at * (s->kept + s->top_k);
    d->head = row * s->found + decider * s->found / s->deciders;
    d->begin = begin;
    d->end = end;
    d->count = d->best.count = 0;
    d->best.most = end - begin < s->top_k ? end - begin : s->top_k;
    if (d->best.most <= 0) d->end = 0;
    read_query(query, d->query);
    if (!bound(s, d, query)) *s->failed = 1;
    list(d, find_edge(d), 1);
    for (int64_t i = 0; i < d->count; i++) fetch(summary_of(s, d, d->listed[i]), s->width);
}

/* The second: multiply these, and list the others that can be among the largest by their upper bits. */
static void narrow_decision(const search *s, decision *d) {
    rank_products(s, d);
    list(d, least_of(&d->best), 0);
    for (int64_t i = 0; i < d->count; i++) __builtin_prefetch(lower_of(s, d, d->listed[i]));
}

/* The third: keep those that can be by all bits. */
static void sift_decision(const search *s, decision *d) {
    int64_t listed = d->count, size = 2 * low_bytes(s->width);
    float least = least_of(&d->best);
    d->count = 0;
    for (int64_t i = 0; i < listed; i++) {
        if (i + NEAR < listed) __builtin_prefetch(lower_of(s, d, d->listed[i + NEAR]));
        int64_t place = d->listed[i], group = place / GROUP;
        scale by = d->sections[group].by;
        float low = add_lower_bits(lower_of(s, d, place), d->weights + group * size, s->width);
        float most = by.base + by.unit * d->sums[place] - by.unit_low * (by.most_low - low);
        d->listed[d->count] = (int32_t)place;
        d->count += most >= least; /* without a branch, which would be guessed wrongly now and then */
    }
    for (int64_t i = 0; i < d->count; i++) fetch(summary_of(s, d, d->listed[i]), s->width);
}

/* The last: multiply these as well. */
static void end_decision(const search *s, decision *d) {
    rank_products(s, d);
    for (int64_t k = 0; k < s->kept + s->top_k; k++) d->index[k] = k < d->begin ? (int32_t)k : -1;
    for (int64_t k = 0; k < d->best.count; k++) d->index[d->begin + k] = d->best.places[k];
}

static void *take_room(char **memory, int64_t size) {
    void *taken = *memory;
    *memory += round_up(size, UNIT);
    return taken;
}

/* Put what a task works in into a stretch of memory, which may be null; return its size. */
static int64_t make_room(const search *s, room *m, char *memory) {
    int64_t most = round_up(s->capacity, GROUP), groups = most / GROUP, dims = round_up(s->width, RUN_DIMS);
    char *end = memory;
    for (decision *d = m->each; d < m->each + STAGES; d++) {
        d->sums = take_room(&end, most * sizeof(int16_t));
        d->tops = take_room(&end, (FEW_BLOCKS + most / PART * WORDS) * sizeof(float));
        d->sections = take_room(&end, groups * sizeof(section));
        d->weights = take_room(&end, groups * 2 * low_bytes(s->width));
        d->listed = take_room(&end, (most + WORDS) * sizeof(int32_t));
        d->best.numbers = take_room(&end, s->top_k * sizeof(float));
        d->best.places = take_room(&end, s->top_k * sizeof(int32_t));
    }
    m->query.query = take_room(&end, dims * sizeof(float));
    m->query.least = take_room(&end, dims * sizeof(float));
    m->query.step = take_room(&end, dims * sizeof(float));
    m->query.dims = take_room(&end, (dims + 1) * sizeof(int32_t));
    m->query.weights = take_room(&end, dims);
    m->query.width = s->width;
    return end - memory;
}

/* Some decisions in a row. */
static void search_task(const void *arguments, int64_t task) {
    const search *s = arguments;
    room m;
    char *memory = malloc(make_room(s, &m, 0));
    make_room(s, &m, memory);
    int64_t begin = s->count * task / s->tasks, end = s->count * (task + 1) / s->tasks;
    for (int64_t at = begin; at < end + STAGES - 1; at++) {
        if (at < end) begin_decision(s, &m.each[at % STAGES], &m.query, at);
        if (at > begin && at <= end) narrow_decision(s, &m.each[(at - 1) % STAGES]);
        if (at > begin + 1 && at <= end + 1) sift_decision(s, &m.each[(at - 2) % STAGES]);
        if (at > begin + 2) end_decision(s, &m.each[(at - 3) % STAGES]);
    }
    free(memory);
}

void block_search(
    const float *query, const float *summaries, const uint8_t *upper, const uint8_t *lower, const float *steps,
    const int64_t *ends, int32_t *index, int32_t *failed, int64_t rows, int64_t deciders, int64_t found,
    int64_t decisions, int64_t width, int64_t capacity, int64_t groups, int64_t kept, int64_t top_k, int64_t threads
) {
    int64_t count = rows * deciders * decisions, tasks = threads > 1 ? 8 * threads : 1;
    search s = {
        query, summaries, steps, upper, lower, ends, index, failed, deciders, found, decisions, width, capacity,
        groups, kept, top_k, count, tasks < count ? tasks : count,
    };
    run_tasks(search_task, &s, s.tasks, threads);
}
