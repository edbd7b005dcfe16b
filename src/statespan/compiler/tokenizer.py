"""The tokenizer of an alphabet, with the `tokenizers` library: one token a symbol."""

from __future__ import annotations

import itertools
import re

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

from statespan.errors import SymbolError
from statespan.languages import Alphabet
from statespan.languages.symbols import is_single_character
from statespan.training import BOS, EOS, PAD

__all__ = ["build_tokenizer", "special_tokens"]

SPECIAL_NAMES = {BOS: "s", EOS: "/s", PAD: "pad"}
MARKS = "|!%&*+=_"
FIRST_RARE_MARK = 0x2460


def special_tokens(alphabet: Alphabet) -> tuple[str, str, str]:
    """Return how BOS, EOS and PAD are spelled: <s>, </s> and <pad>, unless symbols spell that.

    A text is searched for the special tokens first, so none of them may be a symbol, nor be what
    symbols spell when they stand next to each other.

    Example:
        >>> special_tokens(("a", "b"))
        ('<s>', '</s>', '<pad>')
        >>> special_tokens(("<", "/", "s", ">"))
        ('<|s|>', '<|/s|>', '<pad>')
    """
    characters = set("".join(alphabet))
    first, second, third = (
        next(
            f"<{mark}{name}{mark}>"
            for mark in itertools.chain(("", *MARKS), map(chr, itertools.count(FIRST_RARE_MARK)))
            if not set(f"<{mark}{name}>") <= characters
        )
        for name in SPECIAL_NAMES.values()
    )
    return first, second, third


def build_tokenizer(alphabet: Alphabet) -> Tokenizer:
    """Return a tokenizer whose tokens are BOS, EOS, PAD, then the symbols in alphabet order.

    It reads a text as `statespan.languages.symbols.read_word` does, after a BOS: at each place
    the longest symbol that stands there; blanks between symbols of several characters do not
    count. A text in which something else stands is refused: there is no unknown token, and the
    library raises "WordLevel error: Missing [UNK] token from the vocabulary". Decoding writes
    symbols of one character next to each other, and others with a blank between; that reads back
    as the same word unless two symbols and a blank spell a third.

    Raises:
        SymbolError: a symbol cannot be written as UTF-8.
    """
    _check_utf8(alphabet)
    special = special_tokens(alphabet)
    vocabulary = {token: index for index, token in enumerate((*special, *alphabet))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=_token_outside(vocabulary)))
    longest_first = sorted(alphabet, key=len, reverse=True)
    anything = "(?m:.)" if is_single_character(alphabet) else r"\S"
    pattern = Regex("|".join([*map(_escape, longest_first), anything]))
    tokenizer.pre_tokenizer = Split(pattern, behavior="removed", invert=True)
    if is_single_character(alphabet):
        tokenizer.decoder = Fuse()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    bos = special[BOS]
    tokenizer.post_processor = TemplateProcessing(
        single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, BOS)]
    )
    return tokenizer


def _token_outside(vocabulary: dict[str, int]) -> str:
    # The library drops what it does not know where the token for it is missing from the options,
    # and raises where it is named but not in the vocabulary.
    return "?" * (1 + max(map(len, vocabulary)))


def _escape(symbol: str) -> str:
    # In the regular expressions of the library a backslash before a letter or a line end means
    # something else, so only signs are escaped.
    return re.sub(r"[^\w\s]", lambda sign: f"\\{sign[0]}", symbol)


def _check_utf8(alphabet: Alphabet) -> None:
    for symbol in alphabet:
        try:
            symbol.encode()
        except UnicodeEncodeError as error:
            raise SymbolError(f"the symbol {symbol!r} cannot be written as UTF-8.") from error
