/* The largest products of a query with summaries of blocks, without reading most of these.
 *
 * Codes beside the summaries (codes.h) bound each product from above. The blocks of the largest bounds,
 * `top_k` or a few more, are multiplied as floats, and then all whose bound is not below the least of
 * the `top_k` largest of those: what is found is the `top_k` largest products, the first of equal ones.
 * A dimension in which the query is 0 is not read.
 *
 * A decision sees the blocks before its end: the first `kept` of them, and those found of the others.
 *
 * Layouts: query [row, decider, decision, width]; summaries [row, found, capacity, width], with codes of
 * as many rows and heads; ends [decision]; index [row, decider, decision, kept + top_k], whose last
 * numbers are -1 where there are fewer blocks. Where a number is not finite, `failed` is 1, and the index
 * means nothing.
 */
#include <stdlib.h>

#include "codes.h"
#include "linear.h"

typedef uint16_t words __attribute__((vector_size(4 * LANES)));

typedef struct {
    const float *query, *summaries, *steps;
    const uint16_t *codes;
    const int64_t *ends;
    int32_t *index, *failed;
    int64_t deciders, found, decisions, width, capacity, groups, kept, top_k, slices;
} search;

/* What a task works in, and the summaries that it searches: `most` is what each product is at most,
 * `tops` the largest of those in each lane of each group. */
typedef struct {
    float *most, *tops, *sizes, *numbers;
    int32_t *dims, *listed, *places;
    uint16_t *weights;
    int64_t head, begin, end, used;
} room;

/* The largest numbers so far, in falling order. */
typedef struct {
    float *numbers;
    int32_t *places;
    int64_t count, most;
} ranking;

static void rank(ranking *r, float number, int32_t place) {
    int64_t at = r->count < r->most ? r->count++ : r->most - 1;
    for (; at > 0 && number > r->numbers[at - 1]; at--) {
        r->numbers[at] = r->numbers[at - 1];
        r->places[at] = r->places[at - 1];
    }
    r->numbers[at] = number;
    r->places[at] = place;
}

/* Return the least of the largest numbers, minus infinity while they are not complete. */
INLINE float least_of(const ranking *r) {
    return r->count < r->most ? -INFINITY : r->numbers[r->most - 1];
}

/* Return the lanes of a mask as bits. */
INLINE uint32_t bits_of(integers mask) {
#if defined(__AVX512DQ__)
    return _mm512_movepi32_mask((__m512i)mask);
#else
    uint32_t bits = 0;
    for (int64_t lane = 0; lane < LANES; lane++) bits |= (uint32_t)(mask[lane] & 1) << lane;
    return bits;
#endif
}

INLINE const float *summary_of(const search *s, room m, int64_t place) {
    return s->summaries + (m.head * s->capacity + place) * s->width;
}

INLINE void fetch(const float *row, int64_t width) {
    for (int64_t j = 0; j < width; j += 16) __builtin_prefetch(row + j);
}

/* A product with a group is at most `base + unit * sum` for the sum of whole weights times codes. */
typedef struct {
    float base, unit;
    int32_t lowest; /* sum that there can be */
} scale;

/* Put whole weights, one for each dimension that is read, into `weights`. */
static scale weigh(const search *s, room m, const float *query, const float *least) {
    const float *step = least + s->width;
    lanes size = {0}, base = {0}, lowest = {0}, zero = {0};
    for (int64_t j = 0; j < s->width; j += LANES)
        size += absolute(load(query + j, s->width - j) * load(step + j, s->width - j));
    /* The sum of all weights is such that every sum of products with codes fits 16 bits. */
    float all = total(size), limit = (float)(UINT16_MAX / HIGHEST - m.used / 2);
    float unit = all / limit, inverse = isfinite(limit / all) ? limit / all : 0;
    float rounding = 0x1p-22f * (s->width + 16), middle = 0.5f * HIGHEST;
    for (int64_t j = 0; j < s->width; j += LANES) {
        int64_t left = s->width - j;
        lanes q = load(query + j, left), first = load(least + j, left), by = load(step + j, left);
        lanes weight = q * by, whole = nearest(weight * inverse), rest = weight - unit * whole;
        store(m.sizes + j, whole, left);
        lowest += choose(whole < zero, whole, zero);
        base += q * first + middle * (rest + absolute(rest)) + 0.5f * absolute(weight);
        base += rounding * absolute(q) * (absolute(first) + HIGHEST * by);
    }
    for (int64_t i = 0; i < m.used; i++) m.weights[i] = (uint16_t)(int32_t)m.sizes[m.dims[i]];
    return (scale){total(base) + FLT_MIN, unit, HIGHEST * (int32_t)total(lowest)};
}

/* Put the sums of the products of whole weights with the codes into `sums`, less the lowest. */
INLINE void add_codes(const search *s, room m, const uint16_t *codes, int32_t lowest, uint16_t sums[GROUP]) {
    words zero = {0};
    for (int64_t part = 0; part < WORDS; part += 2 * LANES) {
        words start = zero - (uint16_t)lowest, each[PER_WORD] = {start, start, start};
        for (int64_t i = 0; i < m.used; i++) {
            const uint16_t *from = codes + m.dims[i] * WORDS + part;
            words found, weight = zero + m.weights[i];
            memcpy(&found, from, sizeof found);
            __builtin_prefetch(from + s->width * WORDS);
            each[0] += (found & HIGHEST) * weight;
            each[1] += (found >> BITS & HIGHEST) * weight;
            each[2] += (found >> 2 * BITS) * weight;
        }
        for (int64_t n = 0; n < PER_WORD; n++) memcpy(sums + n * WORDS + part, &each[n], sizeof each[n]);
    }
}

/* Put what the products with a group are at most into `most`, and the largest of each lane into `top`. */
static void bound_group(const search *s, room m, int64_t begin, scale by, const uint16_t sums[GROUP], float *top) {
    float *most = m.most + begin, base = by.base + by.unit * by.lowest;
    int64_t left = m.end - begin;
    lanes largest = fill(-INFINITY);
    for (int64_t i = 0; i < GROUP; i++) most[i] = base + by.unit * sums[i];
    for (int64_t i = 0; i < m.begin - begin && i < GROUP; i++) most[i] = -INFINITY;
    for (int64_t i = left; i < GROUP; i++) most[i] = -INFINITY;
    for (int64_t i = 0; i < GROUP; i += LANES) {
        lanes next = load(most + i, LANES);
        largest = choose(next > largest, next, largest);
    }
    store(top, largest, LANES);
}

/* Bound all products. Return whether all numbers are finite. */
static int bound(const search *s, room m, const float *query) {
    uint16_t sums[GROUP];
    float finite = 0;
    for (int64_t begin = 0; begin < m.end; begin += GROUP) {
        int64_t group = begin / GROUP, all = m.head * s->groups + group;
        scale by = weigh(s, m, query, s->steps + all * 2 * s->width);
        finite += 0 * (by.base + by.unit * UINT16_MAX);
        add_codes(s, m, s->codes + all * s->width * WORDS, by.lowest, sums);
        bound_group(s, m, begin, by, sums, m.tops + group * LANES);
    }
    return finite == 0;
}

/* Return a number that `wanted` of the bounds are not below, and few more. */
static float bar(room m, int64_t wanted) {
    ranking r = {m.numbers, m.places, 0, wanted};
    for (int64_t i = 0; i < (m.end + GROUP - 1) / GROUP * LANES; i++)
        if (m.tops[i] > least_of(&r)) rank(&r, m.tops[i], 0);
    return least_of(&r);
}

/* Rank the products of those whose bound is not below `edge`. */
static void rank_products(const search *s, room m, const float *query, float edge, ranking *best) {
    int64_t count = 0;
    for (int64_t b = 0; b < m.end; b += LANES) {
        uint32_t bits = bits_of(load(m.most + b, LANES) >= fill(edge));
        for (; bits; bits &= bits - 1) {
            int64_t place = b + __builtin_ctz(bits);
            if (place < m.begin || place >= m.end) continue;
            fetch(summary_of(s, m, place), s->width);
            m.listed[count++] = (int32_t)place;
        }
    }
    best->count = 0;
    for (int64_t i = 0; i < count; i++) {
        float exact = row_product(query, summary_of(s, m, m.listed[i]), s->width);
        if (exact > least_of(best) || best->count < best->most) rank(best, exact, m.listed[i]);
    }
}

static void search_decision(const search *s, room m, const float *query, int32_t *index) {
    int64_t number = m.end - m.begin, wanted = number < s->top_k ? number : s->top_k;
    for (int64_t k = 0; k < s->kept + s->top_k; k++) index[k] = k < m.begin ? (int32_t)k : -1;
    if (wanted <= 0) return;
    for (int64_t j = 0; j < s->width; j++)
        if (query[j] != 0) m.dims[m.used++] = (int32_t)j;
    if (!bound(s, m, query)) {
        *s->failed = 1;
        return;
    }
    ranking best = {m.numbers, m.places, 0, wanted};
    rank_products(s, m, query, bar(m, wanted), &best);
    rank_products(s, m, query, least_of(&best), &best);
    for (int64_t k = 0; k < best.count; k++) index[m.begin + k] = m.places[k];
}

/* Some decisions of a head that decides. */
static void search_task(const void *arguments, int64_t task) {
    const search *s = arguments;
    int64_t head = task / s->slices, slice = task % s->slices;
    int64_t row = head / s->deciders, decider = head % s->deciders;
    int64_t groups = (s->capacity + GROUP - 1) / GROUP, most = groups * GROUP, tops = groups * LANES;
    room m = {.head = row * s->found + decider * s->found / s->deciders};
    m.most = malloc((2 * most + tops + 2 * s->top_k + 2 * s->width) * sizeof(float) + s->width * sizeof(uint16_t));
    m.tops = m.most + most;
    m.sizes = m.tops + tops;
    m.numbers = m.sizes + s->width;
    m.listed = (int32_t *)(m.numbers + s->top_k);
    m.places = m.listed + most;
    m.dims = m.places + s->top_k;
    m.weights = (uint16_t *)(m.dims + s->width);
    int64_t begin = s->decisions * slice / s->slices, end = s->decisions * (slice + 1) / s->slices;
    for (int64_t d = begin; d < end; d++) {
        int64_t at = head * s->decisions + d;
        m.end = s->ends[d];
        m.begin = s->kept < m.end ? s->kept : m.end;
        search_decision(s, m, s->query + at * s->width, s->index + at * (s->kept + s->top_k));
    }
    free(m.most);
}

void block_search(
    const float *query, const float *summaries, const uint16_t *codes, const float *steps, const int64_t *ends,
    int32_t *index, int32_t *failed, int64_t rows, int64_t deciders, int64_t found, int64_t decisions,
    int64_t width, int64_t capacity, int64_t groups, int64_t kept, int64_t top_k, int64_t threads
) {
    search s = {
        query, summaries, steps, codes, ends, index, failed, deciders, found, decisions, width, capacity, groups,
        kept, top_k, decisions < 8 * threads ? decisions : 8 * threads,
    };
    run_tasks(search_task, &s, rows * deciders * s.slices, threads);
}
