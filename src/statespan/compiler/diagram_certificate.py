"""The same proof where there are too many values to list: all of them at once, channel by channel.

What a model has to remember is an abstract machine: the rules of its cascade that acted last, or a
stack. The embeddings, each block and the head are worked out as functions of it, bit for bit, by
decision diagrams (Bryant 1986): every number is kept with all values it can have, and where. So
none of the joint values is left out, and none is listed. Three things are proved:

* the machine means the language (a search of the product with the automaton; for brackets an
  induction over tokens, the stack that the components stand for being another diagram);
* from every value of the machine, every token leads each channel's recurrent state from the value
  that the machine's memory gives it to the value that the memory then gives it;
* every logit has the right sign at every value of the machine.

The arithmetic is that of `transformers`, repeated here. That it is the same is not proved but
tried: its own forward runs along random inputs, and every number of every block must be what the
diagrams say, bit by bit. The first token, with nothing cached, is proved by such a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, final

import torch
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler.abstract_machine import (
    AbstractMachine,
    cascade_machine,
)
from statespan.compiler.cascade import Cascade, cascade_fault
from statespan.compiler.certificate import EXACT_LOGIT, Certificate, Progress, WrongAnswer
from statespan.compiler.closed_forms import BoundedDyck
from statespan.compiler.diagram_arithmetic import UnprovedError
from statespan.compiler.quiet import quiet_transformers
from statespan.compiler.recorded_runs import RecordedStep, recorded_runs
from statespan.compiler.stack_machine import cascade_stack_fault, stack_machine, stack_moves
from statespan.compiler.symbolic_model import SymbolicModel
from statespan.errors import InputError, LimitError
from statespan.languages import DFA, Language
from statespan.training import BOS, PAD, Vocabulary

__all__ = ["certify_diagrams"]

SEED = 0
SETTINGS = {"hidden_act": "silu", "residual_in_fp32": True, "state_size": 1}
"""What a model's config must say, for its arithmetic to be the one that is repeated."""


@torch.inference_mode()
def certify_diagrams(
    model: PreTrainedModel,
    language: Language,
    *,
    cascade: Cascade | None = None,
    dfa: DFA | None = None,
    progress: Progress = lambda *_: None,
) -> Certificate:
    """Work out a `mamba` or `mamba2` for all inputs at once.

    With a `cascade`, the model is to do what that does on every string, and it must mean `dfa` or,
    without one, a bounded Dyck language; without a cascade, it is to keep the stack of a bounded
    Dyck language on every prefix of a word. The certificate is closed only if all is proved;
    inputs on which the model was seen to err are in it.
    """
    search = _Proof(model, language, cascade, dfa)
    with quiet_transformers():
        try:
            search.run(progress)
        except (UnprovedError, LimitError) as error:
            return search.certificate(str(error))
    return search.certificate(None)


@final
class _Proof:
    """The proof for one model; `wrong` has the inputs on which it was seen to err."""

    def __init__(
        self, model: Any, language: Language, cascade: Cascade | None, dfa: DFA | None
    ) -> None:
        self.model, self.language = model, language
        self.cascade, self.dfa = cascade, dfa
        self.wrong: list[WrongAnswer] = []
        self.margin, self.largest = float("inf"), 0.0
        self.symbolic: SymbolicModel | None = None

    def run(self, progress: Progress) -> None:
        """Prove all that is to be proved.

        Raises:
            UnprovedError, LimitError: something cannot be.
        """
        self._check_settings()
        machine = self._machine()
        runs = recorded_runs(self.model, machine, rng=Random(SEED))
        self.wrong = _wrong_answers(machine, runs, self.language)
        if self.wrong:
            return
        self.symbolic = symbolic = SymbolicModel(machine, self.model)
        blocks = len(self.model.base_model.layers)
        for number in range(blocks):
            progress("certifying", number, blocks, f"block {number + 1}")
            symbolic.take_block()
        logits = symbolic.logits()
        _compare(symbolic, logits, runs)
        self._check_logits(machine, logits)

    def certificate(self, failure: str | None) -> Certificate:
        """Return what was found; `failure` says why the proof is not complete."""
        symbolic = self.symbolic
        if self.wrong:
            failure = "the model errs"
        proved = failure is None
        return Certificate(
            method="diagrams",
            closed=proved,
            states=0 if symbolic is None else symbolic.num_states,
            transitions=0 if symbolic is None else symbolic.num_steps,
            wrong=self.wrong,
            margin=self.margin if proved else 0.0,
            exact=proved and self.margin == self.largest == EXACT_LOGIT,
            valid_prefixes_only=self.cascade is None,
            remark=failure or "every channel was worked out for all inputs at once",
        )

    def _check_settings(self) -> None:
        config = self.model.config
        if config.model_type not in {"mamba", "mamba2"} or self.model.training:
            raise UnprovedError(f"the arithmetic of {config.model_type} is not known.")
        for name, needed in SETTINGS.items():
            if getattr(config, name) != needed:
                raise UnprovedError(f"{name} must be {needed}, got {getattr(config, name)}.")
        if any(weight.dtype != self.model.dtype for weight in self.model.parameters()):
            raise UnprovedError("the weights have more than one precision.")
        if config.model_type == "mamba2" and config.n_groups != 1:
            raise UnprovedError(f"n_groups must be 1, got {config.n_groups}.")

    def _machine(self) -> AbstractMachine:
        """Return the machine that the model is to be, once it is proved to mean the language."""
        cascade, form = self.cascade, BoundedDyck.match(self.language)
        try:
            if cascade is not None:
                machine = cascade_machine(cascade)
                if self.dfa is not None:
                    fault = cascade_fault(cascade, self.dfa)
                elif form is not None:
                    moves = stack_moves(form, self.language.machine)
                    fault = cascade_stack_fault(cascade, machine, moves)
                else:
                    fault = "it is compared with automata and with brackets only"
                if fault is not None:
                    raise UnprovedError(f"the cascade: {fault}.")
                return machine
            if form is None:
                raise UnprovedError("only brackets are known without a cascade.")
            return stack_machine(stack_moves(form, self.language.machine))
        except InputError as error:
            raise UnprovedError(str(error)) from error

    def _check_logits(self, machine: AbstractMachine, logits: list[int]) -> None:
        """Check the sign of each logit, whatever the machine holds after the last token."""
        never = machine.diagrams.constant(False)
        answer_ids = Vocabulary(self.language.alphabet).answer_ids
        judged = [(BOS, never), (PAD, never), *zip(answer_ids, machine.answers, strict=True)]
        for token, wanted in judged:
            distances = _distances(machine, wanted, logits[token])
            if distances[0] <= 0:
                raise UnprovedError(f"the logit of token {token} may have the wrong sign.")
            self.margin = min(self.margin, distances[0])
            self.largest = max(self.largest, distances[-1])


def _distances(machine: AbstractMachine, wanted: int, logit: int) -> list[float]:
    """Return a logit's distances from 0, the least first; negative on the wrong side.

    First whatever the memories are, after and before the token, then, if that is too much, for
    those that belong together.
    """

    def signed(counts: bool, wanted: bool, logit: float) -> float | None:
        return (logit if wanted else -logit) if counts else None

    diagrams = machine.diagrams
    possible = machine.later(machine.possible)
    found = diagrams.leaves(diagrams.apply(signed, possible, wanted, logit)) - {None}
    if min(found) <= 0:
        parts = (machine.taken, machine.settled(wanted), machine.settled(logit))
        found = diagrams.leaves(diagrams.apply(signed, *parts)) - {None}
    return sorted(map(float, found))


def _wrong_answers(
    machine: AbstractMachine, runs: list[RecordedStep], language: Language
) -> list[WrongAnswer]:
    """Return the wrong answers of some runs, at most one a run."""
    answer_ids = Vocabulary(language.alphabet).answer_ids
    judged = [BOS, PAD, *answer_ids]
    found: dict[int, WrongAnswer] = {}
    for step in runs:
        for row, point in enumerate(step.points):
            said = [machine.diagrams.at(node, point) for node in machine.answers]
            signs = 2 * torch.tensor([False, False, *said]).int() - 1
            signed = (step.logits[row, judged] * signs).nan_to_num(nan=-1.0)
            if signed.min() <= 0 and row not in found:
                token = judged[int(signed.argmin())]
                logit = float(step.logits[row, token].nan_to_num())
                found[row] = WrongAnswer(list(step.words[row]), str(token), logit)
    return list(found.values())


def _compare(symbolic: SymbolicModel, logits: list[int], runs: list[RecordedStep]) -> None:
    """Compare every number of some runs of `transformers` with what the diagrams say.

    Raises:
        UnprovedError: one differs.
    """
    for step in runs:
        for row, point in enumerate(step.points):
            found = _Evaluation(symbolic, point)
            for number, (stream, state) in enumerate(zip(step.streams, step.states, strict=True)):
                same = torch.equal(found.of(symbolic.streams[number]), stream[row])
                if not (same and torch.equal(found.of(symbolic.states[number]), state[row])):
                    raise UnprovedError(f"block {number + 1} does something else than was proved.")
            if not torch.equal(found.of(logits), step.logits[row]):
                raise UnprovedError("the head does something else than was proved.")


@final
@dataclass
class _Evaluation:
    """The values of functions at one point, each looked up once."""

    symbolic: SymbolicModel
    point: list[int]

    def __post_init__(self) -> None:
        self._known: dict[int, float] = {}

    def of(self, nodes: list[int]) -> Tensor:
        """Return the values of some functions."""
        at, known = self.symbolic.machine.diagrams.at, self._known
        for node in nodes:
            if node not in known:
                known[node] = at(node, self.point)
        return torch.tensor([float(known[node]) for node in nodes])
