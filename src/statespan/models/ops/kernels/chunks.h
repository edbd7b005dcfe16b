/* The tokens of a row, in chunks: no padding, and no chunk is of two documents. */
#ifndef STATESPAN_CHUNKS_H
#define STATESPAN_CHUNKS_H

#include <stdint.h>
#include <stdlib.h>

#include "tokens.h"

#define CHUNK 64

typedef struct {
    const int64_t *times; /* when its tokens are */
    int64_t count;
    int64_t slot; /* where the state before it is kept; -1: that state is zero, a document starts */
} chunk;

/* A row has at most (length + CHUNK - 1) / CHUNK kept states. */
typedef struct {
    int64_t *times;
    chunk *chunks;
    int64_t count;
} plan;

static plan make_plan(const uint8_t *tokens, int64_t length, int64_t row) {
    int64_t reals = 0, starts = 0, slots = 0;
    for (int64_t t = 0; t < length; t++) {
        starts += token_at(tokens, length, row, t) == STARTS;
        reals += token_at(tokens, length, row, t) != PADDING;
    }
    plan p = {malloc(reals * sizeof(int64_t) + 1), malloc((reals / CHUNK + starts + 1) * sizeof(chunk)), 0};
    int64_t *next = p.times;
    for (int64_t t = 0; t < length; t++) {
        int token = token_at(tokens, length, row, t);
        if (token == PADDING) continue;
        if (token == STARTS) {
            p.chunks[p.count++] = (chunk){next, 0, -1};
        } else if (p.count == 0 || p.chunks[p.count - 1].count == CHUNK) {
            p.chunks[p.count++] = (chunk){next, 0, slots++};
        }
        *next++ = t;
        p.chunks[p.count - 1].count++;
    }
    return p;
}

static void free_plan(plan p) {
    free(p.times);
    free(p.chunks);
}

/* Whether nothing reads the state after chunk `number`: another document starts there. */
static inline int is_last_of_document(const plan *p, int64_t number) {
    return number + 1 < p->count && p->chunks[number + 1].slot < 0;
}

/* Set to zero what belongs to padding: `size` floats from rows that are `row` floats apart. */
static void clear_padding(const uint8_t *tokens, int64_t length, int64_t row, float *first, int64_t step, int64_t size) {
    for (int64_t t = 0; tokens && t < length; t++)
        if (token_at(tokens, length, row, t) == PADDING)
            for (int64_t i = 0; i < size; i++) first[t * step + i] = 0;
}

#endif
