/* Blocks copied from here and there into one place: while one is copied, the next comes into the cache.
 *
 * Block p of `from` begins at p * size bytes; `to` has those of `places` one after the other.
 */
#include <stdint.h>
#include <string.h>

#define LINE 64 /* bytes of the cache */

void block_gather(const char *from, const int64_t *places, char *to, int64_t count, int64_t size) {
    for (int64_t i = 0; i < count; i++, to += size) {
        const char *block = from + places[i] * size, *next = from + places[i + 1 < count ? i + 1 : i] * size;
        int64_t line = 0;
        for (; line + LINE <= size; line += LINE) {
            __builtin_prefetch(next + line);
            memcpy(to + line, block + line, LINE);
        }
        memcpy(to + line, block + line, size - line);
    }
}
