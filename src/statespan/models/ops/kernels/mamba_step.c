/* One token through a whole Mamba layer, for decoding: the cost is that of reading the weights.
 *
 * Layouts (floats, contiguous): hidden, outputs [batch, width]; in_projection [2 channel, width];
 * convolution [channel, window]; x_projection [rank + 2 state, channel]; delta_projection
 * [channel, rank]; transition_log [channel, state]; out_projection [width, channel]; windows
 * [batch, channel, window] and states [batch, channel, state] are moved on by one token in place.
 */
#include <stdlib.h>

#include "linear.h"

/* y = W x + bias, where the bias may be null. */
static void apply_rows(
    float *y, const float *weight, const float *x, const float *bias, int64_t rows, int64_t columns
) {
    for (int64_t row = 0; row < rows; row++)
        y[row] = row_product(weight + row * columns, x, columns) + (bias ? bias[row] : 0);
}

static void silu_in_place(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) {
        lanes value = load(x + i, count - i);
        store(x + i, value * sigmoid(value), count - i);
    }
}

static void softplus_in_place(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) store(x + i, softplus(load(x + i, count - i)), count - i);
}

/* Move each channel's window on by `inputs`, and put the convolution in their place. */
static void convolve(
    float *inputs, float *window, const float *weight, const float *bias, int64_t channels, int64_t width
) {
    for (int64_t c = 0; c < channels; c++) {
        float *past = window + c * width, sum = bias ? bias[c] : 0;
        memmove(past, past + 1, (width - 1) * sizeof *past);
        past[width - 1] = inputs[c];
        for (int64_t k = 0; k < width; k++) sum += past[k] * weight[c * width + k];
        inputs[c] = sum;
    }
}

static void scan(
    float *y, float *state, const float *inputs, const float *delta, const float *transition_log,
    const float *write, const float *read, const float *skip, int64_t channels, int64_t states
) {
    for (int64_t c = 0; c < channels; c++) {
        lanes sum = {0};
        for (int64_t n = 0; n < states; n += LANES) {
            int64_t left = states - n;
            lanes decay = exponential(-delta[c] * exponential(load(transition_log + c * states + n, left)));
            lanes next = decay * load(state + c * states + n, left);
            next += (delta[c] * inputs[c]) * load(write + n, left);
            store(state + c * states + n, next, left);
            sum += next * load(read + n, left);
        }
        y[c] = total(sum) + skip[c] * inputs[c];
    }
}

void mamba_step(
    const float *hidden, const float *in_projection, const float *in_bias, const float *convolution,
    const float *convolution_bias, const float *x_projection, const float *delta_projection,
    const float *delta_bias, const float *transition_log, const float *skip,
    const float *out_projection, const float *out_bias, float *windows, float *states, float *outputs,
    int64_t batch, int64_t width, int64_t channels, int64_t rank, int64_t state, int64_t window
) {
    int64_t selected = rank + 2 * state;
    float *memory = malloc((4 * channels + selected) * sizeof(float));
    float *inputs = memory, *gate = inputs + channels, *delta = gate + channels;
    float *y = delta + channels, *steering = y + channels;
    for (int64_t row = 0; row < batch; row++) {
        apply_rows(inputs, in_projection, hidden + row * width, in_bias, 2 * channels, width);
        convolve(inputs, windows + row * channels * window, convolution, convolution_bias, channels, window);
        silu_in_place(inputs, channels);
        silu_in_place(gate, channels);
        apply_rows(steering, x_projection, inputs, 0, selected, channels);
        apply_rows(delta, delta_projection, steering, delta_bias, channels, rank);
        softplus_in_place(delta, channels);
        scan(y, states + row * channels * state, inputs, delta, transition_log, steering + rank,
             steering + rank + state, skip, channels, state);
        for (int64_t c = 0; c < channels; c++) y[c] *= gate[c];
        apply_rows(outputs + row * width, out_projection, y, out_bias, width, channels);
    }
    free(memory);
}
