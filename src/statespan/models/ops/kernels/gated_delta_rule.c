/* The gated delta rule, forward and backward, chunk by chunk.
 *
 *   S := exp(g_t) S,   S := S + k_t u_t^T with u_t = rate_t (v_t - k_t^T S),   o_t = q_t^T S
 *
 * Within a chunk, S after token t is decay(0, t) S_0 + sum_s decay(s, t) k_s u_s^T; so the changes
 * u solve a triangular system, which is done row by row as the recurrence would do it, and all the
 * rest is small matrix products whose columns are lanes. A task is one head of one row of the
 * batch. The forward pass keeps the state before each chunk; the backward pass recomputes the rest.
 *
 * Layouts (floats; the last axis is contiguous): query, key [batch, length, head, key]; value
 * [batch, length, head, value]; log_decay, rate [batch, length, head]; states
 * [batch, head, key, value]; starts [batch, chunk, head, key, value]. In the workspace rows are
 * padded to whole vectors.
 */
#include "decays.h"
#include "parallel.h"
#include "products.h"
#include "rows.h"

/* As many tokens are worth a step each, with no chunk. */
#define FEW 3

typedef struct {
    const float *query, *key, *value, *log_decay, *rate, *grad_outputs;
    const uint8_t *tokens;
    float *outputs, *last, *starts;
    float *grad_query, *grad_key, *grad_value, *grad_log_decay, *grad_rate, *grad_state;
    int64_t query_row, query_time, query_head, key_row, key_time, key_head;
    int64_t value_row, value_time, value_head;
    int64_t decay_row, decay_time, rate_row, rate_time, grad_row, grad_time, grad_head;
    int64_t batch, length, heads, keys, values;
} rule;

typedef struct {
    int64_t row, head;
    int64_t keys, values; /* padded to whole vectors */
} task;

typedef struct {
    float *query, *key, *grad_query, *grad_key, *seen;                   /* [token, key] */
    float *error, *change, *outputs, *grad_change, *grad_error, *scaled; /* [token, value] */
    float *key_columns, *change_columns;                                 /* transposed [., token] */
    /* [t, s]: the weights with which change s lessens the error of t and is read by t */
    float *lessen, *mix, *grad_lessen, *grad_mix;
    float *state, *grad_state;              /* before the chunk; after it [key, value] */
    float *state_columns, *grad_state_columns; /* the same, transposed */
    float rate[CHUNK], grad_decay[CHUNK], grad_rate[CHUNK], to_end[CHUNK];
    float from_start_flow[CHUNK], to_end_flow[CHUNK];
    decays decays;
} workspace;

static task make_task(const rule *r, int64_t number) {
    return (task){
        number / r->heads, number % r->heads, round_up(r->keys, LANES), round_up(r->values, LANES),
    };
}

static workspace *make_workspace(task k) {
    int64_t head = round_up(sizeof(workspace), 64);
    int64_t floats = CHUNK * (6 * k.keys + 7 * k.values + 4 * CHUNK) + 4 * k.keys * k.values;
    char *memory = aligned_alloc(64, head + round_up(floats * sizeof(float), 64));
    memset(memory, 0, head + floats * sizeof(float));
    workspace *w = (workspace *)memory;
    float *left = (float *)(memory + head);
    float **of_keys[] = {&w->query, &w->key, &w->grad_query, &w->grad_key, &w->seen};
    float **of_values[] = {
        &w->error, &w->change, &w->outputs, &w->grad_change, &w->grad_error, &w->scaled,
    };
    float **squares[] = {&w->lessen, &w->mix, &w->grad_lessen, &w->grad_mix};
    float **states[] = {&w->state, &w->grad_state, &w->state_columns, &w->grad_state_columns};
    for (int64_t i = 0; i < 5; i++) *of_keys[i] = take(&left, CHUNK, k.keys);
    for (int64_t i = 0; i < 6; i++) *of_values[i] = take(&left, CHUNK, k.values);
    for (int64_t i = 0; i < 4; i++) *squares[i] = take(&left, CHUNK, CHUNK);
    for (int64_t i = 0; i < 4; i++) *states[i] = take(&left, k.keys, k.values);
    w->key_columns = take(&left, k.keys, CHUNK);
    w->change_columns = take(&left, k.values, CHUNK);
    return w;
}

static void load_state(float *to, const float *from, const rule *r, task k) {
    for (int64_t i = 0; i < r->keys; i++)
        memcpy(to + i * k.values, from + i * r->values, r->values * sizeof(float));
}

static void store_state(float *to, const float *from, const rule *r, task k) {
    for (int64_t i = 0; i < r->keys; i++)
        memcpy(to + i * r->values, from + i * k.values, r->values * sizeof(float));
}

static float *start_of(const rule *r, task k, chunk c) {
    int64_t slots = (r->length + CHUNK - 1) / CHUNK;
    return r->starts + ((k.row * slots + c.slot) * r->heads + k.head) * r->keys * r->values;
}

/* Solve error_t = right_t + sum_{s < t} lessen[t][s] change_s, change_t = rate_t error_t, for some
 * columns; error holds the right side. */
INLINE void solve_columns(float *error, float *change, const workspace *w, int64_t row, int64_t count, int64_t wide) {
    for (int64_t t = 0; t < count; t += TILE) {
        tile sums;
        factor a = {w->lessen + t * CHUNK, CHUNK, 1};
        load_tile(sums, error + t * row, row, wide);
        add_terms(sums, a, change, row, 0, t, wide);
        store_tile(error + t * row, row, sums, wide);
        for (int64_t i = 0; i < TILE && t + i < count; i++) {
            UNROLL for (int64_t j = 0; j < wide; j++) {
                float *at = error + (t + i) * row + j * LANES;
                lanes sum = load(at, LANES);
                for (int64_t s = t; s < t + i; s++)
                    sum += load(change + s * row + j * LANES, LANES) * w->lessen[(t + i) * CHUNK + s];
                store(at, sum, LANES);
                store(change + (t + i) * row + j * LANES, sum * w->rate[t + i], LANES);
            }
        }
    }
}

/* The transposed system: grad_change_s += sum_{t > s} lessen[t][s] grad_error_t and
 * grad_error_s = rate_s grad_change_s. */
INLINE void solve_back_columns(
    float *grad_change, float *grad_error, const workspace *w, int64_t row, int64_t count, int64_t wide
) {
    for (int64_t s = (count - 1) / TILE * TILE; s >= 0; s -= TILE) {
        tile sums;
        factor a = {w->lessen + s, 1, CHUNK};
        load_tile(sums, grad_change + s * row, row, wide);
        add_terms(sums, a, grad_error, row, s + TILE, count, wide);
        store_tile(grad_change + s * row, row, sums, wide);
        int64_t stop = s + TILE < count ? s + TILE : count;
        for (int64_t i = stop - 1; i >= s; i--) {
            UNROLL for (int64_t j = 0; j < wide; j++) {
                float *at = grad_change + i * row + j * LANES;
                lanes sum = load(at, LANES);
                for (int64_t t = i + 1; t < stop; t++)
                    sum += load(grad_error + t * row + j * LANES, LANES) * w->lessen[t * CHUNK + i];
                store(at, sum, LANES);
                store(grad_error + i * row + j * LANES, sum * w->rate[i], LANES);
            }
        }
    }
}

static void solve(const workspace *w, int64_t columns, int64_t count) {
    int64_t j = 0;
    for (; j + WIDE * LANES <= columns; j += WIDE * LANES)
        solve_columns(w->error + j, w->change + j, w, columns, count, WIDE);
    for (; j < columns; j += LANES) solve_columns(w->error + j, w->change + j, w, columns, count, 1);
}

static void solve_back(const workspace *w, int64_t columns, int64_t count) {
    int64_t j = 0;
    for (; j + WIDE * LANES <= columns; j += WIDE * LANES)
        solve_back_columns(w->grad_change + j, w->grad_error + j, w, columns, count, WIDE);
    for (; j < columns; j += LANES)
        solve_back_columns(w->grad_change + j, w->grad_error + j, w, columns, count, 1);
}

/* Multiply the weights between tokens by the decays between them. */
static void fade(float *weights, const decays *d, float sign, int64_t count) {
    for (int64_t t = 0; t < count; t++)
        for (int64_t s = 0; s <= t; s += LANES)
            store(weights + t * CHUNK + s, load(weights + t * CHUNK + s, LANES) * load(d->between[t] + s, LANES) * sign, LANES);
}

static void gather_chunk(const rule *r, task k, chunk c, workspace *w) {
    const float *query = r->query + k.row * r->query_row + k.head * r->query_head;
    const float *key = r->key + k.row * r->key_row + k.head * r->key_head;
    const float *value = r->value + k.row * r->value_row + k.head * r->value_head;
    gather(w->query, k.keys, query, r->query_time, c, r->keys);
    gather(w->key, k.keys, key, r->key_time, c, r->keys);
    gather(w->error, k.values, value, r->value_time, c, r->values);
    for (int64_t i = 0; i < c.count; i++) {
        w->decays.of[i] = r->log_decay[k.row * r->decay_row + c.times[i] * r->decay_time + k.head];
        w->rate[i] = r->rate[k.row * r->rate_row + c.times[i] * r->rate_time + k.head];
    }
    for (int64_t i = 0; i < c.count; i += LANES)
        store(w->decays.of + i, exponential(load(w->decays.of + i, LANES)), LANES);
}

/* Compute the errors and the changes of the chunk's tokens from the state before it. */
static void compute_changes(const rule *r, task k, chunk c, workspace *w) {
    compute_decays(&w->decays, c.count);
    memcpy(w->to_end, w->decays.between[c.count - 1], sizeof w->to_end);
    transpose(w->key_columns, CHUNK, w->key, k.keys, c.count, r->keys);
    multiply_below(w->lessen, CHUNK, (factor){w->key, k.keys, 1}, w->key_columns, CHUNK, c.count, r->keys);
    multiply_below(w->mix, CHUNK, (factor){w->query, k.keys, 1}, w->key_columns, CHUNK, c.count, r->keys);
    fade(w->lessen, &w->decays, -1, c.count);
    fade(w->mix, &w->decays, 1, c.count);
    if (c.slot >= 0) {
        multiply_full(w->scaled, k.values, (factor){w->key, k.keys, 1}, w->state, k.values, c.count, k.values, r->keys, 0);
        for (int64_t t = 0; t < c.count; t++)
            add_scaled(w->error + t * k.values, w->scaled + t * k.values, -w->decays.from_start[t], k.values);
    }
    solve(w, k.values, c.count);
}

static void forward_chunk(const rule *r, task k, chunk c, workspace *w, int is_last) {
    int64_t size = k.keys * k.values;
    float *outputs = r->outputs + (k.row * r->length * r->heads + k.head) * r->values;
    gather_chunk(r, k, c, w);
    if (r->starts && c.slot >= 0) store_state(start_of(r, k, c), w->state, r, k);
    compute_changes(r, k, c, w);
    if (c.slot < 0) {
        memset(w->outputs, 0, c.count * k.values * sizeof(float));
    } else {
        multiply_full(w->outputs, k.values, (factor){w->query, k.keys, 1}, w->state, k.values, c.count, k.values, r->keys, 0);
        scale_rows(w->outputs, w->outputs, w->decays.from_start, c.count, k.values);
    }
    add_lower(w->outputs, k.values, (factor){w->mix, CHUNK, 1}, w->change, k.values, k.values, c.count);
    scatter(outputs, r->heads * r->values, w->outputs, k.values, c, r->values);
    if (is_last) return;
    if (c.slot < 0)
        memset(w->state, 0, size * sizeof(float));
    else
        scale(w->state, w->decays.from_start[c.count - 1], size);
    scale_rows(w->scaled, w->change, w->to_end, c.count, k.values);
    multiply_full(w->state, k.values, (factor){w->key, 1, k.keys}, w->scaled, k.values, k.keys, k.values, c.count, 1);
}

/* One token: the recurrence as it stands. */
static void forward_step(const rule *r, task k, int64_t t, int starts) {
    const float *query = r->query + k.row * r->query_row + t * r->query_time + k.head * r->query_head;
    const float *key = r->key + k.row * r->key_row + t * r->key_time + k.head * r->key_head;
    const float *value = r->value + k.row * r->value_row + t * r->value_time + k.head * r->value_head;
    float *state = r->last + (k.row * r->heads + k.head) * r->keys * r->values;
    float *output = r->outputs + ((k.row * r->length + t) * r->heads + k.head) * r->values;
    lanes decay = exponential(fill(r->log_decay[k.row * r->decay_row + t * r->decay_time + k.head]));
    float rate = r->rate[k.row * r->rate_row + t * r->rate_time + k.head];
    if (starts) memset(state, 0, r->keys * r->values * sizeof(float));
    for (int64_t v = 0; v < r->values; v += LANES) {
        int64_t count = r->values - v;
        lanes answer = fill(0), sum = fill(0);
        for (int64_t i = 0; i < r->keys; i++) answer += decay * load(state + i * r->values + v, count) * key[i];
        lanes change = (load(value + v, count) - answer) * rate;
        for (int64_t i = 0; i < r->keys; i++) {
            float *at = state + i * r->values + v;
            lanes next = decay * load(at, count) + change * key[i];
            store(at, next, count);
            sum += next * query[i];
        }
        store(output + v, sum, count);
    }
}

static void forward_task(const void *arguments, int64_t number) {
    const rule *r = arguments;
    task k = make_task(r, number);
    plan p = make_plan(r->tokens, r->length, k.row);
    float *last = r->last + number * r->keys * r->values;
    float *outputs = r->outputs + (k.row * r->length * r->heads + k.head) * r->values;
    clear_padding(r->tokens, r->length, k.row, outputs, r->heads * r->values, r->values);
    if (r->length <= FEW && !r->starts) {
        for (int64_t c = 0; c < p.count; c++)
            for (int64_t i = 0; i < p.chunks[c].count; i++)
                forward_step(r, k, p.chunks[c].times[i], i == 0 && p.chunks[c].slot < 0);
    } else {
        workspace *w = make_workspace(k);
        load_state(w->state, last, r, k);
        for (int64_t c = 0; c < p.count; c++) forward_chunk(r, k, p.chunks[c], w, is_last_of_document(&p, c));
        store_state(last, w->state, r, k);
        free(w);
    }
    free_plan(p);
}

/* The gradients of the changes, then those of the errors, which are those of the values. */
static void pass_changes(const rule *r, task k, chunk c, workspace *w, int is_last) {
    int64_t token = k.row * r->length;
    if (is_last) {
        memset(w->grad_change, 0, c.count * k.values * sizeof(float));
    } else {
        multiply_full(w->grad_change, k.values, (factor){w->key, k.keys, 1}, w->grad_state, k.values, c.count, k.values, r->keys, 0);
        scale_rows(w->grad_change, w->grad_change, w->to_end, c.count, k.values);
    }
    add_upper(w->grad_change, k.values, (factor){w->mix, 1, CHUNK}, w->outputs, k.values, k.values, c.count);
    solve_back(w, k.values, c.count);
    for (int64_t t = 0; t < c.count; t++)
        r->grad_rate[(token + c.times[t]) * r->heads + k.head] =
            dot(w->grad_change + t * k.values, w->error + t * k.values, k.values);
    scatter(r->grad_value + (token * r->heads + k.head) * r->values, r->heads * r->values, w->grad_error, k.values, c, r->values);
}

/* The gradients of the weights between tokens, in their place; what flows is left in mix. */
static void pass_weights(const rule *r, task k, chunk c, workspace *w) {
    transpose(w->change_columns, CHUNK, w->change, k.values, c.count, r->values);
    multiply_below(w->grad_mix, CHUNK, (factor){w->outputs, k.values, 1}, w->change_columns, CHUNK, c.count, r->values);
    multiply_below(w->grad_lessen, CHUNK, (factor){w->grad_error, k.values, 1}, w->change_columns, CHUNK, c.count, r->values);
    for (int64_t t = 0; t < c.count; t++) {
        for (int64_t s = 0; s <= t; s += LANES) {
            int64_t place = t * CHUNK + s;
            lanes read = load(w->grad_mix + place, LANES), lessened = load(w->grad_lessen + place, LANES);
            lanes flow = read * load(w->mix + place, LANES) + lessened * load(w->lessen + place, LANES);
            store(w->mix + place, flow, LANES);
        }
        w->grad_lessen[t * CHUNK + t] = 0;
    }
    fade(w->grad_mix, &w->decays, 1, c.count);
    fade(w->grad_lessen, &w->decays, -1, c.count);
}

/* What the queries and the keys read from the state before the chunk. */
static void pass_state_before(const rule *r, task k, chunk c, workspace *w) {
    transpose(w->state_columns, k.keys, w->state, k.values, r->keys, r->values);
    factor reads = {w->outputs, k.values, 1}, errors = {w->grad_error, k.values, 1};
    multiply_full(w->grad_query, k.keys, reads, w->state_columns, k.keys, c.count, k.keys, r->values, 0);
    multiply_full(w->seen, k.keys, errors, w->state_columns, k.keys, c.count, k.keys, r->values, 0);
    for (int64_t t = 0; t < c.count; t++) {
        float *query = w->grad_query + t * k.keys, *key = w->seen + t * k.keys;
        float flow = dot(query, w->query + t * k.keys, k.keys) - dot(key, w->key + t * k.keys, k.keys);
        w->from_start_flow[t] = w->decays.from_start[t] * flow;
        scale(query, w->decays.from_start[t], k.keys);
        add_scaled(w->grad_key + t * k.keys, key, -w->decays.from_start[t], k.keys);
    }
}

/* What the changes wrote, with the keys, into the state after the chunk. */
static void pass_state_after(const rule *r, task k, chunk c, workspace *w) {
    transpose(w->grad_state_columns, k.keys, w->grad_state, k.values, r->keys, r->values);
    factor changes = {w->change, k.values, 1};
    multiply_full(w->seen, k.keys, changes, w->grad_state_columns, k.keys, c.count, k.keys, r->values, 0);
    for (int64_t t = 0; t < c.count; t++) {
        const float *written = w->seen + t * k.keys;
        w->to_end_flow[t] = w->to_end[t] * dot(written, w->key + t * k.keys, k.keys);
        add_scaled(w->grad_key + t * k.keys, written, w->to_end[t], k.keys);
    }
}

static void pass_keys(const rule *r, task k, chunk c, workspace *w, int is_last) {
    size_t size = c.count * k.keys * sizeof(float);
    int64_t place = (k.row * r->length * r->heads + k.head) * r->keys, time = r->heads * r->keys;
    memset(w->grad_query, 0, size);
    memset(w->grad_key, 0, size);
    memset(w->from_start_flow, 0, sizeof w->from_start_flow);
    memset(w->to_end_flow, 0, sizeof w->to_end_flow);
    if (c.slot >= 0) pass_state_before(r, k, c, w);
    if (!is_last) pass_state_after(r, k, c, w);
    add_lower(w->grad_query, k.keys, (factor){w->grad_mix, CHUNK, 1}, w->key, k.keys, k.keys, c.count);
    add_lower(w->grad_key, k.keys, (factor){w->grad_lessen, CHUNK, 1}, w->key, k.keys, k.keys, c.count);
    add_upper(w->grad_key, k.keys, (factor){w->grad_lessen, 1, CHUNK}, w->key, k.keys, k.keys, c.count);
    add_upper(w->grad_key, k.keys, (factor){w->grad_mix, 1, CHUNK}, w->query, k.keys, k.keys, c.count);
    scatter(r->grad_query + place, time, w->grad_query, k.keys, c, r->keys);
    scatter(r->grad_key + place, time, w->grad_key, k.keys, c, r->keys);
}

static void pass_decays(const rule *r, task k, chunk c, workspace *w, int is_last) {
    float through = 0;
    if (c.slot >= 0 && !is_last)
        through = w->decays.from_start[c.count - 1] * dot(w->state, w->grad_state, k.keys * k.values);
    for (int64_t t = 0; t < c.count; t++) w->grad_decay[t] = through;
    add_crossing(w->grad_decay, w->mix, c.count);
    add_crossing_ends(w->grad_decay, w->from_start_flow, w->to_end_flow, c.count);
    for (int64_t t = 0; t < c.count; t++)
        r->grad_log_decay[(k.row * r->length + c.times[t]) * r->heads + k.head] = w->grad_decay[t];
}

/* Make grad_state the gradient of the state before the chunk. */
static void pass_state(task k, chunk c, workspace *w) {
    if (c.slot < 0) {
        memset(w->grad_state, 0, k.keys * k.values * sizeof(float));
        return;
    }
    const float *from_start = w->decays.from_start;
    factor queries = {w->query, 1, k.keys}, keys = {w->key, 1, k.keys};
    scale(w->grad_state, from_start[c.count - 1], k.keys * k.values);
    scale_rows(w->scaled, w->outputs, from_start, c.count, k.values);
    multiply_full(w->grad_state, k.values, queries, w->scaled, k.values, k.keys, k.values, c.count, 1);
    scale_rows(w->scaled, w->grad_error, from_start, c.count, k.values);
    scale(w->scaled, -1, c.count * k.values);
    multiply_full(w->grad_state, k.values, keys, w->scaled, k.values, k.keys, k.values, c.count, 1);
}

static void backward_chunk(const rule *r, task k, chunk c, workspace *w, int is_last) {
    const float *grad = r->grad_outputs + k.row * r->grad_row + k.head * r->grad_head;
    gather_chunk(r, k, c, w);
    gather(w->outputs, k.values, grad, r->grad_time, c, r->values);
    if (c.slot >= 0) load_state(w->state, start_of(r, k, c), r, k);
    compute_changes(r, k, c, w);
    pass_changes(r, k, c, w, is_last);
    pass_weights(r, k, c, w);
    pass_keys(r, k, c, w, is_last);
    pass_decays(r, k, c, w, is_last);
    pass_state(k, c, w);
}

static void clear_grads(const rule *r, task k) {
    int64_t token = k.row * r->length * r->heads + k.head;
    float *all[] = {r->grad_query, r->grad_key, r->grad_value, r->grad_log_decay, r->grad_rate};
    int64_t sizes[] = {r->keys, r->keys, r->values, 1, 1};
    for (int64_t i = 0; i < 5; i++)
        clear_padding(r->tokens, r->length, k.row, all[i] + token * sizes[i], r->heads * sizes[i], sizes[i]);
}

static void backward_task(const void *arguments, int64_t number) {
    const rule *r = arguments;
    task k = make_task(r, number);
    plan p = make_plan(r->tokens, r->length, k.row);
    workspace *w = make_workspace(k);
    float *grad_state = r->grad_state + number * r->keys * r->values;
    clear_grads(r, k);
    load_state(w->grad_state, grad_state, r, k);
    for (int64_t c = p.count - 1; c >= 0; c--) backward_chunk(r, k, p.chunks[c], w, is_last_of_document(&p, c));
    store_state(grad_state, w->grad_state, r, k);
    free(w);
    free_plan(p);
}

/* last holds the initial states and becomes the last ones; starts may be null. */
void gated_delta_rule_forward(
    const float *query, const float *key, const float *value, const float *log_decay, const float *rate,
    const uint8_t *tokens, float *outputs, float *last, float *starts,
    int64_t query_row, int64_t query_time, int64_t query_head,
    int64_t key_row, int64_t key_time, int64_t key_head,
    int64_t value_row, int64_t value_time, int64_t value_head,
    int64_t decay_row, int64_t decay_time, int64_t rate_row, int64_t rate_time,
    int64_t batch, int64_t length, int64_t heads, int64_t keys, int64_t values, int64_t threads
) {
    rule r = {
        .query = query, .key = key, .value = value, .log_decay = log_decay, .rate = rate,
        .tokens = tokens, .outputs = outputs, .last = last, .starts = starts,
        .query_row = query_row, .query_time = query_time, .query_head = query_head,
        .key_row = key_row, .key_time = key_time, .key_head = key_head,
        .value_row = value_row, .value_time = value_time, .value_head = value_head,
        .decay_row = decay_row, .decay_time = decay_time, .rate_row = rate_row, .rate_time = rate_time,
        .batch = batch, .length = length, .heads = heads, .keys = keys, .values = values,
    };
    run_tasks(forward_task, &r, batch * heads, threads);
}

/* grad_state holds the gradients of the last states and becomes those of the initial ones. */
void gated_delta_rule_backward(
    const float *query, const float *key, const float *value, const float *log_decay, const float *rate,
    const uint8_t *tokens, const float *starts, const float *grad_outputs,
    float *grad_query, float *grad_key, float *grad_value, float *grad_log_decay, float *grad_rate,
    float *grad_state,
    int64_t query_row, int64_t query_time, int64_t query_head,
    int64_t key_row, int64_t key_time, int64_t key_head,
    int64_t value_row, int64_t value_time, int64_t value_head,
    int64_t decay_row, int64_t decay_time, int64_t rate_row, int64_t rate_time,
    int64_t grad_row, int64_t grad_time, int64_t grad_head,
    int64_t batch, int64_t length, int64_t heads, int64_t keys, int64_t values, int64_t threads
) {
    rule r = {
        .query = query, .key = key, .value = value, .log_decay = log_decay, .rate = rate,
        .tokens = tokens, .starts = (float *)starts, .grad_outputs = grad_outputs,
        .grad_query = grad_query, .grad_key = grad_key, .grad_value = grad_value,
        .grad_log_decay = grad_log_decay, .grad_rate = grad_rate, .grad_state = grad_state,
        .query_row = query_row, .query_time = query_time, .query_head = query_head,
        .key_row = key_row, .key_time = key_time, .key_head = key_head,
        .value_row = value_row, .value_time = value_time, .value_head = value_head,
        .decay_row = decay_row, .decay_time = decay_time, .rate_row = rate_row, .rate_time = rate_time,
        .grad_row = grad_row, .grad_time = grad_time, .grad_head = grad_head,
        .batch = batch, .length = length, .heads = heads, .keys = keys, .values = values,
    };
    run_tasks(backward_task, &r, batch * heads, threads);
}
