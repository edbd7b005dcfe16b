/* Codes of 8 bits beside the summaries of blocks, the upper and the lower 4 bits apart.
 *
 * GROUP blocks in a row share a least number and a step for each dimension: a number is off by half a
 * step from `least + step * code` at most. Of SEGMENT blocks, the upper bits of one dimension lie
 * together, so that others need not be read: a byte has those of two blocks, UNIT apart. The lower bits
 * of one block lie together, to be read where the upper ones are not enough: a byte has those of two
 * dimensions, half the width apart.
 *
 * Layouts: upper [row, head, group, segment, width, unit, UNIT]; lower [row, head, block,
 * low_bytes(width)]; steps [row, head, group, 2, width], the least number and then the step.
 */
#ifndef STATESPAN_CODES_H
#define STATESPAN_CODES_H

#include <float.h>
#include <stdint.h>

#define HIGHEST 255 /* code */
#define HIGHEST_LOW 15
#define GROUP 1024
#define SEGMENT 256 /* blocks of which the upper bits lie together */
#define UNIT 64 /* bytes: a line of the cache, and the upper bits of twice as many blocks */

/* Return the bytes from one block to the next: whole lines. */
static inline int64_t low_bytes(int64_t width) {
    return (width + 2 * UNIT - 1) / (2 * UNIT) * UNIT;
}

#endif
