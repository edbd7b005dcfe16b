/* How a state with one decay a step fades within a chunk, and what it passes back to each decay.
 *
 * Products of decays, never quotients or differences of logarithms: a decay of 0 forgets all that
 * came before it and costs what comes after it no precision, and decays of 1 keep all bits.
 */
#ifndef STATESPAN_DECAYS_H
#define STATESPAN_DECAYS_H

#include "chunks.h"
#include "lanes.h"

#define VECTORS (CHUNK / LANES)

typedef struct {
    float of[CHUNK];             /* the decay of each step */
    float from_start[CHUNK];     /* from before the chunk to t */
    float between[CHUNK][CHUNK]; /* from s to t, in row t and column s <= t */
} decays;

INLINE integers lanes_from(int64_t first) {
    integers index;
    for (int32_t lane = 0; lane < LANES; lane++) index[lane] = lane + (int32_t)first;
    return index;
}

static void compute_decays(decays *d, int64_t count) {
    lanes row[VECTORS];
    float since = 1;
    memset(row, 0, sizeof row);
    for (int64_t t = 0; t < count; t++) {
        since *= d->of[t];
        d->from_start[t] = since;
        for (int64_t v = 0; v < t / LANES + 1; v++) {
            row[v] = choose(lanes_from(v * LANES) == (int32_t)t, fill(1), row[v] * d->of[t]);
            store(d->between[t] + v * LANES, row[v], LANES);
        }
    }
}

/* flows[t][s] is the part of the loss's change, per relative change of what reaches t from s. Add
 * to each step's gradient (of the logarithm of its decay) the flows that cross it, s < u <= t. */
static void add_crossing(float *grads, const float *flows, int64_t count) {
    lanes sums[VECTORS];
    memset(sums, 0, sizeof sums);
    for (int64_t u = count - 1; u > 0; u--) {
        lanes crossing = fill(0);
        for (int64_t v = 0; v < u / LANES + 1; v++) {
            integers before = lanes_from(v * LANES) < (int32_t)u;
            sums[v] = choose(before, sums[v] + load(flows + u * CHUNK + v * LANES, LANES), fill(0));
            crossing += sums[v];
        }
        grads[u] += total(crossing);
    }
}

/* As add_crossing, for what reaches t from before the chunk and what leaves the chunk from s. */
static void add_crossing_ends(float *grads, const float *from_start, const float *to_end, int64_t count) {
    float sum = 0;
    for (int64_t u = count - 1; u >= 0; u--) grads[u] += sum += from_start[u];
    sum = 0;
    for (int64_t u = 0; u < count; u++) {
        grads[u] += sum;
        sum += to_end[u];
    }
}

#endif
