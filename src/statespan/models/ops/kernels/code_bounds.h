/* Bounds of the products of a query with all summaries of a group, from their codes (codes.h).
 *
 * Codes are multiplied by whole weights of 8 bits, two dimensions at once, and added in 16 bits:
 * RUN_DIMS dimensions without overflow, and the sums of runs without their lowest bits. What is lost by rounding
 * is added to the bound.
 */
#ifndef STATESPAN_CODE_BOUNDS_H
#define STATESPAN_CODE_BOUNDS_H

#include "codes.h"
#include "products.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define RUN_DIMS 16
#define BYTES (4 * LANES)
#define ROWS (BYTES < UNIT ? UNIT / BYTES : 2)
#define WORDS (BYTES / 2)
#define PART (2 * ROWS * BYTES) /* blocks that are added up at once */

typedef uint8_t bytes __attribute__((vector_size(BYTES)));
typedef int16_t words __attribute__((vector_size(BYTES)));
typedef int64_t longs __attribute__((vector_size(BYTES)));
typedef int8_t short_weights __attribute__((vector_size(LANES)));

/* The dimensions in which a query is not 0, up to a whole run, and what they are in a group. */
typedef struct {
    float *query, *least, *step;
    int32_t *dims;
    int8_t *weights;
    int64_t read, used, width, shift; /* `used` with what fills the last run */
} reading;

/* A product is at most `base + unit * sum` for the sum of the shifted sums of runs of upper bits, and less
 * by `unit_low * (most_low - sum)` for that of lower bits. */
typedef struct {
    float base, unit, unit_low, most_low;
} scale;

/* Let numbers come into the cache. */
INLINE void fetch(const float *numbers, int64_t count) {
    for (int64_t j = 0; j < count; j += 16) __builtin_prefetch(numbers + j);
}

static void read_query(reading *r, const float *query) {
    r->used = r->shift = 0;
    for (int64_t j = 0; j < r->width; j++) {
        r->dims[r->used] = (int32_t)j; /* to be written over if it is not read */
        r->used += query[j] != 0;
    }
    r->read = r->used;
    for (int64_t i = 0; i < r->used; i++) r->query[i] = query[r->dims[i]];
    for (; r->used % RUN_DIMS; r->used++) {
        r->dims[r->used] = r->dims[0];
        r->query[r->used] = 0;
    }
    while (RUN_DIMS << r->shift < r->used) r->shift++;
}

/* Return what a whole weight of 8 bits stands for. */
static float find_unit(const reading *r) {
    lanes heaviest = {0};
    for (int64_t i = 0; i < r->used; i += LANES) {
        lanes weight = absolute(load(r->query + i, LANES) * load(r->step + i, LANES));
        heaviest = choose(weight > heaviest, weight, heaviest);
    }
    return highest(heaviest) / INT8_MAX;
}

/* Put the weights of the codes of a group in place, whose least numbers and steps are `from`. */
static scale weigh(const reading *r, const float *from) {
    float *of_least = r->least, *of_step = r->step;
    const int32_t *dims = r->dims;
    for (int64_t i = 0; i < r->used; i++) {
        of_least[i] = from[dims[i]];
        of_step[i] = from[r->width + dims[i]];
    }
    float unit = find_unit(r), inverse = isfinite(1 / unit) ? 1 / unit : 0;
    float rounding = 0x1p-22f * (r->width + 16), middle = 0.5f * HIGHEST;
    lanes base = {0}, zero = {0}, above = {0};
    for (int64_t i = 0; i < r->used; i += LANES) {
        lanes q = load(r->query + i, LANES), first = load(of_least + i, LANES), by = load(of_step + i, LANES);
        lanes weight = q * by, whole = nearest(weight * inverse), rest = weight - unit * whole;
        short_weights rounded = __builtin_convertvector(__builtin_convertvector(whole, integers), short_weights);
        memcpy(r->weights + i, &rounded, sizeof rounded);
        above += choose(whole > zero, whole, zero);
        base += q * first + middle * (rest + absolute(rest)) + 0.5f * absolute(weight);
        base += rounding * absolute(q) * (absolute(first) + HIGHEST * by);
    }
    /* Of the sum of each run, as many parts are cut off as 2^shift - 1. */
    float lost = (float)((r->used / RUN_DIMS) * ((1 << r->shift) - 1)), most_low = HIGHEST_LOW * total(above);
    float unit_high = unit * (HIGHEST_LOW + 1);
    return (scale){
        .base = total(base) + FLT_MIN + unit_high * lost + unit * most_low,
        .unit = unit_high * (float)(1 << r->shift), .unit_low = unit, .most_low = most_low,
    };
}

/* Put the weights of the dimensions that are read where their lower bits stand, among zeros. */
static void spread_weights(const reading *r, int8_t *weights) {
    int64_t half = (r->width + 1) / 2, gap = low_bytes(r->width) - half;
    for (int64_t i = 0; i < r->read; i++) {
        int64_t dim = r->dims[i];
        weights[dim < half ? dim : dim + gap] = r->weights[i];
    }
}

/* Return a sum that bounds which are not below `low` have at least, with what is lost by rounding. */
static int16_t sum_below(scale by, float low) {
    float sum = floorf((low - by.base) / by.unit);
    if (!(sum > -INT16_MAX)) return -INT16_MAX;
    return sum < INT16_MAX ? (int16_t)sum : INT16_MAX;
}

INLINE words words_at(const int16_t *from) {
    words found;
    memcpy(&found, from, sizeof found);
    return found;
}

/* Return the sums of two codes in a row, each multiplied by its weight. */
INLINE words pair_sums(bytes pairs, bytes weights) {
#if defined(__AVX512BW__)
    return (words)_mm512_maddubs_epi16((__m512i)pairs, (__m512i)weights);
#elif defined(__AVX2__)
    return (words)_mm256_maddubs_epi16((__m256i)pairs, (__m256i)weights);
#else
    words codes = (words)pairs, all = (words)weights;
    return (codes & 0xff) * (all << 8 >> 8) + (codes >> 8) * (all >> 8);
#endif
}

/* Interleave the bytes of the lower or the upper half of each 16 of both. */
INLINE bytes interleave(bytes a, bytes b, int upper) {
    bytes order;
    _Pragma("GCC unroll 64") for (int i = 0; i < BYTES; i++)
        order[i] = (uint8_t)(i / 16 * 16 + upper * 8 + i % 16 / 2 + i % 2 * BYTES);
    return __builtin_shuffle(a, b, order);
}

/* Return the lower or the upper half of what two interleaved vectors are, in its first order. */
INLINE words restore(words low, words high, int upper) {
    longs order;
    _Pragma("GCC unroll 8") for (int i = 0; i < BYTES / 8; i++) {
        int sixteenth = upper * (BYTES / 16) + i / 2;
        order[i] = sixteenth / 2 * 2 + i % 2 + sixteenth % 2 * (BYTES / 8);
    }
    return (words)__builtin_shuffle((longs)low, (longs)high, order);
}

INLINE bytes bytes_at(const void *from) {
    bytes found;
    memcpy(&found, from, sizeof found);
    return found;
}

INLINE bytes lower_bits(bytes both) {
    return both & HIGHEST_LOW;
}

INLINE bytes upper_bits(bytes both) {
    return lower_bits((bytes)((words)both >> 4));
}

/* Add the products of the upper bits of a run with their weights, of the blocks of a part. */
INLINE void add_run(const reading *r, int64_t first, const uint8_t *upper, words sums[4 * ROWS]) {
    words none = {0};
    const int32_t *dims = r->dims + first;
    const int8_t *weights = r->weights + first;
    int64_t next = r->width * (SEGMENT / 2);
    UNROLL for (int n = 0; n < 4 * ROWS; n++) sums[n] = none;
    for (int64_t i = 0; i < RUN_DIMS; i += 2) {
        const uint8_t *one = upper + dims[i] * (SEGMENT / 2), *other = upper + dims[i + 1] * (SEGMENT / 2);
        int16_t both;
        memcpy(&both, weights + i, sizeof both);
        bytes weight = (bytes)(none + both);
        UNROLL for (int n = 0; n < ROWS; n++) {
            bytes a = bytes_at(one + n * BYTES), b = bytes_at(other + n * BYTES);
            bytes low = interleave(a, b, 0), high = interleave(a, b, 1);
            __builtin_prefetch(one + n * BYTES + next);
            __builtin_prefetch(other + n * BYTES + next);
            sums[4 * n] += pair_sums(lower_bits(low), weight);
            sums[4 * n + 1] += pair_sums(lower_bits(high), weight);
            sums[4 * n + 2] += pair_sums(upper_bits(low), weight);
            sums[4 * n + 3] += pair_sums(upper_bits(high), weight);
        }
    }
}

/* Put the sums of the blocks of a part into `sums`. */
static void add_upper_bits(const reading *r, const uint8_t *upper, int16_t *sums) {
    words all[4 * ROWS] = {0}, run[4 * ROWS];
    for (int64_t i = 0; i < r->used; i += RUN_DIMS) {
        add_run(r, i, upper, run);
        UNROLL for (int n = 0; n < 4 * ROWS; n++) all[n] += run[n] >> r->shift;
    }
    UNROLL for (int n = 0; n < 2 * ROWS; n++) {
        int at = n / 2 * BYTES, block = at / UNIT * 2 * UNIT + at % UNIT + n % 2 * UNIT;
        UNROLL for (int half = 0; half < 2; half++) {
            words found = restore(all[2 * n], all[2 * n + 1], half);
            memcpy(sums + block + half * (BYTES / 2), &found, sizeof found);
        }
    }
}

/* Return the sum of the products of the lower bits of a block with the weights of all dimensions. */
INLINE float add_lower_bits(const uint8_t *lower, const int8_t *weights, int64_t width) {
    int64_t size = low_bytes(width);
    integers sum = {0};
    for (int64_t i = 0; i < size; i += BYTES) {
        bytes both = bytes_at(lower + i);
        words pairs = pair_sums(lower_bits(both), bytes_at(weights + i));
        pairs += pair_sums(upper_bits(both), bytes_at(weights + size + i));
        sum += ((integers)pairs >> 16) + ((integers)pairs << 16 >> 16);
    }
    return total(__builtin_convertvector(sum, lanes));
}

#endif
