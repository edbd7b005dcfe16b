/* Gated linear attention, S_t = diag(exp(g_t)) S_{t-1} + k_t v_t' and o_t = S_t' q_t, forward and
 * backward.
 *
 * Keys are lanes: the state of a block of keys is a vector for each value. A task is one head of one
 * row; it walks through time chunk by chunk, and within a chunk through its blocks of keys. The
 * forward pass keeps the state before each chunk; the backward pass recomputes the chunk's states
 * from there.
 *
 * Layouts (floats; the last axis is contiguous): query, key, log_decay [batch, length, head, key];
 * value, outputs [batch, length, head, value]; last [batch, head, key, value]; starts [batch, chunk,
 * head, value, key]. Gradients have the layout of what they are of.
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "tokens.h"

#define CHUNK 64

typedef struct {
    int64_t row, time, head;
} strides;

typedef struct {
    const float *query, *key, *value, *log_decay, *grad_outputs;
    const uint8_t *tokens;
    float *outputs, *last, *starts;
    float *grad_query, *grad_key, *grad_value, *grad_decay;
    strides of_query, of_key, of_value, of_decay, of_grad;
    int64_t batch, length, heads, keys, values;
} attention;

/* Some neighboring keys of one head of one row. */
typedef struct {
    int64_t row, head, first, count;
} block;

INLINE const float *at(const float *from, strides s, block b, int64_t t) {
    return from + b.row * s.row + t * s.time + b.head * s.head;
}

/* Return where a contiguous tensor [batch, length, head, size] has this head at time t. */
INLINE float *place(const attention *a, float *to, block b, int64_t t, int64_t size) {
    return to + ((b.row * a->length + t) * a->heads + b.head) * size;
}

INLINE lanes keys_at(const float *from, strides s, block b, int64_t t) {
    return load(at(from, s, b, t) + b.first, b.count);
}

INLINE float *start_of(const attention *a, block b, int64_t begin) {
    int64_t chunks = (a->length + CHUNK - 1) / CHUNK;
    int64_t number = (b.row * chunks + begin / CHUNK) * a->heads + b.head;
    return a->starts + number * a->values * a->keys + b.first;
}

INLINE float *last_of(const attention *a, block b) {
    return a->last + ((b.row * a->heads + b.head) * a->keys + b.first) * a->values;
}

static void load_last(const attention *a, block b, lanes *state) {
    const float *last = last_of(a, b);
    for (int64_t v = 0; v < a->values; v++) {
        state[v] = fill(0);
        for (int64_t k = 0; k < b.count; k++) state[v][k] = last[k * a->values + v];
    }
}

static void store_last(const attention *a, block b, const lanes *state) {
    float *last = last_of(a, b);
    for (int64_t v = 0; v < a->values; v++)
        for (int64_t k = 0; k < b.count; k++) last[k * a->values + v] = state[v][k];
}

static void clear(lanes *state, int64_t count) {
    memset(state, 0, count * sizeof *state);
}

static void forward_block(const attention *a, block b, int64_t begin, int64_t end, lanes *state) {
    int64_t values = a->values;
    if (a->starts)
        for (int64_t v = 0; v < values; v++) store(start_of(a, b, begin) + v * a->keys, state[v], b.count);
    for (int64_t t = begin; t < end; t++) {
        float *output = place(a, a->outputs, b, t, values);
        int token = token_at(a->tokens, a->length, b.row, t);
        if (b.first == 0) memset(output, 0, values * sizeof *output);
        if (token == PADDING) continue;
        if (token == STARTS) clear(state, values);
        lanes decay = exponential(keys_at(a->log_decay, a->of_decay, b, t));
        lanes key = keys_at(a->key, a->of_key, b, t), query = keys_at(a->query, a->of_query, b, t);
        const float *value = at(a->value, a->of_value, b, t);
        for (int64_t v = 0; v < values; v++) {
            state[v] = decay * state[v] + key * value[v];
            output[v] += total(query * state[v]);
        }
    }
}

static void backward_block(
    const attention *a, block b, int64_t begin, int64_t end, lanes *grad, lanes *before
) {
    int64_t values = a->values;
    const float *start = start_of(a, b, begin);
    for (int64_t v = 0; v < values; v++) before[v] = load(start + v * a->keys, b.count);
    for (int64_t t = begin; t < end; t++) {
        lanes *now = before + (t - begin) * values, *next = now + values;
        int token = token_at(a->tokens, a->length, b.row, t);
        if (token == STARTS) clear(now, values);
        if (token == PADDING) {
            memcpy(next, now, values * sizeof *now);
            continue;
        }
        lanes decay = exponential(keys_at(a->log_decay, a->of_decay, b, t));
        lanes key = keys_at(a->key, a->of_key, b, t);
        const float *value = at(a->value, a->of_value, b, t);
        for (int64_t v = 0; v < values; v++) next[v] = decay * now[v] + key * value[v];
    }
    for (int64_t t = end - 1; t >= begin; t--) {
        float *grad_value = place(a, a->grad_value, b, t, values);
        lanes *now = before + (t - begin) * values, of_query = fill(0), of_key = fill(0), of_decay = fill(0);
        int token = token_at(a->tokens, a->length, b.row, t);
        if (b.first == 0) memset(grad_value, 0, values * sizeof *grad_value);
        if (token != PADDING) {
            lanes decay = exponential(keys_at(a->log_decay, a->of_decay, b, t));
            lanes key = keys_at(a->key, a->of_key, b, t), query = keys_at(a->query, a->of_query, b, t);
            const float *value = at(a->value, a->of_value, b, t), *out = at(a->grad_outputs, a->of_grad, b, t);
            for (int64_t v = 0; v < values; v++) {
                of_query += (decay * now[v] + key * value[v]) * out[v];
                grad[v] += query * out[v];
                grad_value[v] += total(grad[v] * key);
                of_key += grad[v] * value[v];
                grad[v] *= decay;
                of_decay += grad[v] * now[v];
            }
            if (token == STARTS) clear(grad, values);
        }
        store(place(a, a->grad_query, b, t, a->keys) + b.first, of_query, b.count);
        store(place(a, a->grad_key, b, t, a->keys) + b.first, of_key, b.count);
        store(place(a, a->grad_decay, b, t, a->keys) + b.first, of_decay, b.count);
    }
}

static block block_of(const attention *a, int64_t task, int64_t first) {
    int64_t left = a->keys - first;
    return (block){task / a->heads, task % a->heads, first, left < LANES ? left : LANES};
}

static void *aligned(int64_t count) {
    return aligned_alloc(sizeof(lanes), (count + 1) * sizeof(lanes));
}

static void forward_task(const void *arguments, int64_t task) {
    const attention *a = arguments;
    lanes *state = aligned(a->values);
    for (int64_t first = 0; first < a->keys; first += LANES) {
        block b = block_of(a, task, first);
        load_last(a, b, state);
        for (int64_t begin = 0; begin < a->length; begin += CHUNK) {
            int64_t end = begin + CHUNK < a->length ? begin + CHUNK : a->length;
            forward_block(a, b, begin, end, state);
        }
        store_last(a, b, state);
    }
    free(state);
}

static void backward_task(const void *arguments, int64_t task) {
    const attention *a = arguments;
    lanes *grad = aligned(a->values), *before = aligned((CHUNK + 1) * a->values);
    for (int64_t first = 0; first < a->keys; first += LANES) {
        block b = block_of(a, task, first);
        load_last(a, b, grad);
        for (int64_t begin = (a->length - 1) / CHUNK * CHUNK; begin >= 0 && a->length; begin -= CHUNK) {
            int64_t end = begin + CHUNK < a->length ? begin + CHUNK : a->length;
            backward_block(a, b, begin, end, grad, before);
        }
        store_last(a, b, grad);
    }
    free(grad);
    free(before);
}

/* last holds the initial states and becomes the last ones; starts may be null: none is kept. */
void gated_linear_attention_forward(
    const float *query, const float *key, const float *value, const float *log_decay,
    const uint8_t *tokens, float *outputs, float *last, float *starts,
    int64_t query_row, int64_t query_time, int64_t query_head,
    int64_t key_row, int64_t key_time, int64_t key_head,
    int64_t value_row, int64_t value_time, int64_t value_head,
    int64_t decay_row, int64_t decay_time, int64_t decay_head,
    int64_t batch, int64_t length, int64_t heads, int64_t keys, int64_t values, int64_t threads
) {
    attention a = {
        .query = query, .key = key, .value = value, .log_decay = log_decay, .tokens = tokens,
        .outputs = outputs, .last = last, .starts = starts,
        .of_query = {query_row, query_time, query_head}, .of_key = {key_row, key_time, key_head},
        .of_value = {value_row, value_time, value_head}, .of_decay = {decay_row, decay_time, decay_head},
        .batch = batch, .length = length, .heads = heads, .keys = keys, .values = values,
    };
    run_tasks(forward_task, &a, batch * heads, threads);
}

/* grad_last holds the gradients of the last states and becomes those of the initial ones. */
void gated_linear_attention_backward(
    const float *query, const float *key, const float *value, const float *log_decay,
    const uint8_t *tokens, const float *starts, const float *grad_outputs,
    float *grad_query, float *grad_key, float *grad_value, float *grad_decay, float *grad_last,
    int64_t query_row, int64_t query_time, int64_t query_head,
    int64_t key_row, int64_t key_time, int64_t key_head,
    int64_t value_row, int64_t value_time, int64_t value_head,
    int64_t decay_row, int64_t decay_time, int64_t decay_head,
    int64_t grad_row, int64_t grad_time, int64_t grad_head,
    int64_t batch, int64_t length, int64_t heads, int64_t keys, int64_t values, int64_t threads
) {
    attention a = {
        .query = query, .key = key, .value = value, .log_decay = log_decay, .tokens = tokens,
        .grad_outputs = grad_outputs, .last = grad_last, .starts = (float *)starts,
        .grad_query = grad_query, .grad_key = grad_key, .grad_value = grad_value, .grad_decay = grad_decay,
        .of_query = {query_row, query_time, query_head}, .of_key = {key_row, key_time, key_head},
        .of_value = {value_row, value_time, value_head}, .of_decay = {decay_row, decay_time, decay_head},
        .of_grad = {grad_row, grad_time, grad_head},
        .batch = batch, .length = length, .heads = heads, .keys = keys, .values = values,
    };
    run_tasks(backward_task, &a, batch * heads, threads);
}
