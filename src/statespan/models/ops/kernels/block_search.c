/* The largest products of a query with summaries of blocks, without reading most of these.
 *
 * Beside the summaries lie bytes, each a number over the `scale` of its summary, rounded: a quarter
 * of the memory. A product with the bytes is off by no more than `error` times the scale, so a block
 * that even with it is below what `top_k` others have without it is left out. The others are
 * multiplied as floats: what is found is the `top_k` of those products, the first of equal ones.
 *
 * A decision sees the blocks before its end: the first `kept` of them, and those found of the others.
 *
 * Layouts: query [row, decider, decision, width]; summaries [row, found, capacity, width], as the
 * bytes; scales [row, found, capacity]; ends [decision]; index [row, decider, decision, kept + top_k],
 * whose last numbers are -1 where there are fewer blocks. Where a number is not finite, `failed` is 1,
 * and the index means nothing.
 */
#include <stdlib.h>

#include "linear.h"

typedef struct {
    const float *query, *summaries, *scales;
    const int8_t *bytes;
    const int64_t *ends;
    int32_t *index, *failed;
    int64_t deciders, found, decisions, width, capacity, kept, top_k, slices;
} search;

/* What a task works in, and the summaries that it searches. */
typedef struct {
    int16_t *query;
    float *rough, *numbers;
    int64_t *places, first, begin, end;
} room;

/* The largest numbers so far, in falling order. */
typedef struct {
    float *numbers;
    int64_t *places;
    int64_t count, most;
} ranking;

static void rank(ranking *r, float number, int64_t place) {
    int64_t at = r->count < r->most ? r->count++ : r->most - 1;
    for (; at > 0 && number > r->numbers[at - 1]; at--) {
        r->numbers[at] = r->numbers[at - 1];
        r->places[at] = r->places[at - 1];
    }
    r->numbers[at] = number;
    r->places[at] = place;
}

INLINE int is_among(const ranking *r, float number) {
    return r->count < r->most || number > r->numbers[r->most - 1];
}

/* Return by how much one step of the query's whole numbers counts; their products fit 32 bits. */
static float round_query(int16_t *to, const float *query, int64_t width) {
    float largest = 0, limit = (float)(INT32_MAX / 128 / width);
    for (int64_t j = 0; j < width; j++) largest = fabsf(query[j]) > largest ? fabsf(query[j]) : largest;
    float step = largest / (limit < INT16_MAX ? limit : INT16_MAX);
    for (int64_t j = 0; j < width; j++) to[j] = (int16_t)lrintf(step > 0 ? query[j] / step : 0);
    return step;
}

/* Return the products of the whole numbers of a query with `there` rows of bytes. */
INLINE lanes whole_products(const int16_t *query, const int8_t *bytes, int64_t there, int64_t width) {
#if defined(__AVX512BW__)
    lanes each[LANES];
    UNROLL for (int64_t r = 0; r < LANES; r++) {
        const int8_t *row = bytes + (r < there ? r : 0) * width;
        __m512i sums = _mm512_setzero_si512();
        int64_t j = 0;
        for (; j + 32 <= width; j += 32) {
            __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(row + j)));
            sums = _mm512_add_epi32(sums, _mm512_madd_epi16(wide, _mm512_loadu_si512(query + j)));
        }
        int32_t rest = 0;
        for (; j < width; j++) rest += query[j] * row[j];
        sums = _mm512_add_epi32(sums, _mm512_maskz_set1_epi32(1, rest));
        each[r] = (lanes)_mm512_cvtepi32_ps(sums);
    }
    return totals(each);
#else
    lanes products = {0};
    for (int64_t r = 0; r < there && r < LANES; r++) {
        int32_t sum = 0;
        for (int64_t j = 0; j < width; j++) sum += query[j] * bytes[r * width + j];
        products[r] = (float)sum;
    }
    return products;
#endif
}

/* Rank what the products are at least, and put what they are at most into `rough`; return the sum. */
static float rank_roughly(const search *s, room m, ranking *least, float step, float error) {
    const int8_t *bytes = s->bytes + (m.first + m.begin) * s->width;
    const float *scales = s->scales + m.first + m.begin;
    lanes sum = {0};
    float sure[LANES];
    for (int64_t b = 0; b < m.end - m.begin; b += LANES) {
        int64_t there = m.end - m.begin - b;
        lanes scale = load(scales + b, there);
        lanes products = step * whole_products(m.query, bytes + b * s->width, there, s->width);
        lanes most = scale * (products + error), lower = scale * (products - error);
        store(m.rough + b, most, there);
        sum += most;
        integers among = lower > fill(least->count < least->most ? -INFINITY : least->numbers[least->most - 1]);
        if (total((lanes)(among & (integers)fill(1.0f))) == 0) continue;
        store(sure, lower, LANES);
        for (int64_t r = 0; r < LANES && r < there; r++)
            if (is_among(least, sure[r])) rank(least, sure[r], b + r);
    }
    return total(sum);
}

/* Rank the products of those that may be among the largest. */
static void rank_exactly(const search *s, room m, const float *query, ranking *best, float edge) {
    for (int64_t b = 0; b < m.end - m.begin; b++) {
        if (m.rough[b] < edge) continue;
        int64_t place = m.begin + b;
        float exact = row_product(query, s->summaries + (m.first + place) * s->width, s->width);
        if (is_among(best, exact)) rank(best, exact, place);
    }
}

static void search_decision(const search *s, room m, const float *query, int32_t *index) {
    int64_t number = m.end - m.begin, wanted = number < s->top_k ? number : s->top_k;
    for (int64_t k = 0; k < s->kept + s->top_k; k++) index[k] = k < m.begin ? (int32_t)k : -1;
    if (wanted <= 0) return;
    float size = 0, step = round_query(m.query, query, s->width);
    for (int64_t j = 0; j < s->width; j++) size += fabsf(query[j]);
    /* Half a step for each byte, half a step of the query, and what floats round away. */
    float error = 0.505f * size + 64.0f * step * s->width;
    ranking least = {m.numbers, m.places, 0, wanted}, best = least;
    float sum = rank_roughly(s, m, &least, step, error), edge = m.numbers[wanted - 1];
    if (!isfinite(sum) || !isfinite(step)) *s->failed = 1;
    rank_exactly(s, m, query, &best, edge);
    for (int64_t k = 0; k < best.count; k++) index[m.begin + k] = (int32_t)m.places[k];
}

/* Some decisions of a head that decides. */
static void search_task(const void *arguments, int64_t task) {
    const search *s = arguments;
    int64_t head = task / s->slices, slice = task % s->slices;
    int64_t row = head / s->deciders, decider = head % s->deciders, bytes = s->width * sizeof(int16_t);
    int64_t floats = s->top_k + s->capacity;
    char *memory = malloc(s->top_k * sizeof(int64_t) + floats * sizeof(float) + bytes);
    room m = {.places = (int64_t *)memory, .first = (row * s->found + decider * s->found / s->deciders) * s->capacity};
    m.numbers = (float *)(m.places + s->top_k);
    m.rough = m.numbers + s->top_k;
    m.query = (int16_t *)(m.numbers + floats);
    int64_t begin = s->decisions * slice / s->slices, end = s->decisions * (slice + 1) / s->slices;
    for (int64_t d = begin; d < end; d++) {
        int64_t at = head * s->decisions + d;
        m.end = s->ends[d];
        m.begin = s->kept < m.end ? s->kept : m.end;
        search_decision(s, m, s->query + at * s->width, s->index + at * (s->kept + s->top_k));
    }
    free(memory);
}

void block_search(
    const float *query, const float *summaries, const int8_t *bytes, const float *scales, const int64_t *ends,
    int32_t *index, int32_t *failed, int64_t rows, int64_t deciders, int64_t found, int64_t decisions,
    int64_t width, int64_t capacity, int64_t kept, int64_t top_k, int64_t threads
) {
    search s = {
        query, summaries, scales, bytes, ends, index, failed, deciders, found, decisions, width, capacity, kept, top_k,
        decisions < 8 * threads ? decisions : 8 * threads,
    };
    run_tasks(search_task, &s, rows * deciders * s.slices, threads);
}
