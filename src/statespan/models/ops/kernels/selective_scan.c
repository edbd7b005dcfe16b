/* Mamba's selective scan, forward and backward.
 *
 *   h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t      y_t = (sum_n h_t C_t + D x_t) silu(z_t)
 *
 * Channels are lanes. A task is one row of the batch and some of its channels; it walks through
 * time chunk by chunk, and within a chunk through its blocks of channels, so that a chunk of the
 * arguments stays in the cache. The forward pass keeps the state at the start of each chunk; the
 * backward pass recomputes a chunk's states from there.
 *
 * Layouts (all floats; the last axis is contiguous): inputs, delta, gate [batch, length, channel];
 * write, read [batch, length, group, state]; transition [member, state, channel]; skip, bias
 * [member, channel]; states [batch, state, channel]; starts [batch, chunk, state, channel].
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "tokens.h"

#define CHUNK 32
#define MOST_STATES 256

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

INLINE lanes step_size(const scan *s, block b, lanes bias, int64_t t) {
    lanes raw = load(s->delta + b.row * s->delta_row + t * s->delta_time + b.first, b.count) + bias;
    return s->softplus ? softplus(raw) : raw;
}

INLINE const float *at_time(const float *p, int64_t row, int64_t time, int64_t group, block b, int64_t t) {
    return p + b.row * row + t * time + b.group * group;
}

INLINE lanes parameter(const scan *s, const float *p, block b) {
    lanes zero = {0};
    return p ? load(p + b.member * s->channels + b.first, b.count) : zero;
}

INLINE void load_states(lanes *to, const float *from, const scan *s, block b, int64_t states) {
    for (int64_t n = 0; n < states; n++) to[n] = load(from + n * s->channels + b.first, b.count);
}

/* The decay of a step is 2^(delta A'), where A' is A / log 2: one multiplication less than e^. */
INLINE void load_exponents(lanes *to, const scan *s, block b, int64_t states) {
    load_states(to, s->transition + b.member * states * s->channels, s, b, states);
    for (int64_t n = 0; n < states; n++) to[n] *= LOG2_E;
}

INLINE void store_states(float *to, const lanes *from, const scan *s, block b, int64_t states) {
    for (int64_t n = 0; n < states; n++) store(to + n * s->channels + b.first, from[n], b.count);
}

INLINE void forget(lanes *state, int64_t states) {
    memset(state, 0, states * sizeof *state);
}

INLINE void forward_block(const scan *s, block b, int64_t begin, int64_t end, int64_t states) {
    lanes exponents[MOST_STATES], state[MOST_STATES];
    float *last = s->last + b.row * states * s->channels;
    load_exponents(exponents, s, b, states);
    load_states(state, last, s, b, states);
    lanes skip = parameter(s, s->skip, b), bias = parameter(s, s->bias, b);
    for (int64_t t = begin; t < end; t++) {
        float *output = s->outputs + (b.row * s->length + t) * s->channels + b.first;
        int token = token_at(s->tokens, s->length, b.row, t);
        if (token == PADDING) {
            store(output, fill(0), b.count);
            continue;
        }
        if (token == STARTS) forget(state, states);
        lanes delta = step_size(s, b, bias, t);
        lanes input = load(s->inputs + b.row * s->inputs_row + t * s->inputs_time + b.first, b.count);
        const float *write = at_time(s->write, s->write_row, s->write_time, s->write_group, b, t);
        const float *read = at_time(s->read, s->read_row, s->read_time, s->read_group, b, t);
        lanes scaled = delta * input, sum = skip * input;
        for (int64_t n = 0; n < states; n++) {
            state[n] = power_of_two(delta * exponents[n]) * state[n] + scaled * write[n];
            sum += state[n] * read[n];
        }
        if (s->gate) {
            lanes gate = load(s->gate + b.row * s->gate_row + t * s->gate_time + b.first, b.count);
            sum *= gate * sigmoid(gate);
        }
        store(output, sum, b.count);
    }
    store_states(last, state, s, b, states);
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
            switch (s->states) {
                case 16: forward_block(s, b, begin, end, 16); break;
                default: forward_block(s, b, begin, end, s->states);
            }
        }
    }
}

/* What the backward pass of a chunk works with: the states before and after each of its steps,
 * their decays, the outputs before the gate, sums for the gradients of write and read, in which
 * each lane sums over its own channels, and the state before a document starts: zeros. */
typedef struct {
    lanes *states, *decays, *outputs, *grad_write, *grad_read, *nothing;
} workspace;

INLINE void recompute(const scan *s, block b, int64_t begin, int64_t end, workspace w, int64_t states) {
    int64_t chunks = (s->length + CHUNK - 1) / CHUNK;
    lanes exponents[MOST_STATES];
    load_exponents(exponents, s, b, states);
    load_states(w.states, s->starts + (b.row * chunks + begin / CHUNK) * states * s->channels, s, b, states);
    lanes skip = parameter(s, s->skip, b), bias = parameter(s, s->bias, b);
    for (int64_t t = begin; t < end; t++) {
        lanes *before = w.states + (t - begin) * states, *after = before + states;
        lanes *decays = w.decays + (t - begin) * states;
        int token = token_at(s->tokens, s->length, b.row, t);
        if (token == PADDING) {
            memcpy(after, before, states * sizeof *after);
            continue;
        }
        if (token == STARTS) before = w.nothing;
        lanes delta = step_size(s, b, bias, t);
        lanes input = load(s->inputs + b.row * s->inputs_row + t * s->inputs_time + b.first, b.count);
        const float *write = at_time(s->write, s->write_row, s->write_time, s->write_group, b, t);
        const float *read = at_time(s->read, s->read_row, s->read_time, s->read_group, b, t);
        lanes scaled = delta * input, sum = skip * input;
        for (int64_t n = 0; n < states; n++) {
            decays[n] = power_of_two(delta * exponents[n]);
            after[n] = decays[n] * before[n] + scaled * write[n];
            if (s->gate) sum += after[n] * read[n];
        }
        w.outputs[t - begin] = sum;
    }
}

INLINE void add_to(float *to, lanes value, int64_t count) {
    store(to, load(to, count) + value, count);
}

INLINE void backward_block(const scan *s, block b, int64_t begin, int64_t end, workspace w, int64_t states) {
    lanes transition[MOST_STATES], grad_transition[MOST_STATES], grad_state[MOST_STATES];
    lanes zero = {0}, grad_skip = zero, grad_bias = zero;
    int64_t size = states * s->channels;
    recompute(s, b, begin, end, w, states);
    load_states(transition, s->transition + b.member * size, s, b, states);
    load_states(grad_state, s->grad_state + b.row * size, s, b, states);
    load_states(grad_transition, s->grad_transition + b.row * size, s, b, states);
    lanes skip = parameter(s, s->skip, b), bias = parameter(s, s->bias, b);
    for (int64_t t = end - 1; t >= begin; t--) {
        int64_t place = (b.row * s->length + t) * s->channels + b.first;
        float *grad_gate = s->grad_gate + b.row * s->grad_gate_row + t * s->grad_gate_time + b.first;
        int token = token_at(s->tokens, s->length, b.row, t);
        if (token == PADDING) {
            store(s->grad_inputs + place, zero, b.count);
            store(s->grad_delta + place, zero, b.count);
            if (s->gate) store(grad_gate, zero, b.count);
            continue;
        }
        lanes grad = load(s->grad_outputs + b.row * s->grad_row + t * s->grad_time + b.first, b.count);
        if (s->gate) {
            lanes gate = load(s->gate + b.row * s->gate_row + t * s->gate_time + b.first, b.count);
            lanes open = sigmoid(gate);
            lanes slope = open * (1.0f + gate * (1.0f - open));
            store(grad_gate, grad * w.outputs[t - begin] * slope, b.count);
            grad *= gate * open;
        }
        lanes delta = step_size(s, b, bias, t);
        lanes input = load(s->inputs + b.row * s->inputs_row + t * s->inputs_time + b.first, b.count);
        const float *write = at_time(s->write, s->write_row, s->write_time, s->write_group, b, t);
        const float *read = at_time(s->read, s->read_row, s->read_time, s->read_group, b, t);
        lanes *before = w.states + (t - begin) * states, *after = before + states;
        lanes *decays = w.decays + (t - begin) * states;
        if (token == STARTS) before = w.nothing;
        lanes *grad_write = w.grad_write + (t - begin) * states;
        lanes *grad_read = w.grad_read + (t - begin) * states;
        lanes scaled = delta * input, grad_scaled = zero, grad_delta = zero;
        for (int64_t n = 0; n < states; n++) {
            grad_read[n] += grad * after[n];
            lanes now = grad_state[n] + grad * read[n];
            grad_write[n] += now * scaled;
            grad_scaled += now * write[n];
            now *= decays[n];
            lanes exponent = now * before[n];
            grad_delta += exponent * transition[n];
            grad_transition[n] += exponent * delta;
            grad_state[n] = now;
        }
        grad_delta += grad_scaled * input;
        grad_skip += grad * input;
        store(s->grad_inputs + place, grad_scaled * delta + grad * skip, b.count);
        if (s->softplus) {
            const float *raw = s->delta + b.row * s->delta_row + t * s->delta_time + b.first;
            grad_delta *= sigmoid(load(raw, b.count) + bias);
        }
        grad_bias += grad_delta;
        store(s->grad_delta + place, grad_delta, b.count);
        if (token == STARTS) forget(grad_state, states);
    }
    store_states(s->grad_state + b.row * size, grad_state, s, b, states);
    store_states(s->grad_transition + b.row * size, grad_transition, s, b, states);
    add_to(s->grad_skip + b.row * s->channels + b.first, grad_skip, b.count);
    add_to(s->grad_bias + b.row * s->channels + b.first, grad_bias, b.count);
}

/* Add up the lanes of the gradients of write and read in one chunk and group. */
static void gather(const scan *s, int64_t part, block b, int64_t begin, int64_t end, workspace w) {
    for (int64_t t = begin; t < end; t++) {
        int64_t place = ((part * s->batch + b.row) * s->length + t) * s->groups + b.group;
        for (int64_t n = 0; n < s->states; n++) {
            s->grad_write[place * s->states + n] = total(w.grad_write[(t - begin) * s->states + n]);
            s->grad_read[place * s->states + n] = total(w.grad_read[(t - begin) * s->states + n]);
        }
    }
}

static void backward_chunk(const scan *s, int64_t row, int64_t part, int64_t chunk, workspace w) {
    int64_t begin = chunk * CHUNK, end = begin + CHUNK < s->length ? begin + CHUNK : s->length;
    int64_t each = blocks_per_group(s), blocks = each * s->groups;
    int64_t first = blocks * part / s->parts, stop = blocks * (part + 1) / s->parts;
    size_t sums = (end - begin) * s->states * sizeof(lanes);
    for (int64_t number = first; number < stop; number++) {
        block b = make_block(s, row, number);
        if (number == first || number % each == 0) {
            memset(w.grad_write, 0, sums);
            memset(w.grad_read, 0, sums);
        }
        switch (s->states) {
            case 16: backward_block(s, b, begin, end, w, 16); break;
            default: backward_block(s, b, begin, end, w, s->states);
        }
        if (number == stop - 1 || number % each == each - 1) gather(s, part, b, begin, end, w);
    }
}

static void backward_task(const void *arguments, int64_t task) {
    const scan *s = arguments;
    int64_t chunks = (s->length + CHUNK - 1) / CHUNK, size = CHUNK * s->states;
    lanes *memory = aligned_alloc(64, (4 * size + 2 * s->states + CHUNK) * sizeof(lanes));
    workspace w = {.states = memory, .decays = memory + size + s->states};
    w.grad_write = w.decays + size;
    w.grad_read = w.grad_write + size;
    w.outputs = w.grad_read + size;
    w.nothing = w.outputs + CHUNK;
    forget(w.nothing, s->states);
    for (int64_t chunk = chunks - 1; chunk >= 0; chunk--)
        backward_chunk(s, task / s->parts, task % s->parts, chunk, w);
    free(memory);
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
