/* Attention of queries to blocks of keys, each decision's own, merged into what they saw before.
 *
 * A decision is of `stride` tokens in a row, from `first` on, and has `choices` blocks, -1 for none.
 * A lane is the heads of the queries that read the same blocks; it belongs to one head of the keys.
 * A query sees the keys of its blocks but for the `local` ones up to and with itself.
 *
 * Layouts: query [batch, head, length, dim], key [batch, kv_head, length, dim], value and the
 * gradient of the output likewise, their last axes contiguous; index [batch, decider, decision,
 * choice]; out [batch, head, length, value_dim] and lse [batch, head, length], contiguous. They are
 * floats or, but for lse, bfloat16. The gradients are floats, contiguous; keys and values have
 * `rows` tokens there. The first part of the decisions adds to the gradients of keys and values, each
 * further one to `extra`, where it is alone.
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "products.h"

#define STRIP 4

typedef struct {
    int64_t batch, head, token;
} strides;

typedef struct {
    int64_t batch, heads, kv_heads, deciders, decisions, choices, block, stride, first, length, rows;
    int64_t local, dim, value_dim, bfloat, parts, scaling_bits;
    strides query, key, value, grad;
} sizes;

typedef struct {
    sizes s;
    int64_t lanes, slices;
    float scaling;
    const char *query, *key, *value, *grad;
    const int32_t *index;
    char *out;
    float *lse, *grad_query, *grad_key, *grad_value, *extra_key, *extra_value;
} attention;

/* What a task works in: vectors of one query, and rows of a block where those are not floats. */
typedef struct {
    float *query, *grad, *out, *keys, *values, *weights;
    int64_t *blocks, *counts;
} room;

typedef struct {
    int64_t batch, head, kv_head, token;
} place;

INLINE lanes widen(const uint16_t *from, int64_t count) {
    integers bits = {0};
    for (int64_t lane = 0; lane < LANES; lane++)
        if (lane < count) bits[lane] = (int32_t)((uint32_t)from[lane] << 16);
    return (lanes)bits;
}

/* Round to the nearest, ties to even; a NaN stays one. */
static uint16_t narrowed(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    if (number != number) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void read_row(float *to, const char *from, int64_t width, int64_t bfloat) {
    for (int64_t j = 0; j < width; j += LANES) {
        const float *floats = (const float *)from + j;
        lanes row = bfloat ? widen((const uint16_t *)from + j, width - j) : load(floats, width - j);
        store(to + j, row, width - j);
    }
}

static void write_row(char *to, const float *from, int64_t width, int64_t bfloat) {
    if (!bfloat) memcpy(to, from, width * sizeof *from);
    for (int64_t j = 0; bfloat && j < width; j++) ((uint16_t *)to)[j] = narrowed(from[j]);
}

INLINE int64_t number_bytes(const sizes *s) {
    return s->bfloat ? sizeof(uint16_t) : sizeof(float);
}

INLINE const char *row_of(const char *from, strides by, const sizes *s, int64_t batch, int64_t head, int64_t token) {
    return from + (batch * by.batch + head * by.head + token * by.token) * number_bytes(s);
}

/* Return the rows of a block as floats, and how far they are apart. */
INLINE const float *block_rows(
    const char *from, strides by, const sizes *s, place at, int64_t block, int64_t width, float *memory,
    int64_t *apart
) {
    const char *rows = row_of(from, by, s, at.batch, at.kv_head, block * s->block);
    *apart = s->bfloat ? width : by.token;
    if (!s->bfloat) return (const float *)rows;
    for (int64_t r = 0; r < s->block; r++)
        read_row(memory + r * width, rows + r * by.token * number_bytes(s), width, 1);
    return memory;
}

INLINE void add_products(
    lanes sums[LANES], const float *vector, const float *rows, int64_t apart, int64_t there, int64_t left
) {
    lanes column = load(vector, left);
    UNROLL for (int64_t r = 0; r < LANES; r++)
        sums[r] += column * load(rows + (r < there ? r : 0) * apart, left);
}

/* Return the products of a vector with `there` rows, up to as many as there are lanes. */
INLINE lanes products_with(
    const float *vector, const float *rows, int64_t apart, int64_t there, int64_t width
) {
    lanes sums[LANES] = {0};
    int64_t j = 0;
    if (there >= LANES)
        for (; j + LANES <= width; j += LANES) add_products(sums, vector + j, rows + j, apart, LANES, LANES);
    for (; j < width; j += LANES) add_products(sums, vector + j, rows + j, apart, there, width - j);
    return totals(sums);
}

/* Add to `sums` the rows, weighted. */
INLINE void add_weighted(
    lanes sums[STRIP], const float *weights, const float *rows, int64_t apart, int64_t count,
    int64_t wide, int64_t left
) {
    for (int64_t r = 0; r < count; r++) {
        lanes weight = fill(weights[r]);
        UNROLL for (int64_t v = 0; v < wide; v++)
            sums[v] += weight * load(rows + r * apart + v * LANES, v + 1 < wide ? LANES : left);
    }
}

/* List the blocks of a decision and how many keys of each a query sees; return the keys of all. */
static int64_t seen_blocks(const attention *a, room m, const int32_t *chosen, int64_t token, int64_t *number) {
    const sizes *s = &a->s;
    int64_t stop = token + 1 - (s->local > 1 ? s->local : 1), keys = 0;
    *number = 0;
    for (int64_t c = 0; c < s->choices; c++) {
        int64_t left = stop - chosen[c] * s->block;
        if (chosen[c] < 0 || left <= 0) continue;
        m.blocks[*number] = chosen[c];
        m.counts[*number] = left < s->block ? left : s->block;
        keys += m.counts[(*number)++];
    }
    return keys;
}

static float largest_of(const float *numbers, int64_t count) {
    lanes most = fill(-INFINITY);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes next = load(numbers + i, LANES);
        most = choose(next > most, next, most);
    }
    float found = -INFINITY;
    for (int64_t lane = 0; lane < LANES; lane++) found = most[lane] > found ? most[lane] : found;
    for (; i < count; i++) found = numbers[i] > found ? numbers[i] : found;
    return found;
}

/* Put exp(numbers - most) in their place and return the sum. */
static float exponentials(float *numbers, float most, int64_t count) {
    lanes sum = {0};
    for (int64_t i = 0; i < count; i += LANES) {
        lanes value = exponential(load(numbers + i, count - i) - most);
        store(numbers + i, value, count - i);
        sum += load(numbers + i, count - i); /* without what pads them */
    }
    return total(sum);
}

INLINE void add_strip(const attention *a, room m, place at, int64_t number, int64_t j, int64_t wide, int64_t left) {
    lanes sums[STRIP] = {0};
    const float *weights = m.weights;
    for (int64_t b = 0; b < number; b++) {
        int64_t apart;
        const float *rows = block_rows(
            a->value, a->s.value, &a->s, at, m.blocks[b], a->s.value_dim, m.values, &apart
        );
        add_weighted(sums, weights, rows + j, apart, m.counts[b], wide, left);
        weights += m.counts[b];
    }
    UNROLL for (int64_t v = 0; v < wide; v++) store(m.grad + j + v * LANES, sums[v], v + 1 < wide ? LANES : left);
}

/* Put the sum of the values, weighted, into the room of the gradient. */
static void sum_values(const attention *a, room m, place at, int64_t number) {
    int64_t width = a->s.value_dim, j = 0;
    for (; j + STRIP * LANES <= width; j += STRIP * LANES) add_strip(a, m, at, number, j, STRIP, LANES);
    for (; j < width; j += LANES) add_strip(a, m, at, number, j, 1, width - j);
}

static void read_query(const attention *a, room m, place at) {
    read_row(m.query, row_of(a->query, a->s.query, &a->s, at.batch, at.head, at.token), a->s.dim, a->s.bfloat);
    for (int64_t j = 0; j < a->s.dim; j++) m.query[j] *= a->scaling;
}

static void forward_query(const attention *a, room m, place at, const int32_t *chosen) {
    const sizes *s = &a->s;
    int64_t number, keys = seen_blocks(a, m, chosen, at.token, &number), apart;
    if (keys == 0) return;
    read_query(a, m, at);
    float *logits = m.weights;
    for (int64_t b = 0; b < number; b++) {
        const float *rows = block_rows(a->key, s->key, s, at, m.blocks[b], s->dim, m.keys, &apart);
        for (int64_t r = 0; r < m.counts[b]; r += LANES) {
            int64_t there = m.counts[b] - r;
            store(logits + r, products_with(m.query, rows + r * apart, apart, there, s->dim), there);
        }
        logits += m.counts[b];
    }
    float most = largest_of(m.weights, keys);
    if (most == -INFINITY) return;
    float sum = exponentials(m.weights, most, keys);
    sum_values(a, m, at, number);
    int64_t row = (at.batch * s->heads + at.head) * s->length + at.token;
    float *lse = a->lse + row, more = most + logf(sum);
    float high = more > *lse ? more : *lse, low = more > *lse ? *lse : more;
    float merged = high + log1pf(expf(low - high));
    float before = expf(*lse - merged), weight = expf(more - merged) / sum;
    char *out = a->out + row * s->value_dim * number_bytes(s);
    read_row(m.out, out, s->value_dim, s->bfloat);
    for (int64_t j = 0; j < s->value_dim; j++) m.out[j] = before * m.out[j] + weight * m.grad[j];
    write_row(out, m.out, s->value_dim, s->bfloat);
    *lse = merged;
}

/* The rows of a tile add to the gradient of the query, and the query to theirs. */
INLINE void exchange(
    float *to, float *to_rows, const float *from, const float *rows, int64_t apart, const float *weights,
    int64_t there, int64_t width
) {
    for (int64_t j = 0; j < width; j += LANES) {
        int64_t left = width - j;
        lanes vector = load(from + j, left), sum = load(to + j, left);
        for (int64_t r = 0; r < there; r++) {
            float *row = to_rows + r * width + j;
            sum += weights[r] * load(rows + r * apart + j, left);
            store(row, load(row, left) + weights[r] * vector, left);
        }
        store(to + j, sum, left);
    }
}

INLINE void give(
    float *to_rows, const float *from, const float *weights, int64_t there, int64_t width
) {
    for (int64_t j = 0; j < width; j += LANES) {
        lanes vector = load(from + j, width - j);
        for (int64_t r = 0; r < there; r++) {
            float *row = to_rows + r * width + j;
            store(row, load(row, width - j) + weights[r] * vector, width - j);
        }
    }
}

static void backward_query(
    const attention *a, room m, place at, const int32_t *chosen, float *grad_key, float *grad_value
) {
    const sizes *s = &a->s;
    int64_t number;
    if (seen_blocks(a, m, chosen, at.token, &number) == 0) return;
    read_query(a, m, at);
    int64_t row = (at.batch * s->heads + at.head) * s->length + at.token;
    read_row(m.grad, row_of(a->grad, s->grad, s, at.batch, at.head, at.token), s->value_dim, s->bfloat);
    read_row(m.out, a->out + row * s->value_dim * number_bytes(s), s->value_dim, s->bfloat);
    float delta = 0, *of_query = m.out, change[LANES], weight[LANES];
    for (int64_t j = 0; j < s->value_dim; j++) delta += m.grad[j] * m.out[j];
    memset(of_query, 0, s->dim * sizeof *of_query);
    for (int64_t b = 0; b < number; b++) {
        int64_t key_apart, value_apart, begin = m.blocks[b] * s->block;
        const float *keys = block_rows(a->key, s->key, s, at, m.blocks[b], s->dim, m.keys, &key_apart);
        const float *values =
            block_rows(a->value, s->value, s, at, m.blocks[b], s->value_dim, m.values, &value_apart);
        for (int64_t r = 0; r < m.counts[b]; r += LANES) {
            int64_t there = m.counts[b] - r < LANES ? m.counts[b] - r : LANES;
            const float *key = keys + r * key_apart, *value = values + r * value_apart;
            lanes logits = products_with(m.query, key, key_apart, there, s->dim);
            lanes changes = products_with(m.grad, value, value_apart, there, s->value_dim);
            lanes weights = exponential(logits - a->lse[row]);
            store(weight, weights, LANES);
            store(change, weights * (changes - delta), LANES);
            exchange(of_query, grad_key + (begin + r) * s->dim, m.query, key, key_apart, change, there, s->dim);
            give(grad_value + (begin + r) * s->value_dim, m.grad, weight, there, s->value_dim);
        }
    }
    float *to = a->grad_query + row * s->dim;
    for (int64_t j = 0; j < s->dim; j++) to[j] += a->scaling * of_query[j];
}

static room make_room(const sizes *s) {
    int64_t widest = round_up(s->dim > s->value_dim ? s->dim : s->value_dim, LANES);
    int64_t rows = s->bfloat ? s->block * (s->dim + s->value_dim) : 0;
    int64_t floats = 3 * widest + rows + s->choices * s->block + LANES;
    int64_t *whole = malloc(2 * s->choices * sizeof *whole + floats * sizeof(float));
    float *query = (float *)(whole + 2 * s->choices);
    float *keys = query + 3 * widest, *values = keys + (s->bfloat ? s->block * s->dim : 0);
    return (room){
        .blocks = whole, .counts = whole + s->choices, .query = query, .grad = query + widest,
        .out = query + 2 * widest, .keys = keys, .values = values, .weights = keys + rows,
    };
}

/* Run over the queries of some decisions of a lane; `grad_key` is null on the way forward. */
static void run_lane(
    const attention *a, int64_t batch, int64_t lane, int64_t begin, int64_t end, float *grad_key, float *grad_value
) {
    const sizes *s = &a->s;
    int64_t members = s->heads / a->lanes, decider = lane * s->deciders / a->lanes;
    room m = make_room(s);
    for (int64_t d = begin; d < end; d++) {
        const int32_t *chosen = a->index + ((batch * s->deciders + decider) * s->decisions + d) * s->choices;
        int64_t first = s->first + d * s->stride, last = first + s->stride;
        if (last > s->length) last = s->length;
        for (int64_t token = first; token < last; token++) {
            for (int64_t head = lane * members; head < (lane + 1) * members; head++) {
                place at = {batch, head, lane * s->kv_heads / a->lanes, token};
                if (grad_key) backward_query(a, m, at, chosen, grad_key, grad_value);
                else forward_query(a, m, at, chosen);
            }
        }
    }
    free(m.blocks);
}

static void forward_task(const void *arguments, int64_t task) {
    const attention *a = arguments;
    int64_t row = task / a->slices, slice = task % a->slices, decisions = a->s.decisions;
    run_lane(
        a, row / a->lanes, row % a->lanes, decisions * slice / a->slices, decisions * (slice + 1) / a->slices, 0, 0
    );
}

/* A head of keys and values, and a part of the decisions: nobody else adds to their gradients. */
static void backward_task(const void *arguments, int64_t task) {
    const attention *a = arguments;
    const sizes *s = &a->s;
    int64_t row = task / s->parts, part = task % s->parts, each = a->lanes / s->kv_heads;
    int64_t batch = row / s->kv_heads, kv_head = row % s->kv_heads;
    int64_t all = s->batch * s->kv_heads * s->rows, at = row * s->rows;
    float *keys = part ? a->extra_key + ((part - 1) * all + at) * s->dim : a->grad_key + at * s->dim;
    float *values =
        part ? a->extra_value + ((part - 1) * all + at) * s->value_dim : a->grad_value + at * s->value_dim;
    for (int64_t lane = kv_head * each; lane < (kv_head + 1) * each; lane++)
        run_lane(a, batch, lane, s->decisions * part / s->parts, s->decisions * (part + 1) / s->parts, keys, values);
}

static attention make_attention(
    const void *query, const void *key, const void *value, const int32_t *index, void *out, float *lse,
    const sizes *s
) {
    attention a = {.s = *s, .query = query, .key = key, .value = value, .index = index, .out = out, .lse = lse};
    int32_t bits = (int32_t)s->scaling_bits;
    memcpy(&a.scaling, &bits, sizeof bits);
    a.lanes = s->deciders > s->kv_heads ? s->deciders : s->kv_heads;
    return a;
}

void block_attention_forward(
    const void *query, const void *key, const void *value, const int32_t *index, void *out, float *lse,
    const sizes *s, int64_t threads
) {
    attention a = make_attention(query, key, value, index, out, lse, s);
    int64_t rows = s->batch * a.lanes;
    a.slices = rows >= 4 * threads ? 1 : 4 * threads;
    if (a.slices > s->decisions) a.slices = s->decisions;
    run_tasks(forward_task, &a, rows * a.slices, threads);
}

void block_attention_backward(
    const void *query, const void *key, const void *value, const int32_t *index, void *out, float *lse,
    const void *grad, float *grad_query, float *grad_key, float *grad_value, float *extra_key,
    float *extra_value, const sizes *s, int64_t threads
) {
    attention a = make_attention(query, key, value, index, out, lse, s);
    a.grad = grad;
    a.grad_query = grad_query;
    a.grad_key = grad_key;
    a.grad_value = grad_value;
    a.extra_key = extra_key;
    a.extra_value = extra_value;
    run_tasks(backward_task, &a, s->batch * s->kv_heads * s->parts, threads);
}
