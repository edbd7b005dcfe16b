/* Mamba-2's recurrence, forward and backward, chunk by chunk (state-space duality).
 *
 *   h_t = exp(delta_t a) h_{t-1} + delta_t x_t B_t^T      y_t = h_t C_t + D x_t
 *
 * Within a chunk, token s reaches token t with the weight mix[t][s] = (C_t . B_s) decay(s, t)
 * delta_s; what came before the chunk is in one state. All of it is small matrix products whose
 * columns are lanes. A task is one row of the batch and some of its heads. The forward pass keeps
 * the state before each chunk; the backward pass recomputes the rest.
 *
 * Layouts (floats; the last axis is contiguous): inputs [batch, length, head, dim]; delta
 * [batch, length, head]; write, read [batch, length, group, state]; transition, skip, bias
 * [member, head]; last and initial states [batch, head, dim, state]; starts
 * [batch, chunk, head, state, dim]. In the workspace rows are padded to whole vectors.
 */
#include "decays.h"
#include "parallel.h"
#include "products.h"
#include "rows.h"

/* As many tokens are worth a step each, with no chunk. */
#define FEW 3

typedef struct {
    const float *inputs, *delta, *transition, *write, *read, *skip, *bias, *limits;
    const uint8_t *tokens;
    float *outputs, *last, *starts;
    const float *grad_outputs;
    float *grad_inputs, *grad_delta, *grad_transition, *grad_write, *grad_read;
    float *grad_skip, *grad_bias, *grad_state;
    int64_t inputs_row, inputs_time, inputs_head, delta_row, delta_time;
    int64_t write_row, write_time, write_group, read_row, read_time, read_group;
    int64_t grad_row, grad_time, grad_head;
    int64_t batch, length, heads, dims, states, groups, rows_per_member, softplus, parts;
} dual;

/* Of one row of the batch: its heads from `first` to before `stop`. */
typedef struct {
    int64_t row, member, part, first, stop;
    int64_t dims, states; /* padded to whole vectors */
} task;

/* All arrays of CHUNK rows are of the tokens of the chunk at hand. */
typedef struct {
    float *write, *read;                 /* of the group [token, state] */
    float *write_columns;                /* write, transposed [state, token] */
    float *input_columns;                /* inputs of the head, transposed [dim, token] */
    float *scores, *grad_scores;         /* C_t . B_s, and its gradient summed over heads */
    float *grad_write, *grad_read;       /* sums over heads */
    float *inputs, *outputs, *scaled;    /* of the head [token, dim] */
    float *mix, *grad_mix;               /* [t, s] */
    float *product;                      /* [token, state] */
    float *before, *after;               /* the state before, the gradient of that after [dim, state] */
    float *state;                        /* of each head of the task [state, dim] */
    float delta[CHUNK], to_end[CHUNK], slope[CHUNK], grad_delta[CHUNK], grad_decay[CHUNK];
    float from_start_flow[CHUNK], to_end_flow[CHUNK];
    decays decays;
} workspace;

static task make_task(const dual *d, int64_t number) {
    int64_t row = number / d->parts, part = number % d->parts;
    return (task){
        row, row / d->rows_per_member, part, d->heads * part / d->parts, d->heads * (part + 1) / d->parts,
        round_up(d->dims, LANES), round_up(d->states, LANES),
    };
}

static workspace *make_workspace(task k) {
    int64_t head = round_up(sizeof(workspace), 64), heads = k.stop - k.first;
    int64_t floats = CHUNK * (6 * k.states + 4 * k.dims + 4 * CHUNK)
        + (2 + heads) * k.states * k.dims;
    char *memory = aligned_alloc(64, head + round_up(floats * sizeof(float), 64));
    memset(memory, 0, head + floats * sizeof(float));
    workspace *w = (workspace *)memory;
    float *free_memory = (float *)(memory + head);
    w->write = take(&free_memory, CHUNK, k.states);
    w->read = take(&free_memory, CHUNK, k.states);
    w->grad_write = take(&free_memory, CHUNK, k.states);
    w->grad_read = take(&free_memory, CHUNK, k.states);
    w->product = take(&free_memory, CHUNK, k.states);
    w->write_columns = take(&free_memory, k.states, CHUNK);
    w->input_columns = take(&free_memory, k.dims, CHUNK);
    w->inputs = take(&free_memory, CHUNK, k.dims);
    w->outputs = take(&free_memory, CHUNK, k.dims);
    w->scaled = take(&free_memory, CHUNK, k.dims);
    w->scores = take(&free_memory, CHUNK, CHUNK);
    w->grad_scores = take(&free_memory, CHUNK, CHUNK);
    w->mix = take(&free_memory, CHUNK, CHUNK);
    w->grad_mix = take(&free_memory, CHUNK, CHUNK);
    w->before = take(&free_memory, k.dims, k.states);
    w->after = take(&free_memory, k.dims, k.states);
    w->state = take(&free_memory, heads * k.states, k.dims);
    return w;
}

static float *state_of(const workspace *w, task k, int64_t head) {
    return w->state + (head - k.first) * k.states * k.dims;
}

static void gather_inputs(const dual *d, task k, chunk c, int64_t head, workspace *w) {
    const float *inputs = d->inputs + k.row * d->inputs_row + head * d->inputs_head;
    gather(w->inputs, k.dims, inputs, d->inputs_time, c, d->dims);
}

/* Compute the steps' sizes and, where it is asked for, what a change of `delta` changes them. */
INLINE lanes step_sizes(const dual *d, lanes raw, lanes *slope) {
    lanes size = d->softplus ? softplus(raw) : raw;
    if (slope) *slope = d->softplus ? sigmoid(raw) : fill(1);
    if (d->limits) {
        lanes low = fill(d->limits[0]), high = fill(d->limits[1]);
        if (slope) *slope = choose((size >= low) & (size <= high), *slope, fill(0));
        size = choose(size < low, low, size);
        size = choose(size > high, high, size);
    }
    return size;
}

static void compute_steps(const dual *d, task k, chunk c, int64_t head, workspace *w) {
    const float *delta = d->delta + k.row * d->delta_row + head;
    float bias = d->bias ? d->bias[k.member * d->heads + head] : 0;
    lanes transition = fill(d->transition[k.member * d->heads + head]);
    for (int64_t i = 0; i < c.count; i++) w->delta[i] = delta[c.times[i] * d->delta_time] + bias;
    for (int64_t i = 0; i < c.count; i += LANES) {
        lanes slope, sizes = step_sizes(d, load(w->delta + i, LANES), &slope);
        store(w->delta + i, sizes, LANES);
        store(w->slope + i, slope, LANES);
        store(w->decays.of + i, exponential(sizes * transition), LANES);
    }
    compute_decays(&w->decays, c.count);
    for (int64_t s = 0; s < c.count; s++)
        w->to_end[s] = w->decays.between[c.count - 1][s] * w->delta[s];
    for (int64_t t = 0; t < c.count; t++) {
        for (int64_t s = 0; s <= t; s += LANES) {
            int64_t place = t * CHUNK + s;
            lanes weight = load(w->scores + place, LANES) * load(w->decays.between[t] + s, LANES);
            store(w->mix + place, weight * load(w->delta + s, LANES), LANES);
        }
    }
}

/* Gather what the heads of a group share, and compute the scores. */
static void gather_group(const dual *d, task k, chunk c, int64_t group, workspace *w) {
    gather(w->write, k.states, d->write + k.row * d->write_row + group * d->write_group, d->write_time, c, d->states);
    gather(w->read, k.states, d->read + k.row * d->read_row + group * d->read_group, d->read_time, c, d->states);
    transpose(w->write_columns, CHUNK, w->write, k.states, c.count, d->states);
    multiply_below(w->scores, CHUNK, (factor){w->read, k.states, 1}, w->write_columns, CHUNK, c.count, d->states);
}

static void write_outputs(const dual *d, task k, chunk c, int64_t head, const workspace *w) {
    float skip = d->skip ? d->skip[k.member * d->heads + head] : 0;
    for (int64_t i = 0; i < c.count; i++) {
        float *to = d->outputs + ((k.row * d->length + c.times[i]) * d->heads + head) * d->dims;
        for (int64_t p = 0; p < d->dims; p += LANES) {
            lanes sum = load(w->outputs + i * k.dims + p, LANES);
            if (d->skip) sum += load(w->inputs + i * k.dims + p, LANES) * skip;
            store(to + p, sum, d->dims - p);
        }
    }
}

static void forward_head(const dual *d, task k, chunk c, int64_t head, workspace *w, int is_last) {
    float *state = state_of(w, k, head);
    int64_t last = c.count - 1;
    gather_inputs(d, k, c, head, w);
    compute_steps(d, k, c, head, w);
    if (c.slot < 0) {
        memset(w->outputs, 0, c.count * k.dims * sizeof(float));
    } else {
        multiply_full(w->outputs, k.dims, (factor){w->read, k.states, 1}, state, k.dims, c.count, k.dims, d->states, 0);
        scale_rows(w->outputs, w->outputs, w->decays.from_start, c.count, k.dims);
    }
    add_lower(w->outputs, k.dims, (factor){w->mix, CHUNK, 1}, w->inputs, k.dims, k.dims, c.count);
    write_outputs(d, k, c, head, w);
    if (is_last) return;
    if (c.slot < 0)
        memset(state, 0, k.states * k.dims * sizeof(float));
    else
        scale(state, w->decays.from_start[last], k.states * k.dims);
    scale_rows(w->scaled, w->inputs, w->to_end, c.count, k.dims);
    multiply_full(state, k.dims, (factor){w->write, 1, k.states}, w->scaled, k.dims, k.states, k.dims, c.count, 1);
}

static void keep_start(const dual *d, task k, chunk c, int64_t head, const workspace *w) {
    int64_t slots = (d->length + CHUNK - 1) / CHUNK, size = d->states * d->dims;
    float *to = d->starts + ((k.row * slots + c.slot) * d->heads + head) * size;
    for (int64_t n = 0; n < d->states; n++)
        memcpy(to + n * d->dims, state_of(w, k, head) + n * k.dims, d->dims * sizeof(float));
}

static void forward_chunks(const dual *d, task k, const plan *p) {
    workspace *w = make_workspace(k);
    int64_t size = d->dims * d->states, heads_per_group = d->heads / d->groups;
    float *last = d->last + k.row * d->heads * size;
    for (int64_t head = k.first; head < k.stop; head++)
        transpose(state_of(w, k, head), k.dims, last + head * size, d->states, d->dims, d->states);
    for (int64_t number = 0; number < p->count; number++) {
        chunk c = p->chunks[number];
        for (int64_t head = k.first; head < k.stop; head++) {
            if (head == k.first || head % heads_per_group == 0) gather_group(d, k, c, head / heads_per_group, w);
            if (d->starts && c.slot >= 0) keep_start(d, k, c, head, w);
            forward_head(d, k, c, head, w, is_last_of_document(p, number));
        }
    }
    for (int64_t head = k.first; head < k.stop; head++)
        transpose(last + head * size, d->states, state_of(w, k, head), k.dims, d->states, d->dims);
    free(w);
}

/* One token and head: the recurrence as it stands. */
static void forward_step(const dual *d, task k, int64_t t, int64_t head, int starts) {
    int64_t parameter = k.member * d->heads + head, group = head / (d->heads / d->groups);
    float *state = d->last + (k.row * d->heads + head) * d->dims * d->states;
    const float *inputs = d->inputs + k.row * d->inputs_row + t * d->inputs_time + head * d->inputs_head;
    const float *write = d->write + k.row * d->write_row + t * d->write_time + group * d->write_group;
    const float *read = d->read + k.row * d->read_row + t * d->read_time + group * d->read_group;
    float raw = d->delta[k.row * d->delta_row + t * d->delta_time + head] + (d->bias ? d->bias[parameter] : 0);
    float *output = d->outputs + ((k.row * d->length + t) * d->heads + head) * d->dims;
    lanes delta = step_sizes(d, fill(raw), 0), decay = exponential(delta * d->transition[parameter]);
    if (starts) memset(state, 0, d->dims * d->states * sizeof(float));
    for (int64_t p = 0; p < d->dims; p++) {
        lanes scaled = delta * inputs[p], sum = fill(0);
        for (int64_t n = 0; n < d->states; n += LANES) {
            float *at = state + p * d->states + n;
            lanes next = decay * load(at, d->states - n) + scaled * load(write + n, d->states - n);
            store(at, next, d->states - n);
            lanes seen = next * load(read + n, d->states - n);
            sum += choose(lanes_from(n) < (int32_t)d->states, seen, fill(0));
        }
        output[p] = total(sum) + (d->skip ? d->skip[parameter] * inputs[p] : 0);
    }
}

static void forward_task(const void *arguments, int64_t number) {
    const dual *d = arguments;
    task k = make_task(d, number);
    plan p = make_plan(d->tokens, d->length, k.row);
    float *outputs = d->outputs + (k.row * d->length * d->heads + k.first) * d->dims;
    clear_padding(d->tokens, d->length, k.row, outputs, d->heads * d->dims, (k.stop - k.first) * d->dims);
    if (d->length > FEW || d->starts) {
        forward_chunks(d, k, &p);
    } else {
        for (int64_t c = 0; c < p.count; c++)
            for (int64_t i = 0; i < p.chunks[c].count; i++)
                for (int64_t head = k.first; head < k.stop; head++)
                    forward_step(d, k, p.chunks[c].times[i], head, i == 0 && p.chunks[c].slot < 0);
    }
    free_plan(p);
}

static void begin_group(task k, chunk c, workspace *w) {
    memset(w->grad_scores, 0, CHUNK * c.count * sizeof(float));
    memset(w->grad_write, 0, c.count * k.states * sizeof(float));
    memset(w->grad_read, 0, c.count * k.states * sizeof(float));
}

/* What reached the outputs through the scores, and where all of it goes. */
static void end_group(const dual *d, task k, chunk c, int64_t group, workspace *w) {
    add_lower(w->grad_read, k.states, (factor){w->grad_scores, CHUNK, 1}, w->write, k.states, k.states, c.count);
    add_upper(w->grad_write, k.states, (factor){w->grad_scores, 1, CHUNK}, w->read, k.states, k.states, c.count);
    for (int64_t i = 0; i < c.count; i++) {
        int64_t row = (k.part * d->batch + k.row) * d->length + c.times[i];
        int64_t place = (row * d->groups + group) * d->states;
        memcpy(d->grad_write + place, w->grad_write + i * k.states, d->states * sizeof(float));
        memcpy(d->grad_read + place, w->grad_read + i * k.states, d->states * sizeof(float));
    }
}

/* Pass the gradients of the weights between tokens on: to the scores and the steps' sizes; leave
 * in grad_mix what flows from token to token. */
static void pass_mix(chunk c, workspace *w) {
    lanes grad_delta[VECTORS];
    memset(grad_delta, 0, sizeof grad_delta);
    for (int64_t t = 0; t < c.count; t++) {
        for (int64_t v = 0; v < t / LANES + 1; v++) {
            int64_t place = t * CHUNK + v * LANES;
            integers past = lanes_from(v * LANES) <= (int32_t)t;
            lanes grad = choose(past, load(w->grad_mix + place, LANES), fill(0));
            grad *= choose(past, load(w->decays.between[t] + v * LANES, LANES), fill(0));
            lanes size = load(w->delta + v * LANES, LANES);
            lanes each = grad * load(w->scores + place, LANES);
            grad_delta[v] += choose(past, each, fill(0));
            store(w->grad_mix + place, each * size, LANES);
            store(w->grad_scores + place, load(w->grad_scores + place, LANES) + grad * size, LANES);
        }
    }
    memcpy(w->grad_delta, grad_delta, sizeof grad_delta);
}

/* Pass the gradient of the state after the chunk on: to what each token wrote and with what size. */
static void pass_after(const dual *d, task k, chunk c, const float *grad_state, workspace *w) {
    const float *to_end = w->decays.between[c.count - 1];
    transpose(w->after, k.states, grad_state, k.dims, d->states, d->dims);
    multiply_full(w->product, k.states, (factor){w->inputs, k.dims, 1}, w->after, k.states, c.count, k.states, d->dims, 0);
    for (int64_t s = 0; s < c.count; s++) {
        float written = dot(w->product + s * k.states, w->write + s * k.states, k.states);
        add_scaled(w->grad_write + s * k.states, w->product + s * k.states, w->to_end[s], k.states);
        w->grad_delta[s] += to_end[s] * written;
        w->to_end_flow[s] = w->to_end[s] * written;
    }
}

/* Pass the gradients of the outputs on to how each token read the state before the chunk. */
static void pass_before(const dual *d, task k, chunk c, int64_t head, workspace *w) {
    int64_t slots = (d->length + CHUNK - 1) / CHUNK;
    const float *start = d->starts + ((k.row * slots + c.slot) * d->heads + head) * d->states * d->dims;
    transpose(w->before, k.states, start, d->dims, d->states, d->dims);
    multiply_full(w->product, k.states, (factor){w->outputs, k.dims, 1}, w->before, k.states, c.count, k.states, d->dims, 0);
    for (int64_t t = 0; t < c.count; t++) {
        float seen = dot(w->product + t * k.states, w->read + t * k.states, k.states);
        add_scaled(w->grad_read + t * k.states, w->product + t * k.states, w->decays.from_start[t], k.states);
        w->from_start_flow[t] = w->decays.from_start[t] * seen;
    }
}

static void write_grad_inputs(const dual *d, task k, chunk c, int64_t head, workspace *w) {
    int64_t parameter = k.member * d->heads + head;
    lanes skip = fill(d->skip ? d->skip[parameter] : 0), grad_skip = fill(0);
    for (int64_t i = 0; i < c.count; i++) {
        float *to = d->grad_inputs + ((k.row * d->length + c.times[i]) * d->heads + head) * d->dims;
        for (int64_t p = 0; p < d->dims; p += LANES) {
            lanes grad = load(w->scaled + i * k.dims + p, LANES);
            if (d->skip) {
                lanes seen = load(w->outputs + i * k.dims + p, LANES);
                grad_skip += seen * load(w->inputs + i * k.dims + p, LANES);
                grad += seen * skip;
            }
            store(to + p, grad, d->dims - p);
        }
    }
    d->grad_skip[k.row * d->heads + head] += total(grad_skip);
}

static void pass_inputs(const dual *d, task k, chunk c, int64_t head, const float *grad_state, workspace *w, int is_last) {
    if (is_last) {
        memset(w->scaled, 0, c.count * k.dims * sizeof(float));
    } else {
        multiply_full(w->scaled, k.dims, (factor){w->write, k.states, 1}, grad_state, k.dims, c.count, k.dims, d->states, 0);
        scale_rows(w->scaled, w->scaled, w->to_end, c.count, k.dims);
    }
    add_upper(w->scaled, k.dims, (factor){w->mix, 1, CHUNK}, w->outputs, k.dims, k.dims, c.count);
    write_grad_inputs(d, k, c, head, w);
}

/* The gradients of the decays and of the steps' sizes, from all that flows through the chunk. */
static void pass_steps(const dual *d, task k, chunk c, int64_t head, workspace *w, float through) {
    float transition = d->transition[k.member * d->heads + head], grad_transition = 0, grad_bias = 0;
    for (int64_t t = 0; t < c.count; t++) w->grad_decay[t] = through;
    add_crossing(w->grad_decay, w->grad_mix, c.count);
    add_crossing_ends(w->grad_decay, w->from_start_flow, w->to_end_flow, c.count);
    for (int64_t t = 0; t < c.count; t++) {
        float grad = (w->grad_delta[t] + w->grad_decay[t] * transition) * w->slope[t];
        grad_transition += w->grad_decay[t] * w->delta[t];
        grad_bias += grad;
        d->grad_delta[(k.row * d->length + c.times[t]) * d->heads + head] = grad;
    }
    d->grad_transition[k.row * d->heads + head] += grad_transition;
    d->grad_bias[k.row * d->heads + head] += grad_bias;
}

static void backward_head(const dual *d, task k, chunk c, int64_t head, workspace *w, int is_last) {
    float *grad_state = state_of(w, k, head), through = 0;
    const float *grad = d->grad_outputs + k.row * d->grad_row + head * d->grad_head;
    gather_inputs(d, k, c, head, w);
    gather(w->outputs, k.dims, grad, d->grad_time, c, d->dims);
    compute_steps(d, k, c, head, w);
    transpose(w->input_columns, CHUNK, w->inputs, k.dims, c.count, d->dims);
    multiply_below(w->grad_mix, CHUNK, (factor){w->outputs, k.dims, 1}, w->input_columns, CHUNK, c.count, d->dims);
    pass_mix(c, w);
    pass_inputs(d, k, c, head, grad_state, w, is_last);
    memset(w->to_end_flow, 0, sizeof w->to_end_flow);
    memset(w->from_start_flow, 0, sizeof w->from_start_flow);
    if (!is_last) pass_after(d, k, c, grad_state, w);
    if (c.slot >= 0) pass_before(d, k, c, head, w);
    float fade = w->decays.from_start[c.count - 1];
    if (c.slot >= 0 && !is_last) through = fade * dot(w->before, w->after, k.dims * k.states);
    pass_steps(d, k, c, head, w, through);
    if (c.slot < 0) {
        memset(grad_state, 0, k.states * k.dims * sizeof(float));
        return;
    }
    scale(grad_state, fade, k.states * k.dims);
    scale_rows(w->scaled, w->outputs, w->decays.from_start, c.count, k.dims);
    multiply_full(grad_state, k.dims, (factor){w->read, 1, k.states}, w->scaled, k.dims, k.states, k.dims, c.count, 1);
}

static void clear_grads(const dual *d, task k) {
    int64_t token = k.row * d->length, heads = k.stop - k.first, groups = d->groups * d->states;
    float *inputs = d->grad_inputs + (token * d->heads + k.first) * d->dims;
    int64_t shared = (k.part * d->batch * d->length + token) * groups;
    clear_padding(d->tokens, d->length, k.row, inputs, d->heads * d->dims, heads * d->dims);
    clear_padding(d->tokens, d->length, k.row, d->grad_delta + token * d->heads + k.first, d->heads, heads);
    memset(d->grad_write + shared, 0, d->length * groups * sizeof(float));
    memset(d->grad_read + shared, 0, d->length * groups * sizeof(float));
}

static void backward_task(const void *arguments, int64_t number) {
    const dual *d = arguments;
    task k = make_task(d, number);
    plan p = make_plan(d->tokens, d->length, k.row);
    workspace *w = make_workspace(k);
    int64_t size = d->dims * d->states, heads_per_group = d->heads / d->groups;
    float *grads = d->grad_state + k.row * d->heads * size;
    clear_grads(d, k);
    for (int64_t head = k.first; head < k.stop; head++)
        transpose(state_of(w, k, head), k.dims, grads + head * size, d->states, d->dims, d->states);
    for (int64_t place = p.count - 1; place >= 0; place--) {
        chunk c = p.chunks[place];
        for (int64_t head = k.first; head < k.stop; head++) {
            int64_t group = head / heads_per_group;
            if (head == k.first || head % heads_per_group == 0) {
                gather_group(d, k, c, group, w);
                begin_group(k, c, w);
            }
            backward_head(d, k, c, head, w, is_last_of_document(&p, place));
            if (head == k.stop - 1 || (head + 1) % heads_per_group == 0) end_group(d, k, c, group, w);
        }
    }
    for (int64_t head = k.first; head < k.stop; head++)
        transpose(grads + head * size, d->states, state_of(w, k, head), k.dims, d->states, d->dims);
    free(w);
    free_plan(p);
}

/* last holds the initial states and becomes the last ones; starts may be null. limits are two
 * numbers, or null. */
void state_space_dual_forward(
    const float *inputs, const float *delta, const float *transition, const float *write, const float *read,
    const float *skip, const float *bias, const float *limits, const uint8_t *tokens,
    float *outputs, float *last, float *starts,
    int64_t inputs_row, int64_t inputs_time, int64_t inputs_head, int64_t delta_row, int64_t delta_time,
    int64_t write_row, int64_t write_time, int64_t write_group,
    int64_t read_row, int64_t read_time, int64_t read_group,
    int64_t batch, int64_t length, int64_t heads, int64_t dims, int64_t states, int64_t groups,
    int64_t rows_per_member, int64_t softplus_delta, int64_t parts, int64_t threads
) {
    dual d = {
        .inputs = inputs, .delta = delta, .transition = transition, .write = write, .read = read,
        .skip = skip, .bias = bias, .limits = limits, .tokens = tokens,
        .outputs = outputs, .last = last, .starts = starts,
        .inputs_row = inputs_row, .inputs_time = inputs_time, .inputs_head = inputs_head,
        .delta_row = delta_row, .delta_time = delta_time,
        .write_row = write_row, .write_time = write_time, .write_group = write_group,
        .read_row = read_row, .read_time = read_time, .read_group = read_group,
        .batch = batch, .length = length, .heads = heads, .dims = dims, .states = states,
        .groups = groups, .rows_per_member = rows_per_member, .softplus = softplus_delta, .parts = parts,
    };
    run_tasks(forward_task, &d, batch * parts, threads);
}

/* grad_state holds the gradients of the last states and becomes those of the initial ones.
 * grad_transition, grad_skip and grad_bias [batch, head] hold zeros, and become sums over the time
 * of each row; grad_write and grad_read are [part, batch, length, group, state]. */
void state_space_dual_backward(
    const float *inputs, const float *delta, const float *transition, const float *write, const float *read,
    const float *skip, const float *bias, const float *limits, const uint8_t *tokens,
    const float *starts, const float *grad_outputs,
    float *grad_inputs, float *grad_delta, float *grad_transition, float *grad_write, float *grad_read,
    float *grad_skip, float *grad_bias, float *grad_state,
    int64_t inputs_row, int64_t inputs_time, int64_t inputs_head, int64_t delta_row, int64_t delta_time,
    int64_t write_row, int64_t write_time, int64_t write_group,
    int64_t read_row, int64_t read_time, int64_t read_group,
    int64_t grad_row, int64_t grad_time, int64_t grad_head,
    int64_t batch, int64_t length, int64_t heads, int64_t dims, int64_t states, int64_t groups,
    int64_t rows_per_member, int64_t softplus_delta, int64_t parts, int64_t threads
) {
    dual d = {
        .inputs = inputs, .delta = delta, .transition = transition, .write = write, .read = read,
        .skip = skip, .bias = bias, .limits = limits, .tokens = tokens,
        .starts = (float *)starts, .grad_outputs = grad_outputs,
        .grad_inputs = grad_inputs, .grad_delta = grad_delta, .grad_transition = grad_transition,
        .grad_write = grad_write, .grad_read = grad_read, .grad_skip = grad_skip,
        .grad_bias = grad_bias, .grad_state = grad_state,
        .inputs_row = inputs_row, .inputs_time = inputs_time, .inputs_head = inputs_head,
        .delta_row = delta_row, .delta_time = delta_time,
        .write_row = write_row, .write_time = write_time, .write_group = write_group,
        .read_row = read_row, .read_time = read_time, .read_group = read_group,
        .grad_row = grad_row, .grad_time = grad_time, .grad_head = grad_head,
        .batch = batch, .length = length, .heads = heads, .dims = dims, .states = states,
        .groups = groups, .rows_per_member = rows_per_member, .softplus = softplus_delta, .parts = parts,
    };
    run_tasks(backward_task, &d, batch * parts, threads);
}
