/* A whole Mamba layer, forward and backward: norm and residual (if asked for), projections,
 * convolution, selective scan.
 *
 * A row of the batch goes through the layer piece by piece, so that what one part leaves for the
 * next stays in the cache. The forward pass keeps what `row_kept` names; the backward pass takes
 * the pieces from the last to the first, and computes again what takes longer to write to memory
 * than to compute: the convolution and the steps' sizes.
 *
 * Layouts (floats, contiguous): hidden, outputs [batch, length, width]; behind an axis of members:
 * norm [width], in_projection [2 channel, width], convolution [channel, tap], x_projection
 * [rank + 2 state, channel], delta_projection [channel, rank], transition_log [channel, state],
 * out_projection [width, channel], biases and skip [channel]. window [batch, tap - 1, channel] and
 * state [batch, state, channel].
 */
#include <stdlib.h>

#include "linear.h"
#include "norm.h"
#include "recurrences.h"
#include "tokens.h"

#define SCAN_CHUNK 32 /* as in selective_scan.c */

/* The parameters of one member, or their gradients. */
typedef struct {
    float *norm, *in, *convolution, *convolution_bias, *x, *delta, *delta_bias, *transition, *skip, *out;
} parameters;

typedef struct {
    const float *hidden, *grad_outputs;
    float epsilon;
    parameters all, grads; /* of all members; of all parts and members */
    const uint8_t *tokens;
    float *outputs, *window, *state, *kept, *grad_hidden;
    int64_t batch, length, width, channels, states, rank, taps, members, piece, parts, threads;
} layer;

/* What the forward pass keeps of a row, and the row's part of the other arrays. */
typedef struct {
    float *projected, *scanned, *selected, *windows, *starts;
    float *window, *state;
} row_kept;

/* Some neighboring tokens of a row. */
typedef struct {
    int64_t row, begin, count;
} piece;

/* Of one member and one thread: weights as the products want them, and what a piece needs. */
typedef struct {
    parameters own, columns, grads, sums;
    float *memory, *normed, *convolved, *delta, *window, *grad_normed, *grad_projected, *grad_convolved, *grad_delta, *grad_scanned;
    float *grad_selected, *grad_write, *grad_read, *grad_bias, *grad_taps, *grad_window;
} workspace;

static int64_t selected_size(const layer *m) { return m->rank + 2 * m->states; }

static int64_t pieces_of(const layer *m) { return (m->length + m->piece - 1) / m->piece; }

static float *part_of(float **memory, int64_t size) {
    float *taken = *memory;
    *memory += size;
    return taken;
}

static row_kept keep_row(const layer *m, int64_t row) {
    int64_t tokens = m->length, channels = m->channels, states = m->states * channels;
    int64_t window = (m->taps - 1) * channels, chunks = (tokens + SCAN_CHUNK - 1) / SCAN_CHUNK;
    int64_t size = tokens * (3 * channels + selected_size(m)) + pieces_of(m) * window + chunks * states;
    float *memory = m->kept + row * size;
    return (row_kept){
        .projected = part_of(&memory, tokens * 2 * channels),
        .scanned = part_of(&memory, tokens * channels),
        .windows = part_of(&memory, pieces_of(m) * window),
        .starts = part_of(&memory, chunks * states),
        .selected = part_of(&memory, tokens * selected_size(m)),
        .window = m->window + row * window,
        .state = m->state + row * states,
    };
}

static piece piece_at(const layer *m, int64_t row, int64_t number) {
    int64_t begin = number * m->piece, left = m->length - begin;
    return (piece){row, begin, left < m->piece ? left : m->piece};
}

static const uint8_t *tokens_of(const layer *m, piece p) {
    return m->tokens ? m->tokens + p.row * m->length + p.begin : 0;
}

static int64_t scan_parts(const layer *m) {
    int64_t blocks = m->channels / LANES;
    return m->threads < blocks ? m->threads : blocks > 1 ? blocks : 1;
}

/* The parameters of the member `number`. */
static parameters member_of(const layer *m, parameters all, int64_t number) {
    int64_t channels = m->channels;
    return (parameters){
        .norm = all.norm ? all.norm + number * m->width : 0,
        .in = all.in + number * 2 * channels * m->width,
        .convolution = all.convolution + number * channels * m->taps,
        .convolution_bias = all.convolution_bias + number * channels,
        .x = all.x + number * selected_size(m) * channels,
        .delta = all.delta + number * channels * m->rank,
        .delta_bias = all.delta_bias + number * channels,
        .transition = all.transition + number * channels * m->states,
        .skip = all.skip + number * channels,
        .out = all.out + number * m->width * channels,
    };
}

static parameters take_columns(const layer *m, float **memory, int with_projections) {
    int64_t channels = m->channels, all = with_projections;
    return (parameters){
        .in = part_of(memory, all * m->width * 2 * channels),
        .x = part_of(memory, all * channels * selected_size(m)),
        .out = part_of(memory, all * channels * m->width),
        .delta = part_of(memory, m->rank * channels),
        .convolution = part_of(memory, m->taps * channels),
        .transition = part_of(memory, m->states * channels),
    };
}

static workspace make_workspace(const layer *m) {
    int64_t channels = m->channels, projections = channels * (3 * m->width + selected_size(m));
    int64_t small = channels * (m->rank + m->taps + m->states);
    int64_t token = 2 * m->width + 7 * channels + selected_size(m) + 2 * scan_parts(m) * m->states;
    int64_t floats = projections + 2 * small + m->piece * token + (3 * m->taps + 1) * channels;
    workspace w = {.memory = malloc(floats * sizeof(float))};
    float *memory = w.memory;
    w.columns = take_columns(m, &memory, 1);
    w.sums = take_columns(m, &memory, 0);
    w.normed = part_of(&memory, m->piece * m->width);
    w.convolved = part_of(&memory, m->piece * channels);
    w.delta = part_of(&memory, m->piece * channels);
    w.window = part_of(&memory, m->taps * channels);
    w.grad_normed = part_of(&memory, m->piece * m->width);
    w.grad_projected = part_of(&memory, m->piece * 2 * channels);
    w.grad_convolved = part_of(&memory, m->piece * channels);
    w.grad_delta = part_of(&memory, m->piece * channels);
    w.grad_scanned = part_of(&memory, m->piece * channels);
    w.grad_selected = part_of(&memory, m->piece * selected_size(m));
    w.grad_write = part_of(&memory, m->piece * scan_parts(m) * m->states);
    w.grad_read = part_of(&memory, m->piece * scan_parts(m) * m->states);
    w.grad_taps = part_of(&memory, m->taps * channels);
    w.grad_window = part_of(&memory, m->taps * channels);
    w.grad_bias = part_of(&memory, channels);
    return w;
}

static void turn(float *to, const float *from, int64_t rows, int64_t columns) {
    transpose(to, rows, from, columns, rows, columns);
}

/* Make the workspace that of another member. */
static void enter_member(const layer *m, workspace *w, int64_t member) {
    int64_t channels = m->channels;
    w->own = member_of(m, m->all, member);
    turn(w->columns.delta, w->own.delta, channels, m->rank);
    turn(w->columns.convolution, w->own.convolution, channels, m->taps);
    turn(w->columns.transition, w->own.transition, channels, m->states);
    for (int64_t i = 0; i < m->states * channels; i += LANES) {
        int64_t left = m->states * channels - i;
        store(w->columns.transition + i, -exponential(load(w->columns.transition + i, left)), left);
    }
}

/* to = from W^T (or + to), for W [rows, columns] and its transposed form, if there is one. */
static void project(
    const layer *m, float *to, int64_t to_row, const float *from, int64_t from_row, const float *weight,
    const float *turned, int64_t rows, int64_t columns, int64_t tokens, int add
) {
    if (turned) {
        compute_product((product){
            .to = to, .to_row = to_row, .a = {from, from_row, 1}, .b = turned, .b_row = rows,
            .rows = tokens, .columns = rows, .count = columns, .accumulate = add,
        }, m->threads);
        return;
    }
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = 0; r < rows; r++) {
            float sum = row_product(weight + r * columns, from + t * from_row, columns);
            to[t * to_row + r] = add ? to[t * to_row + r] + sum : sum;
        }
}

static int is_few(const layer *m) { return m->batch / m->members * m->length < FEW_TOKENS; }

static void turn_projections(const layer *m, workspace *w) {
    turn(w->columns.in, w->own.in, 2 * m->channels, m->width);
    turn(w->columns.x, w->own.x, selected_size(m), m->channels);
    turn(w->columns.out, w->own.out, m->width, m->channels);
}

/* What goes into the first projection. */
static const float *mixed(const layer *m, const workspace *w, piece p) {
    const float *hidden = m->hidden + (p.row * m->length + p.begin) * m->width;
    if (!w->own.norm) return hidden;
    normalize(w->normed, hidden, w->own.norm, m->epsilon, p.count, m->width);
    return w->normed;
}

/* The convolution of a piece, which moves `window` on. */
static void convolve(const layer *m, const workspace *w, row_kept k, piece p, float *window) {
    causal_convolution_forward(
        k.projected + p.begin * 2 * m->channels, w->columns.convolution, w->own.convolution_bias, tokens_of(m, p),
        w->convolved, window, 0, 2 * m->channels,
        1, p.count, m->channels, m->taps, 1, 1, scan_parts(m), m->threads
    );
}

/* The steps' sizes of a piece, before their bias. */
static void size_steps(const layer *m, const workspace *w, row_kept k, piece p) {
    const float *selected = k.selected + p.begin * selected_size(m);
    project(m, w->delta, m->channels, selected, selected_size(m), w->own.delta, w->columns.delta,
            m->channels, m->rank, p.count, 0);
}

static void forward_piece(const layer *m, const workspace *w, row_kept k, piece p) {
    int64_t channels = m->channels, size = selected_size(m), few = is_few(m), window = (m->taps - 1) * channels;
    int64_t place = p.row * m->length + p.begin;
    float *projected = k.projected + p.begin * 2 * channels, *scanned = k.scanned + p.begin * channels;
    float *selected = k.selected + p.begin * size, *outputs = m->outputs + place * m->width;
    project(m, projected, 2 * channels, mixed(m, w, p), m->width, w->own.in, few ? 0 : w->columns.in,
            2 * channels, m->width, p.count, 0);
    memcpy(k.windows + p.begin / m->piece * window, k.window, window * sizeof(float));
    convolve(m, w, k, p, k.window);
    project(m, selected, size, w->convolved, channels, w->own.x, few ? 0 : w->columns.x, size, channels, p.count, 0);
    size_steps(m, w, k, p);
    selective_scan_forward(
        w->convolved, w->delta, w->columns.transition, selected + m->rank, selected + m->rank + m->states,
        w->own.skip, projected + channels, w->own.delta_bias, tokens_of(m, p), scanned, k.state,
        k.starts + p.begin / SCAN_CHUNK * m->states * channels,
        0, channels, 0, channels, 0, 2 * channels, 0, size, 0, 0, size, 0,
        1, p.count, channels, m->states, 1, 1, 1, scan_parts(m), m->threads
    );
    if (w->own.norm) memcpy(outputs, m->hidden + place * m->width, p.count * m->width * sizeof(float));
    project(m, outputs, m->width, scanned, channels, w->own.out, few ? 0 : w->columns.out,
            m->width, channels, p.count, w->own.norm != 0);
}

static int64_t first_row(const layer *m, int64_t part) { return m->batch * part / m->parts; }

static void forward_rows(const void *arguments, int64_t part) {
    const layer *m = arguments;
    workspace w = make_workspace(m);
    int64_t member = -1;
    for (int64_t row = first_row(m, part); row < first_row(m, part + 1); row++) {
        if (row / (m->batch / m->members) != member) {
            member = row / (m->batch / m->members);
            enter_member(m, &w, member);
            if (!is_few(m)) turn_projections(m, &w);
        }
        for (int64_t number = 0; number < pieces_of(m); number++)
            forward_piece(m, &w, keep_row(m, row), piece_at(m, row, number));
    }
    free(w.memory);
}

/* grads (+)= outer products of the rows of `left` and `right`, summed over tokens. */
static void add_outer(
    const layer *m, float *grads, const float *left, int64_t left_row, int64_t rows,
    const float *right, int64_t right_row, int64_t columns, int64_t tokens
) {
    compute_product((product){
        .to = grads, .to_row = columns, .a = {left, 1, left_row}, .b = right, .b_row = right_row,
        .rows = rows, .columns = columns, .count = tokens, .accumulate = 1,
    }, m->threads);
}

/* to = grads W (or + to), for W [rows, columns]. */
static void pass_back(
    const layer *m, float *to, int64_t to_row, const float *grads, int64_t grads_row, const float *weight,
    int64_t rows, int64_t columns, int64_t tokens, int add
) {
    compute_product((product){
        .to = to, .to_row = to_row, .a = {grads, grads_row, 1}, .b = weight, .b_row = columns,
        .rows = tokens, .columns = columns, .count = rows, .accumulate = add,
    }, m->threads);
}

static void add_all(float *to, const float *from, int64_t size) {
    for (int64_t i = 0; i < size; i += LANES) store(to + i, load(to + i, size - i) + load(from + i, size - i), size - i);
}

/* Put the gradients of writes and reads, summed over the parts of the scan, behind those of the step. */
static void gather_selected(const layer *m, const workspace *w, int64_t tokens) {
    int64_t states = m->states;
    for (int64_t t = 0; t < tokens; t++) {
        float *to = w->grad_selected + t * selected_size(m) + m->rank;
        memcpy(to, w->grad_write + t * states, states * sizeof(float));
        memcpy(to + states, w->grad_read + t * states, states * sizeof(float));
        for (int64_t part = 1; part < scan_parts(m); part++) {
            add_all(to, w->grad_write + (part * tokens + t) * states, states);
            add_all(to + states, w->grad_read + (part * tokens + t) * states, states);
        }
    }
}

/* Compute again what the forward pass did not keep. */
static void restore(const layer *m, const workspace *w, row_kept k, piece p) {
    int64_t window = (m->taps - 1) * m->channels;
    memcpy(w->window, k.windows + p.begin / m->piece * window, window * sizeof(float));
    convolve(m, w, k, p, w->window);
    size_steps(m, w, k, p);
}

/* Through the last projection and the scan. */
static void backward_scan(const layer *m, const workspace *w, row_kept k, piece p) {
    int64_t channels = m->channels, size = selected_size(m);
    const float *grad = m->grad_outputs + (p.row * m->length + p.begin) * m->width;
    const float *projected = k.projected + p.begin * 2 * channels, *selected = k.selected + p.begin * size;
    add_outer(m, w->grads.out, grad, m->width, m->width, k.scanned + p.begin * channels, channels, channels, p.count);
    pass_back(m, w->grad_scanned, channels, grad, m->width, w->own.out, m->width, channels, p.count, 0);
    selective_scan_backward(
        w->convolved, w->delta, w->columns.transition,
        selected + m->rank, selected + m->rank + m->states, w->own.skip, projected + channels,
        w->own.delta_bias, tokens_of(m, p), k.starts + p.begin / SCAN_CHUNK * m->states * channels,
        w->grad_scanned, w->grad_convolved, w->grad_delta, w->sums.transition, w->grad_write, w->grad_read,
        w->grads.skip, w->grad_projected + channels, w->grads.delta_bias, k.state,
        0, channels, 0, channels, 0, 2 * channels, 0, size, 0, 0, size, 0, 0, channels, 0, 2 * channels,
        1, p.count, channels, m->states, 1, 1, 1, scan_parts(m), m->threads
    );
    gather_selected(m, w, p.count);
}

/* Through the two projections that steer the scan. */
static void backward_steering(const layer *m, const workspace *w, row_kept k, piece p) {
    int64_t channels = m->channels, size = selected_size(m);
    const float *selected = k.selected + p.begin * size;
    pass_back(m, w->grad_selected, size, w->grad_delta, channels, w->own.delta, channels, m->rank, p.count, 0);
    add_outer(m, w->sums.delta, selected, size, m->rank, w->grad_delta, channels, channels, p.count);
    pass_back(m, w->grad_convolved, channels, w->grad_selected, size, w->own.x, size, channels, p.count, 1);
    add_outer(m, w->grads.x, w->grad_selected, size, size, w->convolved, channels, channels, p.count);
}

static void backward_convolution(const layer *m, const workspace *w, row_kept k, piece p) {
    int64_t channels = m->channels, window = (m->taps - 1) * channels;
    memset(w->grad_window, 0, window * sizeof(float));
    causal_convolution_backward(
        k.projected + p.begin * 2 * channels, w->columns.convolution, w->own.convolution_bias, tokens_of(m, p),
        k.windows + p.begin / m->piece * window, w->grad_convolved, k.window, w->grad_projected,
        w->grad_taps, w->grad_bias, w->grad_window, 0, 2 * channels, 0, channels, 0, 2 * channels,
        1, p.count, channels, m->taps, 1, 1, scan_parts(m), m->threads
    );
    memcpy(k.window, w->grad_window, window * sizeof(float));
    add_all(w->sums.convolution, w->grad_taps, m->taps * channels);
    add_all(w->grads.convolution_bias, w->grad_bias, channels);
}

/* Through the first projection, the norm and the residual. */
static void backward_input(const layer *m, const workspace *w, piece p) {
    int64_t place = (p.row * m->length + p.begin) * m->width;
    float *grad_hidden = m->grad_hidden + place, *to = w->own.norm ? w->grad_normed : grad_hidden;
    add_outer(m, w->grads.in, w->grad_projected, 2 * m->channels, 2 * m->channels, mixed(m, w, p), m->width, m->width, p.count);
    pass_back(m, to, m->width, w->grad_projected, 2 * m->channels, w->own.in, 2 * m->channels, m->width, p.count, 0);
    if (!w->own.norm) return;
    memcpy(grad_hidden, m->grad_outputs + place, p.count * m->width * sizeof(float));
    pass_norm(grad_hidden, w->grads.norm, to, m->hidden + place, w->own.norm, m->epsilon, p.count, m->width);
}

/* Start the sums of those gradients whose layout in the kernels is another. */
static void begin_sums(const layer *m, workspace *w, int64_t part, int64_t member) {
    w->grads = member_of(m, m->grads, part * m->members + member);
    memset(w->sums.delta, 0, m->rank * m->channels * sizeof(float));
    memset(w->sums.convolution, 0, m->taps * m->channels * sizeof(float));
    memset(w->sums.transition, 0, m->states * m->channels * sizeof(float));
}

static void end_sums(const layer *m, workspace *w) {
    int64_t channels = m->channels, size = m->states * channels;
    turn(w->grads.delta, w->sums.delta, m->rank, channels);
    turn(w->grads.convolution, w->sums.convolution, m->taps, channels);
    for (int64_t i = 0; i < size; i += LANES) /* of A = -exp(log) */
        store(w->sums.transition + i, load(w->sums.transition + i, size - i) * load(w->columns.transition + i, size - i), size - i);
    turn(w->grads.transition, w->sums.transition, m->states, channels);
}

static void backward_rows(const void *arguments, int64_t part) {
    const layer *m = arguments;
    workspace w = make_workspace(m);
    int64_t member = -1;
    for (int64_t row = first_row(m, part); row < first_row(m, part + 1); row++) {
        if (row / (m->batch / m->members) != member) {
            if (member >= 0) end_sums(m, &w);
            member = row / (m->batch / m->members);
            enter_member(m, &w, member);
            begin_sums(m, &w, part, member);
        }
        row_kept k = keep_row(m, row);
        for (int64_t number = pieces_of(m) - 1; number >= 0; number--) {
            piece p = piece_at(m, row, number);
            restore(m, &w, k, p);
            backward_scan(m, &w, k, p);
            backward_steering(m, &w, k, p);
            backward_convolution(m, &w, k, p);
            backward_input(m, &w, p);
        }
    }
    if (member >= 0) end_sums(m, &w);
    free(w.memory);
}

/* window and state hold the initial ones and become the last ones. norm may be null: then the
 * residual is left out too. */
void mamba_mixer_forward(
    const float *hidden, float *norm, float *in_projection, float *convolution, float *convolution_bias,
    float *x_projection, float *delta_projection, float *delta_bias, float *transition_log, float *skip,
    float *out_projection, const uint8_t *tokens,
    float *outputs, float *window, float *state, float *kept,
    int64_t batch, int64_t length, int64_t width, int64_t channels, int64_t states, int64_t rank,
    int64_t taps, int64_t members, int64_t piece_length, int64_t parts, int64_t threads,
    int64_t epsilon_bits
) {
    layer m = {
        .hidden = hidden, .epsilon = float_of(epsilon_bits), .tokens = tokens,
        .all = {norm, in_projection, convolution, convolution_bias, x_projection, delta_projection,
                delta_bias, transition_log, skip, out_projection},
        .outputs = outputs, .window = window, .state = state, .kept = kept,
        .batch = batch, .length = length, .width = width, .channels = channels, .states = states,
        .rank = rank, .taps = taps, .members = members, .piece = piece_length, .parts = parts,
        .threads = threads,
    };
    run_tasks(forward_rows, &m, parts, parts);
}

/* grad_window and grad_state hold the gradients of the last ones and become those of the initial
 * ones. The gradients of the parameters are [part, member, ...] and hold zeros. */
void mamba_mixer_backward(
    const float *hidden, float *norm, float *in_projection, float *convolution, float *convolution_bias,
    float *x_projection, float *delta_projection, float *delta_bias, float *transition_log, float *skip,
    float *out_projection, const uint8_t *tokens,
    float *kept, const float *grad_outputs, float *grad_hidden,
    float *grad_norm, float *grad_in, float *grad_convolution, float *grad_convolution_bias, float *grad_x,
    float *grad_delta, float *grad_delta_bias, float *grad_transition, float *grad_skip, float *grad_out,
    float *grad_window, float *grad_state,
    int64_t batch, int64_t length, int64_t width, int64_t channels, int64_t states, int64_t rank,
    int64_t taps, int64_t members, int64_t piece_length, int64_t parts, int64_t threads,
    int64_t epsilon_bits
) {
    layer m = {
        .hidden = hidden, .epsilon = float_of(epsilon_bits), .tokens = tokens,
        .all = {norm, in_projection, convolution, convolution_bias, x_projection, delta_projection,
                delta_bias, transition_log, skip, out_projection},
        .grads = {grad_norm, grad_in, grad_convolution, grad_convolution_bias, grad_x, grad_delta,
                  grad_delta_bias, grad_transition, grad_skip, grad_out},
        .kept = kept, .grad_outputs = grad_outputs, .grad_hidden = grad_hidden,
        .window = grad_window, .state = grad_state,
        .batch = batch, .length = length, .width = width, .channels = channels, .states = states,
        .rank = rank, .taps = taps, .members = members, .piece = piece_length, .parts = parts,
        .threads = threads,
    };
    run_tasks(backward_rows, &m, parts, parts);
}
