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
    uint16_t *codes;
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

/* Put the codes of some dimensions into words; `rows` begins at the first of them, as do the others. */
static void put_codes(
    const float *rows, int64_t count, int64_t width, const float *least, const float *step, uint16_t *codes,
    int64_t left
) {
    lanes low = load(least, left), inverse = 1.0f / load(step, left);
    for (int64_t w = 0; w < WORDS; w++) {
        integers word = {0};
        for (int64_t n = 0; n < PER_WORD; n++) {
            int64_t block = n * WORDS + w < count ? n * WORDS + w : count - 1;
            lanes code = nearest(clamp((load(rows + block * width, left) - low) * inverse, 0, HIGHEST));
            word |= __builtin_convertvector(code, integers) << BITS * n;
        }
        for (int64_t lane = 0; lane < LANES && lane < left; lane++)
            codes[lane * WORDS + w] = (uint16_t)word[lane];
    }
}

static void code_task(const void *arguments, int64_t task) {
    const coding *c = arguments;
    int64_t head = task / c->number, group = c->first + task % c->number;
    int64_t begin = group * GROUP, count = c->end - begin < GROUP ? c->end - begin : GROUP;
    const float *rows = c->summaries + (head * c->capacity + begin) * c->width;
    float *least = c->steps + (head * c->groups + group) * 2 * c->width, *step = least + c->width;
    uint16_t *codes = c->codes + (head * c->groups + group) * c->width * WORDS;
    find_steps(rows, count, c->width, least, step);
    for (int64_t j = 0; j < c->width; j += LANES)
        put_codes(rows + j, count, c->width, least + j, step + j, codes + j * WORDS, c->width - j);
}

void block_codes(
    const float *summaries, uint16_t *codes, float *steps, int64_t heads, int64_t width, int64_t capacity,
    int64_t groups, int64_t first, int64_t end, int64_t threads
) {
    int64_t number = (end + GROUP - 1) / GROUP - first;
    coding c = {summaries, codes, steps, width, capacity, groups, first, end, number};
    run_tasks(code_task, &c, heads * number, threads);
}
