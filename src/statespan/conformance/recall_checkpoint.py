"""A recall checkpoint on disk, for the kit: an induction head whose every answer is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import final

import msgspec

from statespan.compiler.certification import weights_hash
from statespan.compiler.compiled_model import CERTIFICATE
from statespan.compiler.folder import CONFIG, MARK, build_model, read_alphabet, write_folder
from statespan.compiler.tokenizer import special_tokens
from statespan.compiler.weights import convert
from statespan.conformance.checkpoint import Answer, Checkpoint
from statespan.conformance.protocol import Scores, Tokens
from statespan.conformance.recall import recall_weights
from statespan.conformance.recall_answers import (
    RECALL_ALPHABET,
    followers,
    recall_answers,
    sample_cycle,
    sample_pairs,
)
from statespan.conformance.recall_certificate import RecallCertificate, certify_recall
from statespan.conformance.recall_span import LONGEST, check_attention, span_answers
from statespan.conformance.scores import allowed_margin, allowed_tokens
from statespan.errors import InputError
from statespan.memory import SpanAttention
from statespan.pretrained import enable
from statespan.records import read_bytes, write_atomically
from statespan.training import EOS

__all__ = ["RecallCheckpoint", "make_recall_checkpoint"]

CARD = """# Exact recall

An induction head, made by hand: after each symbol it says what followed that symbol earlier in the
document, and the end where the symbol is new. Two layers of the Llama family, no training.

{promise}

{proof}
"""

PROMISE = (
    "In documents of up to {length} tokens that begin with BOS: after each symbol, the one that "
    "followed it before; EOS, if it is new; nothing is promised where different symbols followed."
)
SPAN_PROMISE = (
    "In documents of up to {length} tokens that begin with BOS, under {attention}: after each "
    "symbol, the one that followed it where it is seen; EOS, if none is seen; nothing is promised "
    "where it is open what is seen, and where different symbols followed."
)
PROOF = (
    "The token before is found with {previous_gap:.0f} nats to spare, a match with "
    "{match_gap:.0f}; at most {leak:.0e} of the attention goes astray. Logits of the model were "
    "{measured_margin:.1f} on the right side of 0 in {measured_answers} answers."
)
EXPLANATION = (
    "Layer 1 fetches the token before each one, by positions alone; layer 2 finds the token before "
    "which the symbol stood that was just read, copies it, and copies EOS from BOS if there is "
    "none. Padding that no mask hides is found first, and copied as BOS."
)


@final
class RecallCheckpoint(Checkpoint):
    """A recall checkpoint in `folder`, as `make_recall_checkpoint` wrote it.

    Raises:
        InputError: it has no certificate, one of other weights, or another alphabet.
        StorageError: it is no checkpoint, or cannot be read.
    """

    family = "llama"
    explanation = EXPLANATION
    restarts = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if read_alphabet(folder) != RECALL_ALPHABET:
            raise InputError(f"{folder} is no recall checkpoint: it has other symbols.")
        path = folder / CERTIFICATE
        if not path.is_file():
            raise InputError(f"the checkpoint {folder} has no certificate: {CERTIFICATE}.")
        try:
            found = msgspec.json.decode(read_bytes(path), type=_Saved)
        except msgspec.DecodeError as error:
            raise InputError(f"{path} is broken: {error}.") from error
        if found.weights_sha256 != weights_hash(folder):
            raise InputError(f"the certificate in {folder} is of other weights.")
        self.attention = _read_attention(folder)
        self.length = found.certificate.length
        self.dtype = found.dtype
        self.name = folder.name
        self.promise = _promise(found.certificate)
        if self.attention is not None:
            self.promise = SPAN_PROMISE.format(length=LONGEST, attention=self.attention)
        self.certificate = _proof(found.certificate)
        self.symbols = (*special_tokens(RECALL_ALPHABET), *RECALL_ALPHABET)

    def expected(self, tokens: Tokens) -> list[Answer | None]:
        if self.attention is not None:
            return span_answers(tokens, self.attention)
        answers = recall_answers(tokens[: self.length])
        return answers + [None] * (len(tokens) - len(answers))

    def said(self, scores: Scores) -> list[Answer]:
        return allowed_tokens(scores)

    def margin(self, scores: Scores, answers: list[Answer | None]) -> float:
        return allowed_margin(scores, answers)

    def draw(self, length: int, *, rng: Random) -> Tokens:
        return rng.choice((sample_cycle, sample_pairs))(length, rng=rng)

    @property
    def widest(self) -> int:
        return 1

    def facts(self, tokens: Tokens) -> Mapping[str, str]:
        found = {}
        for grown in followers(tokens):
            found = grown
        return {
            f"what followed {self.symbols[token]}": " or ".join(
                self.symbols[after] for after in sorted(afters)
            )
            for token, afters in found.items()
        }

    def confusions(self, tokens: Tokens, answer: Answer) -> list[Mapping[str, str]]:
        facts = dict(self.facts(tokens))
        about = f"what followed {self.symbols[tokens[-1]]}"
        if answer == {EOS} and about in facts:
            del facts[about]
            return [facts]
        if len(answer) == 1 and EOS not in answer:
            return [{**facts, about: self.symbols[min(answer)]}]
        return []


def _read_attention(folder: Path) -> SpanAttention | None:
    said = json.loads(read_bytes(folder / CONFIG))[MARK].get("attention")
    if said is None:
        return None
    attention = SpanAttention.from_dict({k: v for k, v in said.items() if k != "kind"})
    check_attention(attention)
    return attention


class _Saved(msgspec.Struct, frozen=True):
    dtype: str
    weights_sha256: str
    certificate: RecallCertificate


def make_recall_checkpoint(
    folder: Path, *, dtype: str = "float32", attention: SpanAttention | None = None
) -> RecallCheckpoint:
    """Write the recall checkpoint of a precision, prove it, run it, and return it.

    Args:
        folder: where to; it is new, empty, or holds a compiled checkpoint, which is replaced.
        dtype: "float32" or "bfloat16".
        attention: what its config says that it attends with, for `statespan.enable`; its own
            attention if not given, which is the one that the certificate is about.

    Raises:
        InputError: no such dtype, an attention under which no answer is known, or the folder holds
            something else.
        StorageError: it cannot be written.
    """
    weights = recall_weights()
    tensors = convert(weights, dtype)
    model = build_model(weights.config, tensors, dtype)
    certificate = certify_recall(model)
    config = dict(weights.config)
    if attention is not None:
        check_attention(attention)
        with enable(model, attention):
            config[MARK] = dict(model.config.statespan)
    card = CARD.format(promise=_promise(certificate), proof=_proof(certificate))
    write_folder(folder, config, tensors, weights.alphabet, card=card, files={})
    saved = _Saved(dtype, weights_hash(folder), certificate)
    write_atomically(folder / CERTIFICATE, msgspec.json.encode(saved))
    return RecallCheckpoint(folder)


def _promise(certificate: RecallCertificate) -> str:
    return PROMISE.format(length=certificate.length)


def _proof(certificate: RecallCertificate) -> str:
    return PROOF.format(**msgspec.to_builtins(certificate))
