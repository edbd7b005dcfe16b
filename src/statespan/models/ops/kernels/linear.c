/* Products of large matrices, of any strides: the three of a linear layer and its backward pass.
 *
 * As in linear.h, but panels of b are packed first, so that neither its size nor its layout
 * costs more than a copy; and so are the rows of `a` if they lie across memory. A task is some of
 * the rows of `to`.
 */
#include <stdlib.h>

#include "linear.h"

#define PANEL (WIDE * LANES)

typedef struct {
    float *to;
    factor a, b; /* b(k, j) = b[k * row + j * step]; of row and step one is 1, in `a` as well */
    int64_t rows, columns, count, parts;
} matrices;

/* panel[k][j] = b(begin + k, first + j) */
static void pack_panel(
    float *panel, factor b, int64_t begin, int64_t count, int64_t first, int64_t columns
) {
    const float *from = b.from + begin * b.row + first * b.step;
    if (b.step != 1) {
        transpose(panel, PANEL, from, b.step, columns, count);
        return;
    }
    for (int64_t k = 0; k < count; k++)
        memcpy(panel + k * PANEL, from + k * b.row, columns * sizeof *panel);
}

/* packed[i / TALL][k][i % TALL] = a(first + i, begin + k) */
static void pack_rows(
    float *packed, factor a, int64_t begin, int64_t count, int64_t first, int64_t rows
) {
    for (int64_t i = 0; i < rows; i += TALL) {
        int64_t tall = rows - i < TALL ? rows - i : TALL;
        const float *from = a.from + first + i + begin * a.step;
        for (int64_t k = 0; k < count; k++, from += a.step, packed += TALL)
            memcpy(packed, from, tall * sizeof *packed);
    }
}

/* The rows from `first` to before `stop` times a packed panel of `columns` columns from j on. */
static void multiply_panel(
    const matrices *m, const float *packed, const float *panel, int64_t first, int64_t stop,
    int64_t j, int64_t columns, int64_t begin, int64_t count
) {
    for (int64_t i = first; i < stop; i += TALL) {
        product p = {
            .to = m->to + i * m->columns + j, .to_row = m->columns, .b = panel, .b_row = PANEL,
            .a = {m->a.from + i * m->a.row + begin, m->a.row, 1},
            .accumulate = begin > 0,
        };
        if (packed) p.a = (factor){packed + (i - first) * count, 1, TALL};
        int64_t rows = stop - i < TALL ? stop - i : TALL;
        if (columns == PANEL) {
            product_columns(&p, 0, rows, 0, 0, count, WIDE, LANES);
            continue;
        }
        for (int64_t v = 0; v < columns; v += LANES)
            product_columns(&p, 0, rows, v, 0, count, 1, columns - v < LANES ? columns - v : LANES);
    }
}

static void multiply_rows(const void *arguments, int64_t part) {
    const matrices *m = arguments;
    int64_t first = m->rows * part / m->parts, stop = m->rows * (part + 1) / m->parts;
    int64_t packed_size = m->a.step == 1 ? 0 : round_up(stop - first, TALL) * RUN;
    float *panel = aligned_alloc(64, (RUN * PANEL + round_up(packed_size, LANES)) * sizeof *panel);
    float *packed = packed_size ? panel + RUN * PANEL : 0;
    for (int64_t begin = 0; begin < m->count; begin += RUN) {
        int64_t count = m->count - begin < RUN ? m->count - begin : RUN;
        if (packed) pack_rows(packed, m->a, begin, count, first, stop - first);
        for (int64_t j = 0; j < m->columns; j += PANEL) {
            int64_t columns = m->columns - j < PANEL ? m->columns - j : PANEL;
            pack_panel(panel, m->b, begin, count, j, columns);
            multiply_panel(m, packed, panel, first, stop, j, columns, begin, count);
        }
    }
    free(panel);
}

/* to = a b, for `to` [rows, columns] without gaps and a sum over `count` terms. */
void matrix_product(
    float *to, const float *a, const float *b, int64_t a_row, int64_t a_step, int64_t b_row, int64_t b_step,
    int64_t rows, int64_t columns, int64_t count, int64_t threads
) {
    matrices m = {
        .to = to, .a = {a, a_row, a_step}, .b = {b, b_row, b_step}, .rows = rows, .columns = columns,
        .count = count, .parts = threads,
    };
    run_tasks(multiply_rows, &m, threads, threads);
}

/* Whether torch's own products are likely slower than these: MKL, which most builds of torch come
 * with, has AVX-512 rest on AMD's processors. */
void prefers_these_products(int64_t *answer) {
#if defined(__AVX512F__)
    *answer = __builtin_cpu_is("amd") != 0;
#else
    *answer = 0;
#endif
}
