/* Codes of 5 bits beside the summaries of blocks: a sixth of their memory.
 *
 * GROUP blocks in a row share a least number and a step for each dimension: a number is off by half a
 * step from `least + step * code` at most. The codes of one dimension lie together, so that others
 * need not be read. A word of 16 bits has those of PER_WORD blocks, WORDS blocks apart, the first in
 * its lowest bits.
 *
 * Layouts: codes [row, head, group, width, word]; steps [row, head, group, 2, width], the least number
 * and then the step.
 */
#ifndef STATESPAN_CODES_H
#define STATESPAN_CODES_H

#include <float.h>
#include <stdint.h>

#define BITS 5
#define HIGHEST ((1 << BITS) - 1) /* code */
#define PER_WORD 3
#define GROUP 192
#define WORDS (GROUP / PER_WORD)

#endif
