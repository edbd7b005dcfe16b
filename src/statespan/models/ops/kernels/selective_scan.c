/* Mamba's selective scan, forward and backward.
 *
 *   h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t      y_t = (sum_n h_t C_t + D x_t) silu(z_t)
 *
 * Channels are lanes. A task is one row of the batch and some of its channels; it walks through
 * time chunk by chunk, within a chunk through its blocks of channels, so that a chunk of the
 * arguments stays in the cache, and within a block through its states, a few at a time, so that these
 * stay in registers. The forward pass keeps the state at the start of each chunk; the
 * backward pass recomputes a chunk's states from there.
 *
 * Layouts (all floats; the last axis is contiguous): inputs, delta, gate [batch, length, channel];
 * write, read [batch, length, group, state]; transition [member, state, channel]; skip, bias
 * [member, channel]; states [batch, state, channel]; starts [batch, chunk, state, channel].
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "products.h"
#include "recurrences.h"
#include "tokens.h"

#define CHUNK 32
#define SOME 4 /* states that are in registers at a time */

typedef struct {
    const float *inputs, *delta, *gate, *write, *read, *transition, *skip, *bias;
    const uint8_t *tokens;
    float *outputs, *last, *starts;
    const float *grad_outputs;
    float *grad_inputs, *grad_delta, *grad_gate, *grad_write, *grad_read;
    float *grad_transition, *grad_skip, *grad_bias, *grad_state;
    int64_t inputs_row, inputs_time, delta_row, delta_time, gate_row, gate_time;
    int64_t write_row, write_time, write_group, read_row, read_time, read_group;
    int64_t grad_row, grad_time, grad_gate_row, grad_gate_time;
    int64_t batch, length, channels, states, groups, rows_per_member, parts, softplus;
} scan;

/* Some neighboring channels of one group, in one row of the batch. */
typedef struct {
    int64_t row, member, group, first, count;
} block;

static int64_t blocks_per_group(const scan *s) {
    return (s->channels / s->groups + LANES - 1) / LANES;
}

static block make_block(const scan *s, int64_t row, int64_t number) {
    int64_t width = s->channels / s->groups, each = blocks_per_group(s);
    int64_t group = number / each, offset = number % each * LANES;
    int64_t count = width - offset < LANES ? width - offset : LANES;
    return (block){row, row / s->rows_per_member, group, group * width + offset, count};
}

INLINE lanes step_size(const scan *s, lanes raw) { return s->softplus ? softplus(raw) : raw; }

INLINE const float *at_time(const float *p, int64_t row, int64_t time, int64_t group, block b, int64_t t) {
    return p + b.row * row + t * time + b.group * group;
}

INLINE lanes parameter(const scan *s, const float *p, block b) {
    lanes zero = {0};
    return p ? load(p + b.member * s->channels + b.first, b.count) : zero;
}

/* Of a block, what depends on time alone and is summed over states: for each step of a chunk its
 * kind, delta, delta x, the output before the gate, and the gradients of the latter three. */
typedef struct {
    int kinds[CHUNK];
    lanes delta[CHUNK], scaled[CHUNK], outputs[CHUNK];
    lanes grad[CHUNK], grad_scaled[CHUNK], grad_delta[CHUNK];
} steps;

INLINE lanes input_at(const scan *s, block b, int64_t t) {
    return load(s->inputs + b.row * s->inputs_row + t * s->inputs_time + b.first, b.count);
}

INLINE lanes raw_delta(const scan *s, block b, lanes bias, int64_t t) {
    return load(s->delta + b.row * s->delta_row + t * s->delta_time + b.first, b.count) + bias;
}

INLINE lanes gate_at(const scan *s, block b, int64_t t) {
    return load(s->gate + b.row * s->gate_row + t * s->gate_time + b.first, b.count);
}

static void begin_steps(const scan *s, block b, int64_t begin, int64_t end, steps *p) {
    lanes skip = parameter(s, s->skip, b), bias = parameter(s, s->bias, b);
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t - begin;
        p->kinds[i] = token_at(s->tokens, s->length, b.row, t);
        if (p->kinds[i] == PADDING) continue;
        lanes input = input_at(s, b, t);
        p->delta[i] = step_size(s, raw_delta(s, b, bias, t));
        p->scaled[i] = p->delta[i] * input;
        p->outputs[i] = skip * input;
    }
}

/* Some neighboring states of a block, in registers. The decay of a step is 2^(delta A'), where A' is
 * A / log 2: one multiplication less than e^. */
INLINE void forward_states(
    const scan *s, block b, int64_t begin, int64_t end, steps *p, int64_t first, int64_t count
) {
    lanes exponents[SOME], state[SOME];
    float *last = s->last + (b.row * s->states + first) * s->channels + b.first;
    const float *transition = s->transition + (b.member * s->states + first) * s->channels + b.first;
    UNROLL for (int64_t n = 0; n < count; n++) {
        exponents[n] = load(transition + n * s->channels, b.count) * LOG2_E;
        state[n] = load(last + n * s->channels, b.count);
    }
    const float *write = at_time(s->write, s->write_row, s->write_time, s->write_group, b, begin) + first;
    const float *read = at_time(s->read, s->read_row, s->read_time, s->read_group, b, begin) + first;
    int64_t write_time = s->write_time, read_time = s->read_time, length = end - begin;
    for (int64_t i = 0; i < length; i++, write += write_time, read += read_time) {
        if (p->kinds[i] == PADDING) continue;
        if (p->kinds[i] == STARTS) UNROLL for (int64_t n = 0; n < count; n++) state[n] = fill(0);
        lanes delta = p->delta[i], scaled = p->scaled[i], sum = p->outputs[i];
        UNROLL for (int64_t n = 0; n < count; n++) {
            state[n] = power_of_two(delta * exponents[n]) * state[n] + scaled * write[n];
            sum += state[n] * read[n];
        }
        p->outputs[i] = sum;
    }
    UNROLL for (int64_t n = 0; n < count; n++) store(last + n * s->channels, state[n], b.count);
}

static void forward_block(const scan *s, block b, int64_t begin, int64_t end) {
    steps p;
    int64_t n = 0;
    begin_steps(s, b, begin, end, &p);
    for (; n + SOME <= s->states; n += SOME) forward_states(s, b, begin, end, &p, n, SOME);
    for (; n < s->states; n++) forward_states(s, b, begin, end, &p, n, 1);
    for (int64_t t = begin; t < end; t++) {
        float *output = s->outputs + (b.row * s->length + t) * s->channels + b.first;
        lanes sum = p.outputs[t - begin];
        if (p.kinds[t - begin] == PADDING) {
            sum = fill(0);
        } else if (s->gate) {
            lanes gate = gate_at(s, b, t);
            sum *= gate * sigmoid(gate);
        }
        store(output, sum, b.count);
    }
}

static void forward_task(const void *arguments, int64_t task) {
    const scan *s = arguments;
    int64_t row = task / s->parts, part = task % s->parts;
    int64_t blocks = blocks_per_group(s) * s->groups;
    int64_t chunks = (s->length + CHUNK - 1) / CHUNK, size = s->states * s->channels;
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t begin = chunk * CHUNK, end = begin + CHUNK < s->length ? begin + CHUNK : s->length;
        for (int64_t number = blocks * part / s->parts; number < blocks * (part + 1) / s->parts; number++) {
            block b = make_block(s, row, number);
            for (int64_t n = 0; s->starts && n < s->states; n++) {
                int64_t place = n * s->channels + b.first;
                memcpy(s->starts + (row * chunks + chunk) * size + place, s->last + row * size + place,
                       b.count * sizeof(float));
            }
            forward_block(s, b, begin, end);
        }
    }
}

/* What the backward pass of a chunk works with: its steps; of the states at hand those before and
 * after each step, and the decays; sums for the gradients of write and read [state, step], in which
 * each lane sums over its own channels. */
typedef struct {
    steps steps;
    lanes states[(CHUNK + 1) * SOME], decays[CHUNK * SOME];
    lanes *grad_write, *grad_read;
} workspace;

/* Compute the states and the decays of a chunk again. */
INLINE void recompute(
    const scan *s, block b, int64_t begin, int64_t end, workspace *w, int64_t first, int64_t count
) {
    steps *p = &w->steps;
    lanes exponents[SOME], state[SOME];
    int64_t chunks = (s->length + CHUNK - 1) / CHUNK, chunk = begin / CHUNK;
    const float *start = s->starts + ((b.row * chunks + chunk) * s->states + first) * s->channels + b.first;
    const float *transition = s->transition + (b.member * s->states + first) * s->channels + b.first;
    UNROLL for (int64_t n = 0; n < count; n++) {
        exponents[n] = load(transition + n * s->channels, b.count) * LOG2_E;
        w->states[n] = state[n] = load(start + n * s->channels, b.count);
    }
    const float *write = at_time(s->write, s->write_row, s->write_time, s->write_group, b, begin) + first;
    const float *read = at_time(s->read, s->read_row, s->read_time, s->read_group, b, begin) + first;
    int64_t write_time = s->write_time, read_time = s->read_time, length = end - begin;
    for (int64_t i = 0; i < length; i++, write += write_time, read += read_time) {
        if (p->kinds[i] == STARTS) UNROLL for (int64_t n = 0; n < count; n++) state[n] = fill(0);
        if (p->kinds[i] != PADDING) {
            lanes delta = p->delta[i], scaled = p->scaled[i], sum = p->outputs[i];
            UNROLL for (int64_t n = 0; n < count; n++) {
                lanes decay = power_of_two(delta * exponents[n]);
                w->decays[i * count + n] = decay;
                state[n] = decay * state[n] + scaled * write[n];
                sum += state[n] * read[n];
            }
            p->outputs[i] = sum;
        }
        UNROLL for (int64_t n = 0; n < count; n++) w->states[(i + 1) * count + n] = state[n];
    }
}

/* The gradients of some neighboring states of a block, in registers. */
INLINE void backward_states(
    const scan *s, block b, int64_t begin, int64_t end, workspace *w, int64_t first, int64_t count
) {
    steps *p = &w->steps;
    lanes transition[SOME], grad_transition[SOME], grad_state[SOME], after[SOME];
    int64_t place = (b.row * s->states + first) * s->channels + b.first;
    const float *from = s->transition + (b.member * s->states + first) * s->channels + b.first;
    recompute(s, b, begin, end, w, first, count);
    UNROLL for (int64_t n = 0; n < count; n++) {
        transition[n] = load(from + n * s->channels, b.count);
        grad_transition[n] = load(s->grad_transition + place + n * s->channels, b.count);
        grad_state[n] = load(s->grad_state + place + n * s->channels, b.count);
        after[n] = w->states[(end - begin) * count + n];
    }
    const float *write = at_time(s->write, s->write_row, s->write_time, s->write_group, b, end - 1) + first;
    const float *read = at_time(s->read, s->read_row, s->read_time, s->read_group, b, end - 1) + first;
    int64_t write_time = s->write_time, read_time = s->read_time, length = end - begin;
    for (int64_t i = length - 1; i >= 0; i--, write -= write_time, read -= read_time) {
        int kind = p->kinds[i];
        if (kind == PADDING) continue; /* the state after it is that before it */
        lanes *grad_write = w->grad_write + first * CHUNK + i, *grad_read = w->grad_read + first * CHUNK + i;
        lanes grad = p->grad[i], delta = p->delta[i], scaled = p->scaled[i];
        lanes grad_scaled = p->grad_scaled[i], grad_delta = p->grad_delta[i];
        UNROLL for (int64_t n = 0; n < count; n++) {
            lanes before = w->states[i * count + n];
            grad_read[n * CHUNK] += grad * after[n];
            after[n] = before;
            if (kind == STARTS) before = fill(0);
            lanes now = grad_state[n] + grad * read[n];
            grad_write[n * CHUNK] += now * scaled;
            grad_scaled += now * write[n];
            now *= w->decays[i * count + n];
            lanes exponent = now * before;
            grad_delta += exponent * transition[n];
            grad_transition[n] += exponent * delta;
            grad_state[n] = kind == STARTS ? fill(0) : now;
        }
        p->grad_scaled[i] = grad_scaled;
        p->grad_delta[i] = grad_delta;
    }
    UNROLL for (int64_t n = 0; n < count; n++) {
        store(s->grad_transition + place + n * s->channels, grad_transition[n], b.count);
        store(s->grad_state + place + n * s->channels, grad_state[n], b.count);
    }
}

INLINE float *grad_gate_at(const scan *s, block b, int64_t t) {
    return s->grad_gate + b.row * s->grad_gate_row + t * s->grad_gate_time + b.first;
}

/* The gradients of the outputs before the gate; that of the gate is `slope` times the output. */
static void begin_gradients(const scan *s, block b, int64_t begin, int64_t end, steps *p) {
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t - begin;
        p->grad_scaled[i] = p->grad_delta[i] = fill(0);
        if (p->kinds[i] == PADDING) continue;
        p->grad[i] = load(s->grad_outputs + b.row * s->grad_row + t * s->grad_time + b.first, b.count);
        if (!s->gate) continue;
        lanes gate = gate_at(s, b, t), open = sigmoid(gate);
        store(grad_gate_at(s, b, t), p->grad[i] * open * (1.0f + gate * (1.0f - open)), b.count);
        p->grad[i] *= gate * open;
    }
}

INLINE void add_to(float *to, lanes value, int64_t count) {
    store(to, load(to, count) + value, count);
}

static void end_gradients(const scan *s, block b, int64_t begin, int64_t end, const steps *p) {
    lanes skip = parameter(s, s->skip, b), bias = parameter(s, s->bias, b);
    lanes zero = {0}, grad_skip = zero, grad_bias = zero;
    for (int64_t t = begin; t < end; t++) {
        int64_t i = t - begin, place = (b.row * s->length + t) * s->channels + b.first;
        lanes grad_inputs = zero, grad_delta = zero, grad_gate = zero;
        if (p->kinds[i] != PADDING) {
            lanes input = input_at(s, b, t);
            grad_inputs = p->grad_scaled[i] * p->delta[i] + p->grad[i] * skip;
            grad_delta = p->grad_delta[i] + p->grad_scaled[i] * input;
            if (s->softplus) grad_delta *= sigmoid(raw_delta(s, b, bias, t));
            if (s->gate) grad_gate = load(grad_gate_at(s, b, t), b.count) * p->outputs[i];
            grad_skip += p->grad[i] * input;
            grad_bias += grad_delta;
        }
        store(s->grad_inputs + place, grad_inputs, b.count);
        store(s->grad_delta + place, grad_delta, b.count);
        if (s->gate) store(grad_gate_at(s, b, t), grad_gate, b.count);
    }
    add_to(s->grad_skip + b.row * s->channels + b.first, grad_skip, b.count);
    add_to(s->grad_bias + b.row * s->channels + b.first, grad_bias, b.count);
}

static void backward_block(const scan *s, block b, int64_t begin, int64_t end, workspace *w) {
    int64_t n = 0;
    begin_steps(s, b, begin, end, &w->steps);
    begin_gradients(s, b, begin, end, &w->steps);
    for (; n + SOME <= s->states; n += SOME) backward_states(s, b, begin, end, w, n, SOME);
    for (; n < s->states; n++) backward_states(s, b, begin, end, w, n, 1);
    end_gradients(s, b, begin, end, &w->steps);
}

/* Add up the lanes of the sums at one step, for as many states as there are lanes or fewer. */
INLINE void add_lanes(float *to, const lanes *sums, int64_t states) {
    for (int64_t n = 0; n < states; n += LANES) {
        lanes each[LANES];
        int64_t left = states - n;
        UNROLL for (int64_t k = 0; k < LANES; k++) each[k] = k < left ? sums[(n + k) * CHUNK] : fill(0);
        store(to + n, totals(each), left);
    }
}

/* Add up the lanes of the gradients of write and read in one chunk and group. */
static void gather(const scan *s, int64_t part, block b, int64_t begin, int64_t end, const workspace *w) {
    for (int64_t t = begin; t < end; t++) {
        int64_t place = ((part * s->batch + b.row) * s->length + t) * s->groups + b.group;
        add_lanes(s->grad_write + place * s->states, w->grad_write + t - begin, s->states);
        add_lanes(s->grad_read + place * s->states, w->grad_read + t - begin, s->states);
    }
}

static void backward_chunk(const scan *s, int64_t row, int64_t part, int64_t chunk, workspace *w) {
    int64_t begin = chunk * CHUNK, end = begin + CHUNK < s->length ? begin + CHUNK : s->length;
    int64_t each = blocks_per_group(s), blocks = each * s->groups;
    int64_t first = blocks * part / s->parts, stop = blocks * (part + 1) / s->parts;
    size_t sums = CHUNK * s->states * sizeof(lanes);
    for (int64_t number = first; number < stop; number++) {
        block b = make_block(s, row, number);
        if (number == first || number % each == 0) {
            memset(w->grad_write, 0, sums);
            memset(w->grad_read, 0, sums);
        }
        backward_block(s, b, begin, end, w);
        if (number == stop - 1 || number % each == each - 1) gather(s, part, b, begin, end, w);
    }
}

static void backward_task(const void *arguments, int64_t task) {
    const scan *s = arguments;
    int64_t chunks = (s->length + CHUNK - 1) / CHUNK, size = CHUNK * s->states;
    workspace *w = aligned_alloc(64, round_up(sizeof *w, 64) + 2 * size * sizeof(lanes));
    w->grad_write = (lanes *)((char *)w + round_up(sizeof *w, 64));
    w->grad_read = w->grad_write + size;
    for (int64_t chunk = chunks - 1; chunk >= 0; chunk--)
        backward_chunk(s, task / s->parts, task % s->parts, chunk, w);
    free(w);
}

/* last holds the initial states and becomes the last ones; starts may be null. */
void selective_scan_forward(
    const float *inputs, const float *delta, const float *transition, const float *write, const float *read,
    const float *skip, const float *gate, const float *bias, const uint8_t *tokens,
    float *outputs, float *last, float *starts,
    int64_t inputs_row, int64_t inputs_time, int64_t delta_row, int64_t delta_time,
    int64_t gate_row, int64_t gate_time, int64_t write_row, int64_t write_time, int64_t write_group,
    int64_t read_row, int64_t read_time, int64_t read_group,
    int64_t batch, int64_t length, int64_t channels, int64_t states, int64_t groups,
    int64_t rows_per_member, int64_t softplus_delta, int64_t parts, int64_t threads
) {
    scan s = {
        .inputs = inputs, .delta = delta, .transition = transition, .write = write, .read = read,
        .skip = skip, .gate = gate, .bias = bias, .tokens = tokens,
        .outputs = outputs, .last = last, .starts = starts,
        .inputs_row = inputs_row, .inputs_time = inputs_time, .delta_row = delta_row,
        .delta_time = delta_time, .gate_row = gate_row, .gate_time = gate_time,
        .write_row = write_row, .write_time = write_time, .write_group = write_group,
        .read_row = read_row, .read_time = read_time, .read_group = read_group,
        .batch = batch, .length = length, .channels = channels, .states = states, .groups = groups,
        .rows_per_member = rows_per_member, .softplus = softplus_delta, .parts = parts,
    };
    run_tasks(forward_task, &s, batch * parts, threads);
}

/* grad_state holds the gradients of the last states and becomes those of the initial ones.
 * grad_transition, grad_skip and grad_bias hold zeros, and become sums over the time of each row.
 * grad_write and grad_read [part, batch, length, group, state] hold zeros. */
void selective_scan_backward(
    const float *inputs, const float *delta, const float *transition, const float *write, const float *read,
    const float *skip, const float *gate, const float *bias, const uint8_t *tokens,
    const float *starts, const float *grad_outputs,
    float *grad_inputs, float *grad_delta, float *grad_transition, float *grad_write, float *grad_read,
    float *grad_skip, float *grad_gate, float *grad_bias, float *grad_state,
    int64_t inputs_row, int64_t inputs_time, int64_t delta_row, int64_t delta_time,
    int64_t gate_row, int64_t gate_time, int64_t write_row, int64_t write_time, int64_t write_group,
    int64_t read_row, int64_t read_time, int64_t read_group, int64_t grad_row, int64_t grad_time,
    int64_t grad_gate_row, int64_t grad_gate_time,
    int64_t batch, int64_t length, int64_t channels, int64_t states, int64_t groups,
    int64_t rows_per_member, int64_t softplus_delta, int64_t parts, int64_t threads
) {
    scan s = {
        .inputs = inputs, .delta = delta, .transition = transition, .write = write, .read = read,
        .skip = skip, .gate = gate, .bias = bias, .tokens = tokens,
        .starts = (float *)starts, .grad_outputs = grad_outputs,
        .grad_inputs = grad_inputs, .grad_delta = grad_delta, .grad_transition = grad_transition,
        .grad_write = grad_write, .grad_read = grad_read, .grad_skip = grad_skip,
        .grad_gate = grad_gate, .grad_bias = grad_bias, .grad_state = grad_state,
        .inputs_row = inputs_row, .inputs_time = inputs_time, .delta_row = delta_row,
        .delta_time = delta_time, .gate_row = gate_row, .gate_time = gate_time,
        .write_row = write_row, .write_time = write_time, .write_group = write_group,
        .read_row = read_row, .read_time = read_time, .read_group = read_group,
        .grad_row = grad_row, .grad_time = grad_time,
        .grad_gate_row = grad_gate_row, .grad_gate_time = grad_gate_time,
        .batch = batch, .length = length, .channels = channels, .states = states, .groups = groups,
        .rows_per_member = rows_per_member, .softplus = softplus_delta, .parts = parts,
    };
    run_tasks(backward_task, &s, batch * parts, threads);
}
