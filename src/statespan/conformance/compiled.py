"""Compiled checkpoints as the kit sees them: what is right by the language's own machine."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, final

from statespan.algebra.words import access_word
from statespan.compiler import CompiledModel
from statespan.compiler.explain import explain
from statespan.compiler.promise import FIRST_SYMBOL, Promise, largest_count
from statespan.compiler.tokenizer import special_tokens
from statespan.conformance.checkpoint import Answer, Checkpoint
from statespan.conformance.evidence import read_certificate, read_evidence
from statespan.conformance.facts import CascadeFacts
from statespan.conformance.losses import Lost, logits_after_loss
from statespan.conformance.protocol import Scores, Tokens
from statespan.conformance.scores import allowed_margin, allowed_tokens
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = ["CompiledCheckpoint"]

HELD = {"counters": "the counts", "bounded-stack": "the brackets that are open"}
"""What a machine holds, by its kind."""

RESTARTS = 0.2
"""How often a word that can only go on as it does is left for a new one."""


@final
class CompiledCheckpoint(Checkpoint):
    """A folder that `statespan compile` and `statespan certify` wrote."""

    def __init__(self, folder: Path) -> None:
        """Read the folder.

        Raises:
            InputError: it holds no compiled checkpoint, or one without a certificate that proves
                it, or the certificate is of other weights.
        """
        compiled = CompiledModel.from_pretrained(folder)
        certificate = read_certificate(folder)
        evidence = read_evidence(folder)
        report = compiled.report
        self.compiled = compiled
        self.folder, self.name = folder, folder.name
        self.family, self.dtype = (
            str(compiled.config.get("model_type", report.target)),
            report.dtype,
        )
        self.certificate = certificate.remark
        self.valid_only = report.valid_prefixes_only or certificate.valid_prefixes_only
        counts = [n for n in (report.max_count, certificate.max_count) if n is not None]
        self.max_count = min(counts, default=None)
        self.promise = _promise_text(self.valid_only, self.max_count)
        alphabet = compiled.language.alphabet
        self.vocabulary = Vocabulary(alphabet)
        self.symbols = (*special_tokens(alphabet), *alphabet)
        self._promise = Promise(compiled.language, self.valid_only, self.max_count)
        self.machine = self._promise.machine
        self.blank = None if evidence is None else evidence.blank
        self.starts_blank = self.blank is not None
        self.ignores_filler = not self.valid_only
        self._answers: dict[Any, Answer] = {}

    @property
    def explanation(self) -> str:  # type: ignore[override]
        """What its parts remember, in words; the sizes of the weights are left out."""
        cascade, dfa = self.compiled.cascade, self.compiled.dfa
        if cascade is None or dfa is None:
            return self.compiled.explain()
        return explain(cascade, dfa, self.compiled.plan)

    @cached_property
    def widest(self) -> int:
        """The largest number of tokens in an answer; the whole alphabet and the end, at most."""
        cascade = self.compiled.cascade
        if cascade is None:
            return len(self.machine.alphabet) + 1
        return max(map(len, cascade.readout.labels))

    def expected(self, tokens: Tokens) -> list[Answer | None]:
        answers: list[Answer | None] = []
        state: Hashable = self.blank
        known = state is not None
        for token in tokens:
            if token == BOS:
                state, known = self.machine.start, known or not answers
            elif known and token in {EOS, PAD}:
                known = self.ignores_filler or EOS in self._answer(state)
            elif known and state is not None:
                state = self._step(state, token)
                known = not (state is None and self.valid_only)
            known = known and not self._is_too_large(state)
            answers.append(self._answer(state) if known else None)
        return answers

    def _step(self, state: Any, token: int) -> Any:
        return self.machine.step(state, self.machine.alphabet[token - FIRST_SYMBOL])

    def _is_too_large(self, state: Any) -> bool:
        return self.max_count is not None and largest_count(state) > self.max_count

    def _answer(self, state: Any) -> Answer:
        if state not in self._answers:
            allowed = frozenset() if state is None else self.machine.allowed(state)
            said = zip(self.vocabulary.answers(allowed), self.vocabulary.answer_ids, strict=True)
            self._answers[state] = frozenset(token for yes, token in said if yes)
        return self._answers[state]

    def said(self, scores: Scores) -> list[Answer]:
        return allowed_tokens(scores)

    def margin(self, scores: Scores, answers: list[Answer | None]) -> float:
        return allowed_margin(scores, answers)

    def draw(self, length: int, *, rng: Random) -> Tokens:
        return self.go_on((BOS,), length, rng=rng)

    def go_on(self, tokens: Tokens, length: int, *, rng: Random) -> Tokens:
        made = list(tokens[:length])
        state: Hashable = self.blank
        for token in made:
            state = self._moved(state, token)
        while len(made) < length:
            made.append(self._next(state, rng))
            state = self._moved(state, made[-1])
        return tuple(made)

    def _moved(self, state: Hashable, token: int) -> Hashable:
        if token == BOS:
            return self.machine.start
        return state if state is None or token < FIRST_SYMBOL else self._step(state, token)

    def _next(self, state: Hashable, rng: Random) -> int:
        """Return a symbol after which another can follow, or BOS where nothing more can happen."""
        moves = [] if state is None else self._promise.moves(state)
        moves = [move for move in moves if self._promise.moves(move[1])] or moves
        has_settled = all(following == state for _, following in moves)
        if not moves or (has_settled and rng.random() < RESTARTS):
            return BOS
        return rng.choice(moves)[0]

    def answers_after_loss(self, tokens: Tokens, place: int, lost: Lost) -> list[Answer] | None:
        logits = logits_after_loss(self.compiled.model, tokens, place, lost)
        return allowed_tokens(Scores(logits))

    @cached_property
    def _facts(self) -> CascadeFacts | None:
        cascade, dfa = self.compiled.cascade, self.compiled.dfa
        return None if cascade is None or dfa is None else CascadeFacts(cascade, dfa)

    def facts(self, tokens: Tokens) -> Mapping[str, str]:
        if self._facts is None:
            return {HELD.get(self.machine.memory, "the state"): self._place(tokens)}
        return self._facts.in_words(self._facts.values(self._letters(tokens)))

    def confusions(self, tokens: Tokens, answer: Answer) -> list[Mapping[str, str]]:
        if self._facts is None:
            return []
        said = self.vocabulary.symbols(token in answer for token in self.vocabulary.answer_ids)
        values = self._facts.values(self._letters(tokens))
        return [self._facts.in_words(other) for other in self._facts.confused(values, said)]

    def _letters(self, tokens: Tokens) -> list[int]:
        restart = len(self.machine.alphabet)
        kept = [token for token in tokens if token not in {EOS, PAD}]
        letters = [restart if token == BOS else token - FIRST_SYMBOL for token in kept]
        return letters if letters[:1] == [restart] else [*self._blank_letters, *letters]

    @cached_property
    def _blank_letters(self) -> list[int]:
        """Letters that lead to the state in which the model begins without BOS."""
        dfa = self.compiled.dfa
        return (
            []
            if dfa is None or self.blank is None
            else [dfa.alphabet.index(symbol) for symbol in access_word(dfa, self.blank)]
        )

    def _place(self, tokens: Tokens) -> str:
        """Return what the machine holds: counts, or brackets that are open."""
        state: Any = self.blank
        for token in tokens:
            state = self._moved(state, token)
        if state is None:
            return "no word can come of it"
        return str(state)


def _promise_text(valid_only: bool, max_count: int | None) -> str:
    inputs = "prefixes of words" if valid_only else "inputs"
    counts = "" if max_count is None else f", as long as no count exceeds {max_count:,}"
    return f"Right after BOS and all {inputs} of any length{counts}."
