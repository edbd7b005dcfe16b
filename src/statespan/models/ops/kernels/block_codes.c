/* Codes for the summaries of blocks, as codes.h has them.
 *
 * Summaries are [head, capacity, width], codes and steps as there, of `groups` groups, with rows and heads
 * as one axis. Written are the groups from `first` on, up to that of the block before `end`; what a group
 * lacks has the codes of its last block. A number that is not finite makes the least number of its
 * dimension one that is not.
 */
#include "codes.h"
#include "lanes.h"
#include "parallel.h"

typedef struct {
    const float *summaries;
    uint8_t *upper, *lower;
    float *steps;
    int64_t width, capacity, groups, first, end, number;
} coding;

static void find_steps(const float *rows, int64_t count, int64_t width, float *least, float *step) {
    for (int64_t j = 0; j < width; j += LANES) {
        lanes low = load(rows + j, width - j), high = low, broken = 0.0f * low;
        for (int64_t r = 1; r < count; r++) {
            lanes next = load(rows + r * width + j, width - j);
            low = choose(next < low, next, low);
            high = choose(next > high, next, high);
            broken += 0.0f * next;
        }
        store(least + j, low + broken, width - j);
        lanes by = (high - low) / HIGHEST, smallest = fill(FLT_MIN);
        store(step + j, choose(by < smallest, smallest, by), width - j);
    }
}

/* Write the codes of a group over zeros, of the dimensions from `j` on. */
static void put_codes(
    const float *rows, int64_t count, int64_t width, int64_t j, const float *steps, uint8_t *upper, uint8_t *lower
) {
    int64_t left = width - j, half = (width + 1) / 2;
    lanes low = load(steps + j, left), inverse = 1.0f / load(steps + width + j, left);
    for (int64_t b = 0; b < GROUP; b++) {
        int64_t block = b < count ? b : count - 1, segment = b / SEGMENT * width;
        int64_t at = b % SEGMENT / (2 * UNIT) * UNIT + b % UNIT;
        lanes code = nearest(clamp((load(rows + block * width + j, left) - low) * inverse, 0, HIGHEST));
        for (int64_t lane = 0; lane < LANES && lane < left; lane++) {
            int64_t dim = j + lane, whole = (int64_t)code[lane];
            upper[(segment + dim) * (SEGMENT / 2) + at] |= (uint8_t)(whole >> 4 << b / UNIT % 2 * 4);
            if (b >= count) continue;
            lower[b * low_bytes(width) + dim % half] |= (uint8_t)((whole & HIGHEST_LOW) << dim / half * 4);
        }
    }
}

static void code_task(const void *arguments, int64_t task) {
    const coding *c = arguments;
    int64_t head = task / c->number, group = c->first + task % c->number;
    int64_t begin = group * GROUP, count = c->end - begin < GROUP ? c->end - begin : GROUP;
    int64_t at = head * c->groups + group, of_upper = c->width * (GROUP / 2), of_block = low_bytes(c->width);
    const float *rows = c->summaries + (head * c->capacity + begin) * c->width;
    float *steps = c->steps + at * 2 * c->width;
    uint8_t *upper = c->upper + at * of_upper, *lower = c->lower + (head * c->capacity + begin) * of_block;
    find_steps(rows, count, c->width, steps, steps + c->width);
    memset(upper, 0, of_upper);
    memset(lower, 0, count * of_block);
    for (int64_t j = 0; j < c->width; j += LANES) put_codes(rows, count, c->width, j, steps, upper, lower);
}

void block_codes(
    const float *summaries, uint8_t *upper, uint8_t *lower, float *steps, int64_t heads, int64_t width,
    int64_t capacity, int64_t groups, int64_t first, int64_t end, int64_t threads
) {
    int64_t number = (end + GROUP - 1) / GROUP - first;
    coding c = {summaries, upper, lower, steps, width, capacity, groups, first, end, number};
    run_tasks(code_task, &c, heads * number, threads);
}
