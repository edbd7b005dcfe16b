/* A gated root-mean-square norm, token by token and group by group of channels.
 *
 *   u = x silu(z),  y = u scale weight,  scale = 1 / sqrt(mean(u^2) + epsilon)
 *
 * Layouts: hidden (x) and gate (z) [batch, length, channel], the last axis contiguous; weight
 * [member, channel]; outputs, grad_hidden and grad_gate [batch, length, channel] and scales
 * [batch, length, group] without gaps; grad_weight [batch, part, channel], sums over a part's tokens.
 */
#include <stdlib.h>

#include "lanes.h"
#include "norm.h"
#include "parallel.h"

typedef struct {
    const float *hidden, *gate, *weight, *grad_outputs;
    float *outputs, *scales, *grad_hidden, *grad_gate, *grad_weight;
    int64_t hidden_row, hidden_time, gate_row, gate_time, grad_row, grad_time;
    int64_t batch, length, channels, groups, rows_per_member, parts;
    float epsilon;
} gated_norm;

/* A group of one token's channels, and where its numbers are. */
typedef struct {
    const float *hidden, *gate, *weight, *grad_outputs;
    int64_t place, scale, size;
} group;

static group find_group(const gated_norm *n, int64_t row, int64_t t, int64_t number) {
    int64_t size = n->channels / n->groups, first = number * size, token = row * n->length + t;
    return (group){
        .hidden = n->hidden + row * n->hidden_row + t * n->hidden_time + first,
        .gate = n->gate + row * n->gate_row + t * n->gate_time + first,
        .weight = n->weight + row / n->rows_per_member * n->channels + first,
        .grad_outputs = n->grad_outputs + row * n->grad_row + t * n->grad_time + first,
        .place = token * n->channels + first,
        .scale = token * n->groups + number,
        .size = size,
    };
}

static void forward_group(const gated_norm *n, group g) {
    float *outputs = n->outputs + g.place;
    for (int64_t i = 0; i < g.size; i += LANES) {
        int64_t left = g.size - i;
        lanes gate = load(g.gate + i, left);
        store(outputs + i, load(g.hidden + i, left) * gate * sigmoid(gate), left);
    }
    float scale = n->scales[g.scale] = inverse_root(outputs, n->epsilon, g.size);
    for (int64_t i = 0; i < g.size; i += LANES) {
        int64_t left = g.size - i;
        store(outputs + i, load(outputs + i, left) * scale * load(g.weight + i, left), left);
    }
}

/* Leave sigmoid(z) in `opens`, and return how far the gradient of u scale goes along u, per u. */
static float measure_group(float *opens, float *grad_weight, float scale, group g) {
    lanes sum = {0};
    for (int64_t i = 0; i < g.size; i += LANES) {
        int64_t left = g.size - i;
        lanes gate = load(g.gate + i, left), open = sigmoid(gate);
        lanes seen = load(g.grad_outputs + i, left) * (load(g.hidden + i, left) * gate * open);
        store(opens + i, open, left);
        store(grad_weight + i, load(grad_weight + i, left) + seen * scale, left);
        sum += seen * load(g.weight + i, left);
    }
    return total(sum) / (float)g.size * scale * scale;
}

static void backward_group(const gated_norm *n, float *opens, float *grad_weight, group g) {
    float scale = n->scales[g.scale], along = measure_group(opens, grad_weight, scale, g);
    for (int64_t i = 0; i < g.size; i += LANES) {
        int64_t left = g.size - i;
        lanes hidden = load(g.hidden + i, left), gate = load(g.gate + i, left);
        lanes open = load(opens + i, left), silu = gate * open;
        lanes grad = load(g.grad_outputs + i, left) * load(g.weight + i, left);
        grad = (grad - hidden * silu * along) * scale;
        store(n->grad_hidden + g.place + i, grad * silu, left);
        store(n->grad_gate + g.place + i, grad * hidden * (open + silu * (1.0f - open)), left);
    }
}

static int64_t first_token(const gated_norm *n, int64_t part) {
    return n->length * part / n->parts;
}

static void forward_task(const void *arguments, int64_t task) {
    const gated_norm *n = arguments;
    int64_t row = task / n->parts, part = task % n->parts;
    for (int64_t t = first_token(n, part); t < first_token(n, part + 1); t++)
        for (int64_t number = 0; number < n->groups; number++)
            forward_group(n, find_group(n, row, t, number));
}

static void backward_task(const void *arguments, int64_t task) {
    const gated_norm *n = arguments;
    int64_t row = task / n->parts, part = task % n->parts, size = n->channels / n->groups;
    float *opens = malloc((size + 1) * sizeof *opens), *sums = n->grad_weight + task * n->channels;
    memset(sums, 0, n->channels * sizeof *sums);
    for (int64_t t = first_token(n, part); t < first_token(n, part + 1); t++)
        for (int64_t number = 0; number < n->groups; number++)
            backward_group(n, opens, sums + number * size, find_group(n, row, t, number));
    free(opens);
}

void gated_norm_forward(
    const float *hidden, const float *gate, const float *weight, float *outputs, float *scales,
    int64_t hidden_row, int64_t hidden_time, int64_t gate_row, int64_t gate_time,
    int64_t batch, int64_t length, int64_t channels, int64_t groups,
    int64_t rows_per_member, int64_t parts, int64_t threads, int64_t epsilon_bits
) {
    gated_norm n = {
        .hidden = hidden, .gate = gate, .weight = weight, .outputs = outputs, .scales = scales,
        .hidden_row = hidden_row, .hidden_time = hidden_time,
        .gate_row = gate_row, .gate_time = gate_time,
        .batch = batch, .length = length, .channels = channels, .groups = groups,
        .rows_per_member = rows_per_member, .parts = parts, .epsilon = float_of(epsilon_bits),
    };
    run_tasks(forward_task, &n, batch * parts, threads);
}

/* `scales` is what the forward pass left there. */
void gated_norm_backward(
    const float *hidden, const float *gate, const float *weight, const float *scales,
    const float *grad_outputs, float *grad_hidden, float *grad_gate, float *grad_weight,
    int64_t hidden_row, int64_t hidden_time, int64_t gate_row, int64_t gate_time,
    int64_t grad_row, int64_t grad_time,
    int64_t batch, int64_t length, int64_t channels, int64_t groups,
    int64_t rows_per_member, int64_t parts, int64_t threads
) {
    gated_norm n = {
        .hidden = hidden, .gate = gate, .weight = weight, .scales = (float *)scales,
        .grad_outputs = grad_outputs, .grad_hidden = grad_hidden, .grad_gate = grad_gate,
        .grad_weight = grad_weight, .hidden_row = hidden_row, .hidden_time = hidden_time,
        .gate_row = gate_row, .gate_time = gate_time, .grad_row = grad_row, .grad_time = grad_time,
        .batch = batch, .length = length, .channels = channels, .groups = groups,
        .rows_per_member = rows_per_member, .parts = parts,
    };
    run_tasks(backward_task, &n, batch * parts, threads);
}
