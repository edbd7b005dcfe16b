/* Root-mean-square normalization: y = x / sqrt(mean(x^2) + epsilon) * weight, token by token. */
#ifndef STATESPAN_NORM_H
#define STATESPAN_NORM_H

#include "lanes.h"

INLINE float inverse_root(const float *x, float epsilon, int64_t width) {
    lanes sum = {0};
    for (int64_t i = 0; i < width; i += LANES) {
        lanes value = load(x + i, width - i);
        sum += value * value;
    }
    return 1.0f / sqrtf(total(sum) / (float)width + epsilon);
}

static void normalize(
    float *to, const float *from, const float *weight, float epsilon, int64_t tokens, int64_t width
) {
    for (int64_t t = 0; t < tokens; t++, to += width, from += width) {
        lanes scale = fill(inverse_root(from, epsilon, width));
        for (int64_t i = 0; i < width; i += LANES) {
            lanes value = load(from + i, width - i) * scale * load(weight + i, width - i);
            store(to + i, value, width - i);
        }
    }
}

/* Add to grad_from and grad_weight what the gradients of normalize's results pass on. */
static void pass_norm(
    float *grad_from, float *grad_weight, const float *grad_to, const float *from, const float *weight,
    float epsilon, int64_t tokens, int64_t width
) {
    for (int64_t t = 0; t < tokens; t++, grad_from += width, grad_to += width, from += width) {
        float scale = inverse_root(from, epsilon, width);
        lanes sum = {0};
        for (int64_t i = 0; i < width; i += LANES) {
            lanes seen = load(grad_to + i, width - i) * load(from + i, width - i);
            store(grad_weight + i, load(grad_weight + i, width - i) + seen * scale, width - i);
            sum += seen * load(weight + i, width - i);
        }
        float along = total(sum) / (float)width * scale * scale;
        for (int64_t i = 0; i < width; i += LANES) {
            lanes grad = load(grad_to + i, width - i) * load(weight + i, width - i);
            grad = (grad - load(from + i, width - i) * along) * scale;
            store(grad_from + i, load(grad_from + i, width - i) + grad, width - i);
        }
    }
}

#endif
