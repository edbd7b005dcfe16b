/* The diagonal linear recurrence h_t = a_t h_{t-1} + x_t, real or complex, forward and backward.
 *
 * Channels are lanes; a complex number is two neighboring lanes. A task is one row of the batch and
 * some of its channels; it walks through time chunk by chunk, and within a chunk through its blocks
 * of channels. The forward pass keeps the state before each chunk; the backward pass recomputes the
 * chunk's states from there.
 *
 * Layouts (floats; the last axis is contiguous): inputs, decay, states, their gradients
 * [batch, length, float]; last [batch, float]; starts [batch, chunk, float].
 */
#include "lanes.h"
#include "parallel.h"
#include "tokens.h"

#define CHUNK 64

typedef struct {
    const float *inputs, *decay, *grad_states;
    const uint8_t *tokens;
    float *states, *last, *starts, *grad_inputs, *grad_decay, *grad_last;
    int64_t inputs_row, inputs_time, decay_row, decay_time, grad_row, grad_time;
    int64_t batch, length, floats, is_complex, parts;
} recurrence;

/* Some neighboring floats of one row. */
typedef struct {
    int64_t row, first, count;
} block;

/* Return a b or, with sign -1, the product with the conjugate of a: lane by lane, or by pairs. */
INLINE lanes product(lanes a, lanes b, float sign, int is_complex) {
    if (!is_complex) return a * b;
    integers real, imaginary, swapped;
    lanes signs;
    for (int32_t lane = 0; lane < LANES; lane++) {
        real[lane] = lane & ~1;
        imaginary[lane] = lane | 1;
        swapped[lane] = lane ^ 1;
        signs[lane] = lane & 1 ? sign : -sign;
    }
    lanes across = signs * __builtin_shuffle(a, imaginary);
    return __builtin_shuffle(a, real) * b + across * __builtin_shuffle(b, swapped);
}

INLINE lanes at_time(const float *from, int64_t row, int64_t time, block b, int64_t t) {
    return load(from + b.row * row + t * time + b.first, b.count);
}

INLINE lanes advance(const recurrence *r, block b, int64_t t, lanes state, int is_complex) {
    lanes decay = at_time(r->decay, r->decay_row, r->decay_time, b, t);
    return product(decay, state, 1, is_complex) + at_time(r->inputs, r->inputs_row, r->inputs_time, b, t);
}

INLINE void forward_block(const recurrence *r, block b, int64_t begin, int64_t end, int is_complex) {
    int64_t chunks = (r->length + CHUNK - 1) / CHUNK;
    float *last = r->last + b.row * r->floats + b.first;
    lanes state = load(last, b.count);
    store(r->starts + (b.row * chunks + begin / CHUNK) * r->floats + b.first, state, b.count);
    for (int64_t t = begin; t < end; t++) {
        float *output = r->states + (b.row * r->length + t) * r->floats + b.first;
        int token = token_at(r->tokens, r->length, b.row, t);
        if (token == PADDING) {
            store(output, fill(0), b.count);
            continue;
        }
        if (token == STARTS) state = fill(0);
        state = advance(r, b, t, state, is_complex);
        store(output, state, b.count);
    }
    store(last, state, b.count);
}

INLINE void backward_block(const recurrence *r, block b, int64_t begin, int64_t end, int is_complex) {
    int64_t chunks = (r->length + CHUNK - 1) / CHUNK;
    float *grad_last = r->grad_last + b.row * r->floats + b.first;
    lanes before[CHUNK], grad = load(grad_last, b.count);
    lanes state = load(r->starts + (b.row * chunks + begin / CHUNK) * r->floats + b.first, b.count);
    for (int64_t t = begin; t < end; t++) {
        int token = token_at(r->tokens, r->length, b.row, t);
        if (token == STARTS) state = fill(0);
        before[t - begin] = state;
        if (token != PADDING) state = advance(r, b, t, state, is_complex);
    }
    for (int64_t t = end - 1; t >= begin; t--) {
        int64_t place = (b.row * r->length + t) * r->floats + b.first;
        int token = token_at(r->tokens, r->length, b.row, t);
        if (token == PADDING) {
            store(r->grad_inputs + place, fill(0), b.count);
            store(r->grad_decay + place, fill(0), b.count);
            continue;
        }
        lanes decay = at_time(r->decay, r->decay_row, r->decay_time, b, t);
        grad += at_time(r->grad_states, r->grad_row, r->grad_time, b, t);
        store(r->grad_inputs + place, grad, b.count);
        store(r->grad_decay + place, product(before[t - begin], grad, -1, is_complex), b.count);
        grad = token == STARTS ? fill(0) : product(decay, grad, -1, is_complex);
    }
    store(grad_last, grad, b.count);
}

typedef void (*block_function)(const recurrence *, block, int64_t, int64_t);

static void forward_real(const recurrence *r, block b, int64_t begin, int64_t end) {
    forward_block(r, b, begin, end, 0);
}

static void forward_complex(const recurrence *r, block b, int64_t begin, int64_t end) {
    forward_block(r, b, begin, end, 1);
}

static void backward_real(const recurrence *r, block b, int64_t begin, int64_t end) {
    backward_block(r, b, begin, end, 0);
}

static void backward_complex(const recurrence *r, block b, int64_t begin, int64_t end) {
    backward_block(r, b, begin, end, 1);
}

static void run_chunk(const recurrence *r, int64_t task, int64_t begin, block_function run) {
    int64_t row = task / r->parts, part = task % r->parts;
    int64_t end = begin + CHUNK < r->length ? begin + CHUNK : r->length;
    int64_t blocks = (r->floats + LANES - 1) / LANES;
    for (int64_t number = blocks * part / r->parts; number < blocks * (part + 1) / r->parts; number++) {
        int64_t first = number * LANES, left = r->floats - first;
        run(r, (block){row, first, left < LANES ? left : LANES}, begin, end);
    }
}

static void forward_task(const void *arguments, int64_t task) {
    const recurrence *r = arguments;
    for (int64_t begin = 0; begin < r->length; begin += CHUNK)
        run_chunk(r, task, begin, r->is_complex ? forward_complex : forward_real);
}

static void backward_task(const void *arguments, int64_t task) {
    const recurrence *r = arguments;
    for (int64_t begin = (r->length - 1) / CHUNK * CHUNK; begin >= 0 && r->length; begin -= CHUNK)
        run_chunk(r, task, begin, r->is_complex ? backward_complex : backward_real);
}

/* last holds the initial states and becomes the last ones. */
void diagonal_recurrence_forward(
    const float *inputs, const float *decay, const uint8_t *tokens,
    float *states, float *last, float *starts,
    int64_t inputs_row, int64_t inputs_time, int64_t decay_row, int64_t decay_time,
    int64_t batch, int64_t length, int64_t floats, int64_t is_complex, int64_t parts, int64_t threads
) {
    recurrence r = {
        .inputs = inputs, .decay = decay, .tokens = tokens,
        .states = states, .last = last, .starts = starts,
        .inputs_row = inputs_row, .inputs_time = inputs_time,
        .decay_row = decay_row, .decay_time = decay_time,
        .batch = batch, .length = length, .floats = floats, .is_complex = is_complex, .parts = parts,
    };
    run_tasks(forward_task, &r, batch * parts, threads);
}

/* grad_last holds the gradients of the last states and becomes those of the initial ones. */
void diagonal_recurrence_backward(
    const float *inputs, const float *decay, const uint8_t *tokens,
    const float *starts, const float *grad_states,
    float *grad_inputs, float *grad_decay, float *grad_last,
    int64_t inputs_row, int64_t inputs_time, int64_t decay_row, int64_t decay_time,
    int64_t grad_row, int64_t grad_time,
    int64_t batch, int64_t length, int64_t floats, int64_t is_complex, int64_t parts, int64_t threads
) {
    recurrence r = {
        .inputs = inputs, .decay = decay, .tokens = tokens, .starts = (float *)starts,
        .grad_states = grad_states, .grad_inputs = grad_inputs, .grad_decay = grad_decay,
        .grad_last = grad_last, .inputs_row = inputs_row, .inputs_time = inputs_time,
        .decay_row = decay_row, .decay_time = decay_time,
        .grad_row = grad_row, .grad_time = grad_time,
        .batch = batch, .length = length, .floats = floats, .is_complex = is_complex, .parts = parts,
    };
    run_tasks(backward_task, &r, batch * parts, threads);
}
