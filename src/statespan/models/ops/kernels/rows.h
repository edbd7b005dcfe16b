/* Rows of numbers, padded to whole vectors: one for each token of a chunk. */
#ifndef STATESPAN_ROWS_H
#define STATESPAN_ROWS_H

#include "chunks.h"
#include "lanes.h"
#include "products.h"

static float *take(float **memory, int64_t rows, int64_t columns) {
    float *taken = *memory;
    *memory += rows * columns;
    return taken;
}

/* Gather the rows of the chunk's tokens; what pads them stays 0. */
static void gather(
    float *to, int64_t to_row, const float *from, int64_t from_time, chunk c, int64_t size
) {
    for (int64_t i = 0; i < c.count; i++)
        memcpy(to + i * to_row, from + c.times[i] * from_time, size * sizeof(float));
}

/* The other way: what pads the rows is left out. */
static void scatter(
    float *to, int64_t to_time, const float *from, int64_t from_row, chunk c, int64_t size
) {
    for (int64_t i = 0; i < c.count; i++)
        memcpy(to + c.times[i] * to_time, from + i * from_row, size * sizeof(float));
}

/* to[i] = weights[i] from[i] for the rows of the chunk. */
static void scale_rows(
    float *to, const float *from, const float *weights, int64_t rows, int64_t columns
) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j += LANES)
            store(to + i * columns + j, load(from + i * columns + j, LANES) * weights[i], LANES);
}

static void scale(float *all, float weight, int64_t size) {
    for (int64_t i = 0; i < size; i += LANES) store(all + i, load(all + i, LANES) * weight, LANES);
}

/* Four sums at once: faster and more precise than one. */
INLINE float dot(const float *a, const float *b, int64_t size) {
    lanes sums[4] = {0};
    int64_t i = 0;
    for (; i + 4 * LANES <= size; i += 4 * LANES)
        UNROLL for (int64_t j = 0; j < 4; j++)
            sums[j] += load(a + i + j * LANES, LANES) * load(b + i + j * LANES, LANES);
    for (; i < size; i += LANES) sums[0] += load(a + i, LANES) * load(b + i, LANES);
    return total((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

INLINE void add_scaled(float *to, const float *from, float weight, int64_t size) {
    for (int64_t i = 0; i < size; i += LANES)
        store(to + i, load(to + i, LANES) + load(from + i, LANES) * weight, LANES);
}

#endif
