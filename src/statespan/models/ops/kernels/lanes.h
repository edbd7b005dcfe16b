/* Vectors of floats as wide as the machine's registers, one channel a lane, and the functions that
 * a state-space model needs of them.
 *
 * The edges are exact, since compiled models rely on them: exp(0) is 1, exp(x) is 0 for x <= -104
 * and infinite for x >= 89; softplus(x) is 0 far below 0 and x far above; silu(-inf side) is -0.
 * A NaN stays a NaN. Elsewhere the relative error is some 1e-7, that of float32.
 */
#ifndef STATESPAN_LANES_H
#define STATESPAN_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

INLINE lanes fill(float value) {
    lanes zero = {0};
    return zero + value;
}

/* Return a float that came as a whole number of its bits. */
INLINE float float_of(int64_t bits) {
    int32_t low = (int32_t)bits;
    float value;
    memcpy(&value, &low, sizeof value);
    return value;
}

/* Load `count` floats, which may be fewer than the lanes; the others are 0. */
INLINE lanes load(const float *from, int64_t count) {
    lanes value = {0};
    if (count >= LANES) {
        memcpy(&value, from, sizeof value);
    } else {
#if defined(__AVX512F__)
        value = (lanes)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
        for (int64_t lane = 0; lane < count; lane++) value[lane] = from[lane];
#endif
    }
    return value;
}

INLINE void store(float *to, lanes value, int64_t count) {
    if (count >= LANES) {
        memcpy(to, &value, sizeof value);
    } else {
#if defined(__AVX512F__)
        _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)value);
#else
        for (int64_t lane = 0; lane < count; lane++) to[lane] = value[lane];
#endif
    }
}

/* Return the sum of all lanes. */
INLINE float total(lanes value) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)value);
#else
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += value[lane];
    return sum;
#endif
}

/* Return the largest of all lanes. */
INLINE float highest(lanes value) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)value);
#else
    float most = value[0];
    for (int lane = 1; lane < LANES; lane++) most = value[lane] > most ? value[lane] : most;
    return most;
#endif
}

INLINE lanes choose(integers mask, lanes yes, lanes no) {
    return (lanes)(((integers)yes & mask) | ((integers)no & ~mask));
}

INLINE lanes absolute(lanes x) {
    return (lanes)((integers)x & 0x7fffffff);
}

/* Return 2^n * x for whole numbers n in [-400, 400], rounded once where the result is not normal. */
INLINE lanes scale_by_power(lanes x, lanes n) {
#if defined(__AVX512F__)
    return (lanes)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    integers whole = __builtin_convertvector(n, integers);
    integers half = whole >> 1;
    lanes first = (lanes)((half + 127) << 23);
    lanes second = (lanes)((whole - half + 127) << 23);
    return x * first * second;
#endif
}

/* Return x within [low, high]; a NaN stays a NaN. */
INLINE lanes clamp(lanes x, float low, float high) {
#if defined(__AVX512F__)
    /* These return their second argument where either is a NaN. */
    __m512 y = _mm512_max_ps((__m512)fill(low), (__m512)x);
    return (lanes)_mm512_min_ps((__m512)fill(high), y);
#else
    lanes y = choose(x < low, fill(low), x);
    return choose(y > high, fill(high), y);
#endif
}

/* Return the whole number nearest to x, for x within [-2^21, 2^21]. */
INLINE lanes nearest(lanes x) {
#if defined(__AVX512F__)
    return (lanes)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    return (x + magic) - magic;
#endif
}

/* Return 2^t; the coefficients are minimax for the relative error where |t| <= 1/2. */
INLINE lanes power_of_two(lanes t) {
#if defined(__AVX512DQ__)
    /* Of an infinite t the rest is 0, and scaling takes any whole number. */
    lanes r = (lanes)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    lanes n = t - r;
#else
    t = clamp(t, -160.0f, 130.0f);
    lanes n = nearest(t), r = t - n;
#endif
    lanes p = r * 1.5355140204e-4f + 1.3398936717e-3f;
    p = p * r + 9.6184294671e-3f;
    p = p * r + 5.5503323674e-2f;
    p = p * r + 2.4022647738e-1f;
    p = p * r + 6.9314718246e-1f;
    return scale_by_power(p * r + 1.0f, n);
}

#define LOG2_E 1.44269504088896341f

INLINE lanes exponential(lanes x) {
    x = clamp(x, -110.0f, 90.0f);
    lanes n = nearest(x * LOG2_E);
    lanes r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return scale_by_power(p * (r * r) + r + 1.0f, n);
}

INLINE lanes sigmoid(lanes x) {
    return 1.0f / (1.0f + exponential(-x));
}

/* Return log(1 + y) for y in [0, 1], as 2 artanh(s) for s = y / (2 + y) in [0, 1/3]; the
 * coefficients interpolate (artanh(s) / s - 1) / s^2 at the Chebyshev points of s^2. */
INLINE lanes log_one_plus(lanes y) {
    lanes s = y / (2.0f + y);
    lanes square = s * s;
    lanes p = square * 0.23224330f + 0.21706575f;
    p = p * square + 0.28592357f;
    p = p * square + 0.39999706f;
    p = p * square + 0.66666669f;
    return s * (p * square + 2.0f);
}

INLINE lanes softplus(lanes x) {
    lanes zero = {0};
    lanes positive = choose(x < zero, zero, x);
    return positive + log_one_plus(exponential(-absolute(x)));
}

#endif
