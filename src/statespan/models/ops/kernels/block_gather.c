/* Blocks copied from here and there into one place: while one is copied, the next comes into the cache.
 *
 * Block p of `from` begins at p * size bytes; `to` has those of `places` one after the other.
 */
#include <string.h>

#include "parallel.h"

#define LINE 64 /* bytes of the cache */

typedef struct {
    const char *from;
    const int64_t *places;
    char *to;
    int64_t count, size, parts;
} copying;

static void copy_part(const void *arguments, int64_t part) {
    const copying *c = arguments;
    int64_t begin = c->count * part / c->parts, end = c->count * (part + 1) / c->parts;
    for (int64_t i = begin; i < end; i++) {
        const char *block = c->from + c->places[i] * c->size, *next = c->from + c->places[i + 1 < end ? i + 1 : i] * c->size;
        char *to = c->to + i * c->size;
        int64_t line = 0;
        for (; line + LINE <= c->size; line += LINE) {
            __builtin_prefetch(next + line);
            memcpy(to + line, block + line, LINE);
        }
        memcpy(to + line, block + line, c->size - line);
    }
}

void block_gather(
    const char *from, const int64_t *places, char *to, int64_t count, int64_t size, int64_t threads
) {
    copying c = {from, places, to, count, size, threads};
    run_tasks(copy_part, &c, threads, threads);
}
