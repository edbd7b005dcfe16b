/* The largest of many numbers, and where they stand. */
#ifndef STATESPAN_RANKING_H
#define STATESPAN_RANKING_H

#include "code_bounds.h"

/* The largest numbers so far, in falling order; of equal ones, that of the first place is the larger. */
typedef struct {
    float *numbers;
    int32_t *places;
    int64_t count, most;
} ranking;

static void rank(ranking *r, float number, int32_t place) {
    int64_t at = r->count < r->most ? r->count++ : r->most;
    for (; at > 0; at--) {
        float before = r->numbers[at - 1];
        if (number < before || (number == before && place > r->places[at - 1])) break;
        if (at == r->most) continue;
        r->numbers[at] = before;
        r->places[at] = r->places[at - 1];
    }
    if (at == r->most) return;
    r->numbers[at] = number;
    r->places[at] = place;
}

/* Return the least of the largest numbers, minus infinity while they are not complete. */
INLINE float least_of(const ranking *r) {
    return r->most == 0 || r->count < r->most ? -INFINITY : r->numbers[r->most - 1];
}

/* Put the places of a mask of 16 bits each, from `first` on, in a row; return their number. As many as the
 * mask has may be written over. */
INLINE int64_t put_places(int32_t *to, int32_t first, words mask) {
#if defined(__AVX512BW__)
    uint32_t bits = _mm512_movepi16_mask((__m512i)mask), low = bits & 0xffff, high = bits >> 16;
    __m512i each = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i places = _mm512_add_epi32(each, _mm512_set1_epi32(first));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)low, places));
    to += __builtin_popcount(low);
    places = _mm512_add_epi32(places, _mm512_set1_epi32(16));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)high, places));
    return __builtin_popcount(bits);
#else
    int64_t count = 0;
    for (int32_t i = 0; i < WORDS; i++) {
        to[count] = first + i;
        count -= mask[i];
    }
    return count;
#endif
}

/* Return how many of the numbers are not below an edge. */
static int64_t count_above(const float *numbers, int64_t count, float edge) {
    integers found = {0};
    for (int64_t i = 0; i < count; i += LANES) found -= load(numbers + i, LANES) >= fill(edge);
    int64_t sum = 0;
    for (int64_t lane = 0; lane < LANES; lane++) sum += found[lane];
    return sum;
}

/* Return a number that `wanted` of the numbers are not below, and few more; minus infinity for none. The
 * numbers are whole vectors. */
static float bar(const float *numbers, int64_t count, int64_t wanted) {
    lanes least = fill(INFINITY), most = fill(-INFINITY), none = fill(-INFINITY);
    for (int64_t i = 0; i < count; i += LANES) {
        lanes next = load(numbers + i, LANES);
        most = choose(next > most, next, most);
        least = choose((next < least) & (next > none), next, least);
    }
    float low = -highest(-least), high = highest(most);
    if (count_above(numbers, count, low) < wanted) return -INFINITY;
    for (int step = 0; step < 16; step++) {
        float middle = 0.5f * low + 0.5f * high;
        int64_t above = count_above(numbers, count, middle);
        if (above >= wanted) low = middle;
        else high = middle;
        if (above >= wanted && above <= wanted + wanted / 4) break;
    }
    return low;
}

#endif
