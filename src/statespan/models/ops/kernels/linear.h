/* Products of matrices as they lie in memory, of any size and without padding.
 *
 *   to[i][j] (+)= sum_k a(i, k) b[k][j]      a(i, k) = a[i * a_row + k * a_step]
 *
 * Columns are lanes. A tile of `to` stays in registers over a run of k, in order, so that a panel
 * of b stays in the first cache: the layers of small models have no larger matrices.
 */
#ifndef STATESPAN_LINEAR_H
#define STATESPAN_LINEAR_H

#include "lanes.h"
#include "parallel.h"
#include "products.h"

/* Fewer tokens than these are not worth a transposed matrix. */
#define FEW_TOKENS 8
#define RUN 128
#define TALL 6

typedef struct {
    float *to;
    int64_t to_row;
    factor a;
    const float *b;
    int64_t b_row, rows, columns, count;
    int accumulate;
    int64_t parts;
} product;

/* `left` is how many columns the last of the `wide` vectors has. */
INLINE void product_tile(
    const product *p, int64_t i, int64_t j, int64_t begin, int64_t end,
    int64_t tall, int64_t wide, int64_t left
) {
    lanes sums[TALL][WIDE] = {0};
    float *to = p->to + i * p->to_row + j;
    const float *a = p->a.from + i * p->a.row, *b = p->b + j;
    if (p->accumulate || begin > 0)
        UNROLL for (int64_t r = 0; r < tall; r++)
            UNROLL for (int64_t v = 0; v < wide; v++)
                sums[r][v] = load(to + r * p->to_row + v * LANES, v + 1 < wide ? LANES : left);
    for (int64_t k = begin; k < end; k++) {
        lanes column[WIDE];
        UNROLL for (int64_t v = 0; v < wide; v++)
            column[v] = load(b + k * p->b_row + v * LANES, v + 1 < wide ? LANES : left);
        UNROLL for (int64_t r = 0; r < tall; r++) {
            lanes weight = fill(a[r * p->a.row + k * p->a.step]);
            UNROLL for (int64_t v = 0; v < wide; v++) sums[r][v] += weight * column[v];
        }
    }
    UNROLL for (int64_t r = 0; r < tall; r++)
        UNROLL for (int64_t v = 0; v < wide; v++)
            store(to + r * p->to_row + v * LANES, sums[r][v], v + 1 < wide ? LANES : left);
}

INLINE void product_columns(
    const product *p, int64_t first, int64_t stop, int64_t j, int64_t begin, int64_t end,
    int64_t wide, int64_t left
) {
    int64_t i = first;
    for (; i + TALL <= stop; i += TALL) product_tile(p, i, j, begin, end, TALL, wide, left);
    for (; i < stop; i++) product_tile(p, i, j, begin, end, 1, wide, left);
}

static inline void product_rows(const void *arguments, int64_t part) {
    const product *p = arguments;
    int64_t first = p->rows * part / p->parts, stop = p->rows * (part + 1) / p->parts;
    for (int64_t begin = 0; begin < p->count; begin += RUN) {
        int64_t end = begin + RUN < p->count ? begin + RUN : p->count, j = 0;
        for (; j + WIDE * LANES <= p->columns; j += WIDE * LANES)
            product_columns(p, first, stop, j, begin, end, WIDE, LANES);
        for (; j + LANES <= p->columns; j += LANES)
            product_columns(p, first, stop, j, begin, end, 1, LANES);
        if (j < p->columns) product_columns(p, first, stop, j, begin, end, 1, p->columns - j);
    }
}

static inline void compute_product(product p, int64_t threads) {
    p.parts = threads;
    run_tasks(product_rows, &p, p.parts, threads);
}

/* Return the dot product of two rows. */
INLINE float row_product(const float *a, const float *b, int64_t count) {
    lanes zero = {0}, sums[4] = {zero, zero, zero, zero};
    int64_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
        for (int k = 0; k < 4; k++)
            sums[k] += load(a + i + k * LANES, LANES) * load(b + i + k * LANES, LANES);
    for (; i < count; i += LANES) sums[0] += load(a + i, count - i) * load(b + i, count - i);
    return total((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

#endif
