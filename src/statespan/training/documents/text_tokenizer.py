"""A byte-level BPE that is trained on a folder's own text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from tokenizers.trainers import BpeTrainer

from statespan.training.documents.document import DOCUMENTS
from statespan.training.documents.prose import Prose
from statespan.training.text.stream import TextEncoder

__all__ = [
    "END_ID",
    "END_TOKEN",
    "PAD_ID",
    "PAD_TOKEN",
    "document_encoder",
    "tokenizer_files",
    "train_tokenizer",
]

PAD_TOKEN, END_TOKEN = "<|pad|>", "<|end|>"
PAD_ID, END_ID = 0, 1
PASSAGE = 10_000
"""Characters of one passage of prose that the merges are counted on."""
DOCUMENTS_A_PASSAGE = 2
SIZE_OF_DOCUMENTS = 6


def train_tokenizer(
    prose: Prose, vocab_size: int, *, characters: int = 4_000_000, rng: Random
) -> Tokenizer:
    """Return a BPE of bytes whose merges are counted on passages, and on each kind of document.

    Any text can be told in its tokens and read back. A digit is a token of its own, so that a
    number is copied digit by digit. Ids 0 and 1 are padding and the end of a document.

    The passages have `characters` in all, or as many as the prose if that has fewer.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKEN, END_TOKEN],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(prose, min(characters, prose.characters), rng), trainer)
    return tokenizer


def _texts(prose: Prose, characters: int, rng: Random) -> Iterator[str]:
    kinds = [DOCUMENTS.get(name) for name in DOCUMENTS.names()]
    for _ in range(-(-characters // PASSAGE)):
        yield prose.passage(PASSAGE, rng=rng)
        for _ in range(DOCUMENTS_A_PASSAGE):
            document = rng.choice(kinds)(SIZE_OF_DOCUMENTS, prose, rng=rng)
            yield "".join(piece.text for piece in document)


def document_encoder(tokenizer: Tokenizer) -> TextEncoder:
    """Return how a tokenizer of `train_tokenizer` makes tokens of documents."""
    return TextEncoder(lambda text: tokenizer.encode(text).ids, end=END_ID)


def tokenizer_files(tokenizer: Tokenizer, context: int) -> list[tuple[str, bytes]]:
    """Return the files from which the tokenizer opens elsewhere, for texts of `context` tokens."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_TOKEN,
        "eos_token": END_TOKEN,
        "pad_token": PAD_TOKEN,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    return [
        ("tokenizer.json", tokenizer.to_str(pretty=True).encode()),
        ("tokenizer_config.json", json.dumps(settings, indent=2).encode()),
    ]
