"""A compiled model: what it says, where it is written, and how it is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, final

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from statespan.compiler.block_certificate import BLOCK_STATE_LIMIT, certify_blocks
from statespan.compiler.card import model_card
from statespan.compiler.cascade import Cascade
from statespan.compiler.certificate import STATE_LIMIT, Certificate, Progress, certify_states
from statespan.compiler.closed_forms import BoundedDyck
from statespan.compiler.diagram_certificate import certify_diagrams
from statespan.compiler.drawing import draw_passes
from statespan.compiler.explain import explain
from statespan.compiler.folder import load_model, write_folder
from statespan.compiler.hidden_states import draw_hidden_states
from statespan.compiler.manifest import (
    MANIFEST,
    Manifest,
    Report,
    cascade_table,
    manifest_language,
    read_manifest,
    table_cascade,
)
from statespan.compiler.models import causal_model, is_own, write_own_folder
from statespan.compiler.oracle import Oracle
from statespan.compiler.verification import Verification, next_symbol_sets, verify
from statespan.compiler.weights import Plan
from statespan.errors import InputError
from statespan.languages import DFA, Language, NextSymbols, Word
from statespan.records import read_bytes, write_atomically

__all__ = ["CERTIFICATE", "VERIFICATION", "CompiledModel"]

CERTIFICATE = "certificate.json"
VERIFICATION = "verification.json"
WEIGHTS = "model.safetensors"
BY_BLOCKS = {"mamba", "mamba2"}


@final
@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A model that says after every prefix which symbols may follow, by construction.

    Attributes:
        language: what it was compiled from.
        config: the content of `config.json`, without token ids and dtype.
        tensors: the state dict in the report's precision, with the names of `transformers`.
        plan: which channel of the stream holds which fact, and what each block does.
        report: the model in numbers.
        dfa: the minimal automaton, where it was made.
        cascade: the cascade, where the weights come from one.
        folder: the folder that it was read from, if it was.
    """

    language: Language
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    plan: Plan
    report: Report
    dfa: DFA | None = None
    cascade: Cascade | None = None
    folder: Path | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> CompiledModel:
        """Return the compiled model in `folder`, with the weights that are there now.

        Raises:
            InputError: it is no folder of a compiled model, or a broken one.
            StorageError: a file cannot be read.
        """
        path = Path(folder)
        manifest = read_manifest(path)
        alphabet = tuple(manifest.alphabet)
        try:
            tensors = load(read_bytes(path / WEIGHTS))
        except SafetensorError as error:
            raise InputError(f"the checkpoint in {path} is broken: {error}.") from error
        table = manifest.cascade
        cascade = None if table is None else table_cascade(table, alphabet)
        return cls(
            manifest_language(manifest),
            manifest.config,
            tensors,
            manifest.plan,
            manifest.report,
            manifest.automaton,
            cascade,
            path,
        )

    @cached_property
    def model(self) -> Any:
        """The model of `transformers` (of this package, for the target `diagonal`)."""
        if self.folder is not None and not is_own(self.config):
            return load_model(self.folder)
        return causal_model(self.config, self.tensors, self.report.dtype)

    def next_symbol_sets(self, word: Word) -> list[NextSymbols]:
        """Return what the model says may follow each nonempty prefix of `word`.

        The result is as long as `word`: one set after each of its symbols, as
        `Language.next_symbol_sets` gives it.

        Raises:
            SymbolError: a symbol is not in the alphabet (named, with its position).
        """
        return next_symbol_sets(self.model, self.language.alphabet, word)

    def explain(self) -> str:
        """Return in words what each pass made; for a closed form, what each block does."""
        if self.cascade is not None and self.dfa is not None:
            return explain(self.cascade, self.dfa, self.plan, tensors=self.tensors)
        blocks = enumerate(self.plan.blocks, start=1)
        return "\n".join(f"Block {number}: {block.remark}" for number, block in blocks)

    def draw(self) -> str:
        """Return an SVG of the automaton, the cascade and the layers.

        Raises:
            InputError: the weights come from a closed form, which has no such passes.
        """
        if self.cascade is None or self.dfa is None:
            raise InputError(
                f"a {self.report.form} has no automaton and cascade to draw: use form='cascade'."
            )
        return draw_passes(self.cascade, self.dfa, self.plan)

    def draw_hidden_states(self, word: Word) -> bytes:
        """Return a PNG of what the model holds after each symbol of a word of up to 120 symbols.

        Raises:
            InputError: the weights come from a closed form, or the word is too long.
            SymbolError: a symbol is not in the alphabet.
        """
        if self.cascade is None:
            raise InputError(f"a {self.report.form} has no cascade whose facts could be drawn.")
        return draw_hidden_states(self.model, self.cascade, self.plan, word)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        verification: Verification | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        """Write a checkpoint that `transformers` opens, with a card and what was checked.

        Raises:
            InputError: the folder holds something else.
            StorageError: it cannot be written.
        """
        path = Path(folder)
        card = model_card(self.report, self.language, verification, certificate)
        files = {MANIFEST: msgspec.to_builtins(self._manifest())}
        if is_own(self.config):
            write_own_folder(path, self.config, self.tensors, card=card, files=files)
        else:
            alphabet = self.language.alphabet
            write_folder(path, self.config, self.tensors, alphabet, card=card, files=files)
        checks = {VERIFICATION: verification, CERTIFICATE: certificate}
        weights = hashlib.sha256(read_bytes(path / WEIGHTS)).hexdigest()
        for name, check in checks.items():
            if check is not None:
                table = {**msgspec.to_builtins(check), "weights_sha256": weights}
                write_atomically(path / name, msgspec.json.format(msgspec.json.encode(table)))

    def _manifest(self) -> Manifest:
        return Manifest(
            alphabet=list(self.language.alphabet),
            report=self.report,
            config=dict(self.config),
            automaton=self.dfa,
            cascade=None if self.cascade is None else cascade_table(self.cascade),
            plan=self.plan,
        )

    def verify(
        self,
        *,
        seed: int = 0,
        max_length: int | None = None,
        num_words: int = 64,
        long_length: int = 1_000_000,
        progress: Progress = lambda *_: None,
    ) -> Verification:
        """Compare the model with the language, word by word, up to `long_length` symbols."""
        return verify(
            self.model,
            self.language,
            rng=Random(seed),
            max_length=max_length,
            num_words=num_words,
            long_length=long_length,
            valid_prefixes_only=self.report.valid_prefixes_only,
            max_count=self.report.max_count,
            progress=progress,
        )

    def certify(
        self,
        *,
        state_limit: int = STATE_LIMIT,
        block_limit: int = BLOCK_STATE_LIMIT,
        progress: Progress = lambda *_: None,
    ) -> Certificate:
        """Search for a proof that the model is right at every length.

        The whole model's states are searched first, then, if they are more than `state_limit`
        and it has a cascade and an automaton, each block's by itself. Where these are more than
        `block_limit`, or there are more stacks of brackets than `state_limit` to begin with, all
        inputs are worked out at once by decision diagrams.

        Raises:
            InputError: the model is not one of `transformers`, or has attention at work.
        """
        if is_own(self.config):
            raise InputError(
                f"a certificate is about a model of transformers, not about {self.report.target}."
            )
        has_blocks = self.report.target in BY_BLOCKS
        hopeless = has_blocks and self.dfa is None and _num_stacks(self.language) > state_limit
        if hopeless:
            diagrams = self._certify_diagrams(progress)
            if diagrams.proves or diagrams.wrong:
                return diagrams
        certificate = certify_states(
            self.model,
            Oracle.of(self.language),
            valid_prefixes_only=self.report.valid_prefixes_only,
            limit=state_limit,
            progress=progress,
        )
        if certificate.closed or certificate.wrong or not has_blocks:
            return certificate
        if hopeless:
            return diagrams
        if self.cascade is None or self.dfa is None:
            return certificate
        blocks = certify_blocks(
            self.model, self.plan, self.cascade, self.dfa, limit=block_limit, progress=progress
        )
        return blocks if blocks.closed else self._certify_diagrams(progress)

    def _certify_diagrams(self, progress: Progress) -> Certificate:
        return certify_diagrams(
            self.model, self.language, cascade=self.cascade, dfa=self.dfa, progress=progress
        )


def _num_stacks(language: Language) -> int:
    """Return how many stacks a language of nested brackets has; 0 for other languages."""
    form = BoundedDyck.match(language)
    if form is None:
        return 0
    return sum(form.num_brackets**depth for depth in range(form.depth + 1))
