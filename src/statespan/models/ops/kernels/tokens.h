/* What a token does to the state: most continue, some start a document, some are padding. */
#ifndef STATESPAN_TOKENS_H
#define STATESPAN_TOKENS_H

#include <stdint.h>

enum { CONTINUES = 0, STARTS = 1, PADDING = 2 };

/* tokens [batch, length] may be null: then every token continues. */
static inline int token_at(const uint8_t *tokens, int64_t length, int64_t row, int64_t t) {
    return tokens ? tokens[row * length + t] : CONTINUES;
}

#endif
