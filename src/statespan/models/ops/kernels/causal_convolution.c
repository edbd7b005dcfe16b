/* A causal depthwise convolution over a few steps, followed by silu or by nothing.
 *
 *   y_t = f(bias + sum_k weight_k x_{t - width + 1 + k})
 *
 * The window of a row's channels is held in registers and slides over its tokens that are not
 * padding. Layouts: inputs [batch, length, channel], the last axis contiguous; weight
 * [member, width, channel]; bias [member, channel]; window [batch, width - 1, channel].
 */
#include <stdlib.h>

#include "lanes.h"
#include "parallel.h"
#include "recurrences.h"
#include "tokens.h"

#define CHUNK 64
#define MOST_WIDTH 16

typedef struct {
    const float *inputs, *weight, *bias, *grad_outputs, *grad_last;
    const uint8_t *tokens;
    float *outputs, *window, *grad_inputs, *grad_weight, *grad_bias, *grad_window;
    int64_t inputs_row, inputs_time, grad_row, grad_time, grad_inputs_row, grad_inputs_time;
    int64_t batch, length, channels, width, rows_per_member, parts, silu;
} convolution;

typedef struct {
    int64_t row, first, count;
} block;

INLINE void load_weight(const convolution *c, block b, lanes *weight, lanes *bias, int64_t width) {
    int64_t member = b.row / c->rows_per_member;
    for (int64_t k = 0; k < width; k++)
        weight[k] = load(c->weight + (member * width + k) * c->channels + b.first, b.count);
    *bias = load(c->bias + member * c->channels + b.first, b.count);
}

INLINE void slide(lanes *window, lanes next, int64_t width) {
    for (int64_t k = 0; k + 1 < width; k++) window[k] = window[k + 1];
    window[width - 1] = next;
}

INLINE lanes weigh(const lanes *window, const lanes *weight, lanes bias, int64_t width) {
    for (int64_t k = 0; k < width; k++) bias += window[k] * weight[k];
    return bias;
}

/* The window holds the last width - 1 inputs in its first places; its last place is free. */
INLINE void load_window(lanes *window, const float *from, int64_t channels, block b, int64_t width) {
    window[0] = fill(0);
    for (int64_t k = 0; k + 1 < width; k++)
        window[k + 1] = load(from + (b.row * (width - 1) + k) * channels + b.first, b.count);
}

INLINE void store_window(float *to, const lanes *window, int64_t channels, block b, int64_t width) {
    for (int64_t k = 0; k + 1 < width; k++)
        store(to + (b.row * (width - 1) + k) * channels + b.first, window[k + 1], b.count);
}

INLINE void forward_block(const convolution *c, block b, int64_t begin, int64_t end, int64_t width) {
    lanes weight[MOST_WIDTH], window[MOST_WIDTH], bias;
    load_weight(c, b, weight, &bias, width);
    load_window(window, c->window, c->channels, b, width);
    for (int64_t t = begin; t < end; t++) {
        float *output = c->outputs + (b.row * c->length + t) * c->channels + b.first;
        int token = token_at(c->tokens, c->length, b.row, t);
        if (token == PADDING) {
            store(output, fill(0), b.count);
            continue;
        }
        if (token == STARTS) memset(window, 0, width * sizeof *window);
        slide(window, load(c->inputs + b.row * c->inputs_row + t * c->inputs_time + b.first, b.count), width);
        lanes sum = weigh(window, weight, bias, width);
        store(output, c->silu ? sum * sigmoid(sum) : sum, b.count);
    }
    store_window(c->window, window, c->channels, b, width);
}

/* How far the backward pass of a block of channels has come: the inputs in the window, the
 * gradients that they have so far and where these go, and sums over time. */
typedef struct {
    lanes window[MOST_WIDTH], grads[MOST_WIDTH], grad_weight[MOST_WIDTH], grad_bias;
    int64_t from[MOST_WIDTH];
} progress;

/* Put the whole gradient of an input where it belongs: to its token or, before the first, to the
 * window that the row began with. Nothing is before a document that starts. */
INLINE void emit(const convolution *c, block b, int64_t from, lanes grad, int64_t width) {
    if (from >= 0) {
        store(c->grad_inputs + b.row * c->grad_inputs_row + from * c->grad_inputs_time + b.first, grad, b.count);
    } else if (from >= 1 - width) {
        store(c->grad_window + (b.row * (width - 1) + width - 1 + from) * c->channels + b.first, grad, b.count);
    }
}

INLINE void begin_backward(const convolution *c, block b, progress *p, int64_t width) {
    load_window(p->window, c->window, c->channels, b, width);
    p->grad_bias = fill(0);
    for (int64_t k = 0; k < width; k++) {
        p->grad_weight[k] = p->grads[k] = fill(0);
        p->from[k] = k - width;
    }
}

INLINE void cut(const convolution *c, block b, progress *p, int64_t width) {
    for (int64_t k = 1; k < width; k++) emit(c, b, p->from[k], p->grads[k], width);
    for (int64_t k = 0; k < width; k++) {
        p->window[k] = p->grads[k] = fill(0);
        p->from[k] = -width;
    }
}

INLINE void backward_block(
    const convolution *c, block b, progress *p, int64_t begin, int64_t end, int64_t width
) {
    lanes weight[MOST_WIDTH], bias;
    load_weight(c, b, weight, &bias, width);
    for (int64_t t = begin; t < end; t++) {
        int token = token_at(c->tokens, c->length, b.row, t);
        if (token == PADDING) {
            emit(c, b, t, fill(0), width);
            continue;
        }
        if (token == STARTS) cut(c, b, p, width);
        lanes input = load(c->inputs + b.row * c->inputs_row + t * c->inputs_time + b.first, b.count);
        slide(p->window, input, width);
        slide(p->grads, fill(0), width);
        for (int64_t k = 0; k + 1 < width; k++) p->from[k] = p->from[k + 1];
        p->from[width - 1] = t;
        lanes grad = load(c->grad_outputs + b.row * c->grad_row + t * c->grad_time + b.first, b.count);
        if (c->silu) {
            lanes sum = weigh(p->window, weight, bias, width), open = sigmoid(sum);
            grad *= open * (1.0f + sum * (1.0f - open));
        }
        p->grad_bias += grad;
        for (int64_t k = 0; k < width; k++) {
            p->grads[k] += grad * weight[k];
            p->grad_weight[k] += grad * p->window[k];
        }
        emit(c, b, p->from[0], p->grads[0], width);
    }
}

/* What is still in the window is what the last window passes on. */
INLINE void end_backward(const convolution *c, block b, progress *p, int64_t width) {
    for (int64_t k = 1; k < width; k++) {
        lanes passed = load(c->grad_last + (b.row * (width - 1) + k - 1) * c->channels + b.first, b.count);
        emit(c, b, p->from[k], p->grads[k] + passed, width);
    }
    for (int64_t k = 0; k < width; k++)
        store(c->grad_weight + (b.row * width + k) * c->channels + b.first, p->grad_weight[k], b.count);
    store(c->grad_bias + b.row * c->channels + b.first, p->grad_bias, b.count);
}

static block make_block(const convolution *c, int64_t row, int64_t number) {
    int64_t first = number * LANES, left = c->channels - first;
    return (block){row, first, left < LANES ? left : LANES};
}

static int64_t first_block(const convolution *c, int64_t part) {
    return (c->channels + LANES - 1) / LANES * part / c->parts;
}

static void forward_task(const void *arguments, int64_t task) {
    const convolution *c = arguments;
    int64_t row = task / c->parts, part = task % c->parts;
    for (int64_t begin = 0; begin < c->length; begin += CHUNK) {
        int64_t end = begin + CHUNK < c->length ? begin + CHUNK : c->length;
        for (int64_t number = first_block(c, part); number < first_block(c, part + 1); number++) {
            block b = make_block(c, row, number);
            switch (c->width) {
                case 4: forward_block(c, b, begin, end, 4); break;
                default: forward_block(c, b, begin, end, c->width);
            }
        }
    }
}

static void backward_task(const void *arguments, int64_t task) {
    const convolution *c = arguments;
    int64_t row = task / c->parts, part = task % c->parts;
    int64_t first = first_block(c, part), stop = first_block(c, part + 1);
    progress *all = aligned_alloc(64, (stop - first + 1) * ((sizeof(progress) + 63) / 64 * 64));
    for (int64_t number = first; number < stop; number++)
        begin_backward(c, make_block(c, row, number), all + number - first, c->width);
    for (int64_t begin = 0; begin < c->length; begin += CHUNK) {
        int64_t end = begin + CHUNK < c->length ? begin + CHUNK : c->length;
        for (int64_t number = first; number < stop; number++) {
            block b = make_block(c, row, number);
            progress *p = all + number - first;
            switch (c->width) {
                case 4: backward_block(c, b, p, begin, end, 4); break;
                default: backward_block(c, b, p, begin, end, c->width);
            }
        }
    }
    for (int64_t number = first; number < stop; number++)
        end_backward(c, make_block(c, row, number), all + number - first, c->width);
    free(all);
}

/* window holds the initial window and becomes the last one. */
void causal_convolution_forward(
    const float *inputs, const float *weight, const float *bias, const uint8_t *tokens,
    float *outputs, float *window, int64_t inputs_row, int64_t inputs_time,
    int64_t batch, int64_t length, int64_t channels, int64_t width,
    int64_t rows_per_member, int64_t silu, int64_t parts, int64_t threads
) {
    convolution c = {
        .inputs = inputs, .weight = weight, .bias = bias, .tokens = tokens,
        .outputs = outputs, .window = window, .inputs_row = inputs_row, .inputs_time = inputs_time,
        .batch = batch, .length = length, .channels = channels, .width = width,
        .rows_per_member = rows_per_member, .silu = silu, .parts = parts,
    };
    run_tasks(forward_task, &c, batch * parts, threads);
}

/* grad_weight [batch, width, channel] and grad_bias [batch, channel] are sums over each row. */
void causal_convolution_backward(
    const float *inputs, const float *weight, const float *bias, const uint8_t *tokens,
    const float *window, const float *grad_outputs, const float *grad_last,
    float *grad_inputs, float *grad_weight, float *grad_bias, float *grad_window,
    int64_t inputs_row, int64_t inputs_time, int64_t grad_row, int64_t grad_time,
    int64_t grad_inputs_row, int64_t grad_inputs_time,
    int64_t batch, int64_t length, int64_t channels, int64_t width,
    int64_t rows_per_member, int64_t silu, int64_t parts, int64_t threads
) {
    convolution c = {
        .inputs = inputs, .weight = weight, .bias = bias, .tokens = tokens,
        .window = (float *)window, .grad_outputs = grad_outputs, .grad_last = grad_last,
        .grad_inputs = grad_inputs, .grad_weight = grad_weight, .grad_bias = grad_bias,
        .grad_window = grad_window, .inputs_row = inputs_row, .inputs_time = inputs_time,
        .grad_row = grad_row, .grad_time = grad_time,
        .grad_inputs_row = grad_inputs_row, .grad_inputs_time = grad_inputs_time,
        .batch = batch, .length = length, .channels = channels, .width = width,
        .rows_per_member = rows_per_member, .silu = silu, .parts = parts,
    };
    run_tasks(backward_task, &c, batch * parts, threads);
}
