/* Products of matrices that lie in the cache, a few rows and a few vectors of columns at a time.
 *
 *   to[i][j] (+)= sum_k a(i, k) b[k][j]      a(i, k) = a[i * a_row + k * a_step]
 *
 * Columns are lanes. The rows of `to` and `b` are whole vectors, so padded; the rows of `to` and
 * `a` are padded to a whole number of tiles. Sums go through k in order. In a triangular product
 * an entry of `a` outside of the triangle is never touched: a NaN goes to no other time.
 */
#ifndef STATESPAN_PRODUCTS_H
#define STATESPAN_PRODUCTS_H

#include "lanes.h"

#define TILE 4
#if LANES == 16
#define WIDE 4
#else
#define WIDE 2
#endif

#define UNROLL _Pragma("GCC unroll 16")

enum shape { FULL, LOWER, UPPER }; /* LOWER: k <= i. UPPER: k >= i. */

typedef struct {
    const float *from;
    int64_t row, step;
} factor;

typedef lanes tile[TILE][WIDE];

static inline int64_t round_up(int64_t size, int64_t unit) {
    return (size + unit - 1) / unit * unit;
}

INLINE void load_tile(tile sums, const float *from, int64_t row, int64_t wide) {
    UNROLL for (int64_t i = 0; i < TILE; i++)
        UNROLL for (int64_t j = 0; j < wide; j++)
            sums[i][j] = load(from + i * row + j * LANES, LANES);
}

INLINE void store_tile(float *to, int64_t row, tile sums, int64_t wide) {
    UNROLL for (int64_t i = 0; i < TILE; i++)
        UNROLL for (int64_t j = 0; j < wide; j++)
            store(to + i * row + j * LANES, sums[i][j], LANES);
}

/* Add the terms of one k to the rows from `first` to before `stop`. */
INLINE void add_term(
    tile sums, const float *a, int64_t a_row, const float *b, int64_t first, int64_t stop, int64_t wide
) {
    lanes column[WIDE];
    UNROLL for (int64_t j = 0; j < wide; j++) column[j] = load(b + j * LANES, LANES);
    UNROLL for (int64_t i = 0; i < TILE; i++) {
        if (i < first || i >= stop) continue;
        lanes weight = fill(a[i * a_row]);
        UNROLL for (int64_t j = 0; j < wide; j++) sums[i][j] += weight * column[j];
    }
}

INLINE void add_terms(
    tile sums, factor a, const float *b, int64_t b_row, int64_t begin, int64_t end, int64_t wide
) {
    for (int64_t k = begin; k < end; k++)
        add_term(sums, a.from + k * a.step, a.row, b + k * b_row, 0, TILE, wide);
}

/* The tile of the rows from `row` on; a is at that row. */
INLINE void multiply_tile(
    tile sums, factor a, const float *b, int64_t b_row, int64_t row, int64_t count, enum shape shape, int64_t wide
) {
    int64_t corner = count - row < TILE ? count - row : TILE;
    if (shape == FULL) {
        add_terms(sums, a, b, b_row, 0, count, wide);
        return;
    }
    if (shape == LOWER) add_terms(sums, a, b, b_row, 0, row, wide);
    UNROLL for (int64_t k = 0; k < TILE; k++) {
        if (k >= corner) break;
        int64_t first = shape == LOWER ? k : 0, stop = shape == LOWER ? TILE : k + 1;
        add_term(sums, a.from + (row + k) * a.step, a.row, b + (row + k) * b_row, first, stop, wide);
    }
    if (shape == UPPER) add_terms(sums, a, b, b_row, row + corner, count, wide);
}

INLINE void multiply_columns(
    float *to, int64_t to_row, factor a, const float *b, int64_t b_row,
    int64_t rows, int64_t count, enum shape shape, int accumulate, int64_t wide
) {
    for (int64_t row = 0; row < rows; row += TILE) {
        tile sums = {0};
        factor at = {a.from + row * a.row, a.row, a.step};
        if (accumulate) load_tile(sums, to + row * to_row, to_row, wide);
        multiply_tile(sums, at, b, b_row, row, count, shape, wide);
        store_tile(to + row * to_row, to_row, sums, wide);
    }
}

INLINE void multiply(
    float *to, int64_t to_row, factor a, const float *b, int64_t b_row,
    int64_t rows, int64_t columns, int64_t count, enum shape shape, int accumulate
) {
    int64_t j = 0;
    for (; j + WIDE * LANES <= columns; j += WIDE * LANES)
        multiply_columns(to + j, to_row, a, b + j, b_row, rows, count, shape, accumulate, WIDE);
    for (; j < columns; j += LANES)
        multiply_columns(to + j, to_row, a, b + j, b_row, rows, count, shape, accumulate, 1);
}

static inline void multiply_full(
    float *to, int64_t to_row, factor a, const float *b, int64_t b_row,
    int64_t rows, int64_t columns, int64_t count, int accumulate
) {
    multiply(to, to_row, a, b, b_row, rows, columns, count, FULL, accumulate);
}

/* Add to `to` the product of a triangle of `count` rows. */
static inline void add_lower(
    float *to, int64_t to_row, factor a, const float *b, int64_t b_row, int64_t columns, int64_t count
) {
    multiply(to, to_row, a, b, b_row, count, columns, count, LOWER, 1);
}

static inline void add_upper(
    float *to, int64_t to_row, factor a, const float *b, int64_t b_row, int64_t columns, int64_t count
) {
    multiply(to, to_row, a, b, b_row, count, columns, count, UPPER, 1);
}

/* Multiply, but leave out most columns j > i of a square of `size` rows. */
static inline void multiply_below(
    float *to, int64_t to_row, factor a, const float *b, int64_t b_row, int64_t size, int64_t count
) {
    for (int64_t row = 0; row < size; row += LANES) {
        int64_t rows = size - row < LANES ? size - row : LANES;
        factor at = {a.from + row * a.row, a.row, a.step};
        multiply_full(to + row * to_row, to_row, at, b, b_row, rows, row + LANES, count, 0);
    }
}

/* Transpose a square of as many rows as there are lanes, in registers. */
INLINE void transpose_square(lanes square[LANES]) {
    UNROLL for (int32_t step = 1; step < LANES; step *= 2) {
        integers low, high;
        UNROLL for (int32_t lane = 0; lane < LANES; lane++) {
            low[lane] = lane & step ? LANES + lane - step : lane;
            high[lane] = lane & step ? LANES + lane : lane + step;
        }
        UNROLL for (int32_t i = 0; i < LANES; i++) {
            if (i & step) continue;
            lanes above = square[i], below = square[i + step];
            square[i] = __builtin_shuffle(above, below, low);
            square[i + step] = __builtin_shuffle(above, below, high);
        }
    }
}

/* Return the sums over the lanes of each of as many vectors as there are lanes. */
INLINE lanes totals(lanes each[LANES]) {
    int64_t count = LANES;
    UNROLL for (int32_t step = 1; step < LANES; step *= 2) {
        integers low, high;
        UNROLL for (int32_t lane = 0; lane < LANES; lane++) {
            low[lane] = lane & step ? LANES + lane - step : lane;
            high[lane] = lane & step ? LANES + lane : lane + step;
        }
        count /= 2;
        UNROLL for (int32_t i = 0; i < LANES; i++) {
            if (i >= count) continue;
            lanes one = each[2 * i], other = each[2 * i + 1];
            each[i] = __builtin_shuffle(one, other, low) + __builtin_shuffle(one, other, high);
        }
    }
    return each[0];
}

/* to[j][i] = from[i][j] for `rows` rows and `columns` columns of `from`, and nothing beyond. */
static inline void transpose(
    float *to, int64_t to_row, const float *from, int64_t from_row, int64_t rows, int64_t columns
) {
    for (int64_t i = 0; i < rows; i += LANES) {
        for (int64_t j = 0; j < columns; j += LANES) {
            lanes square[LANES];
            UNROLL for (int64_t k = 0; k < LANES; k++)
                square[k] = i + k < rows ? load(from + (i + k) * from_row + j, columns - j) : fill(0);
            transpose_square(square);
            UNROLL for (int64_t k = 0; k < LANES; k++)
                if (j + k < columns) store(to + (j + k) * to_row + i, square[k], rows - i);
        }
    }
}

#endif
