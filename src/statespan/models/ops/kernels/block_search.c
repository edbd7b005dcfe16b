/* The largest products of a query with summaries of blocks, without reading most of these.
 *
 * Beside the summaries lie bytes, each a number over the `scale` of its summary, rounded: a quarter
 * of the memory. A product with the bytes is off by no more than `error` times the scale, so a block
 * that even with it is below what `top_k` others have without it is left out. The others are
 * multiplied as floats: what is found is the `top_k` of those products, the first of equal ones.
 *
 * Layouts: query [row, decider, width]; summaries [row, found, capacity, width], as the bytes; scales
 * [row, found, capacity]; index [row, decider, top_k]. Where a number is not finite, the first index
 * of the decider is -1, and the others mean nothing.
 */
#include <stdlib.h>

#include "linear.h"

typedef struct {
    const float *query, *summaries, *scales;
    const int8_t *bytes;
    int64_t *index;
    int64_t deciders, found, width, capacity, begin, end, top_k;
} search;

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

/* Rank what the products are at least, and put what they are at most into `rough`. */
static float rank_roughly(
    const search *s, ranking *least, float *rough, const int16_t *query, const int8_t *bytes,
    const float *scales, float step, float error
) {
    lanes sum = {0};
    float sure[LANES];
    for (int64_t b = 0; b < s->end - s->begin; b += LANES) {
        int64_t there = s->end - s->begin - b;
        lanes scale = load(scales + b, there);
        lanes products = step * whole_products(query, bytes + b * s->width, there, s->width);
        lanes most = scale * (products + error), lower = scale * (products - error);
        store(rough + b, most, there);
        sum += most;
        integers among = lower > fill(least->count < least->most ? -INFINITY : least->numbers[least->most - 1]);
        if (total((lanes)(among & (integers)fill(1.0f))) == 0) continue;
        store(sure, lower, LANES);
        for (int64_t r = 0; r < LANES && r < there; r++)
            if (is_among(least, sure[r])) rank(least, sure[r], b + r);
    }
    return total(sum);
}

static void search_task(const void *arguments, int64_t task) {
    const search *s = arguments;
    int64_t row = task / s->deciders, decider = task % s->deciders, number = s->end - s->begin;
    int64_t first = (row * s->found + decider * s->found / s->deciders) * s->capacity;
    const float *query = s->query + task * s->width, *scales = s->scales + first;
    int64_t *places = malloc(s->top_k * sizeof *places + (s->top_k + number) * sizeof(float) + s->width * sizeof(int16_t));
    float *numbers = (float *)(places + s->top_k), *rough = numbers + s->top_k, size = 0;
    int16_t *rounded = (int16_t *)(rough + number);
    float step = round_query(rounded, query, s->width);
    for (int64_t j = 0; j < s->width; j++) size += fabsf(query[j]);
    /* Half a step for each byte, half a step of the query, and what floats round away. */
    float error = 0.505f * size + 64.0f * step * s->width;
    ranking least = {numbers, places, 0, s->top_k};
    float all = rank_roughly(
        s, &least, rough, rounded, s->bytes + (first + s->begin) * s->width, scales + s->begin, step, error
    );
    int64_t *index = s->index + task * s->top_k;
    float edge = numbers[s->top_k - 1];
    ranking best = {numbers, places, 0, s->top_k};
    for (int64_t b = 0; b < number; b++) {
        if (rough[b] < edge) continue;
        int64_t place = s->begin + b;
        float exact = row_product(query, s->summaries + (first + place) * s->width, s->width);
        if (is_among(&best, exact)) rank(&best, exact, place);
    }
    for (int64_t k = 0; k < s->top_k; k++) index[k] = places[k];
    if (!isfinite(all) || !isfinite(step)) index[0] = -1;
    free(places);
}

/* There are at least `top_k` blocks from `begin` to before `end`, and `top_k` is at least 1. */
void block_search(
    const float *query, const float *summaries, const int8_t *bytes, const float *scales, int64_t *index,
    int64_t rows, int64_t deciders, int64_t found, int64_t width, int64_t capacity, int64_t begin,
    int64_t end, int64_t top_k, int64_t threads
) {
    search s = {query, summaries, scales, bytes, index, deciders, found, width, capacity, begin, end, top_k};
    run_tasks(search_task, &s, rows * deciders, threads);
}
