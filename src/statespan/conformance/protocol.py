"""What an engine is to the kit: something that loads a checkpoint, reads tokens and answers.

An engine loads a checkpoint, or says why it cannot. What it then returns, a `Runner`, has
abilities, each a method or an argument of one; those that an engine lacks are named by what is
missing in `Runner.abilities`, and a scenario that needs one of them counts as not offered, never
as passed. A call may also raise `UnsupportedError` by itself, to the same effect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, final

from torch import Tensor

from statespan.errors import UnsupportedError
from statespan.registry import Registry
from statespan.training import PAD

if TYPE_CHECKING:
    from statespan.conformance.checkpoint import Checkpoint

__all__ = ["ENGINES", "Ability", "Engine", "Padding", "Runner", "Scores", "Session", "Tokens"]

Tokens: TypeAlias = tuple[int, ...]
"""The token ids that one row reads."""

Ability: TypeAlias = Literal[
    "score",  # `Runner.score` of rows of one length
    "unequal",  # `Runner.score` of rows of unequal lengths, padded as the engine likes
    "mask",  # `padding` with `masked=True`, in `score` and `feed`
    "unmasked",  # `padding` with `masked=False`, in `score` and `feed`
    "documents",  # `Runner.score_packed`
    "session",  # `Runner.start` and `Session.feed`
    "copy",  # `Session.copy`
    "crop",  # `Session.crop`
    "reorder",  # `Session.reorder`
    "greedy",  # `Runner.generate(sampled=False)`
    "sampled",  # `Runner.generate(sampled=True)`
    "threads",  # calls from several threads at once, each with sessions of its own
]


@final
@dataclass(frozen=True, slots=True)
class Padding:
    """Where the filler goes in rows of unequal lengths.

    Attributes:
        side: the side of each row that is filled up.
        masked: whether a mask tells the engine which tokens are filler.
        filler: the token that is put there; with a mask it may be any.
    """

    side: Literal["left", "right"]
    masked: bool
    filler: int = PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What an engine says after each of some tokens of one row.

    Attributes:
        values: [position, token], float32. A token that the engine says nothing of has -inf.
        are_logits: whether the values are logits, whose signs mean something; else they are
            natural logarithms of probabilities.
    """

    values: Tensor
    are_logits: bool = True


class Session(ABC):
    """A cache with some rows, each with what it has read so far."""

    @abstractmethod
    def feed(self, pieces: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        """Read the next tokens of each row; return what is said after each of them.

        The pieces have one length each unless `padding` says how to fill them up; scores of the
        filler are left out.
        """

    def copy(self) -> Session:
        """Return another session that has read the same; what one reads, the other does not."""
        raise UnsupportedError("sessions cannot be copied.")

    def crop(self, length: int) -> None:
        """Forget all but the first `length` tokens of each row."""
        del length
        raise UnsupportedError("sessions cannot be cropped.")

    def reorder(self, rows: Sequence[int]) -> None:
        """Put row `rows[i]` in the place of row i; a row may come twice, or not at all."""
        del rows
        raise UnsupportedError("the rows of a session cannot be reordered.")


class Runner(ABC):
    """A checkpoint that an engine has loaded."""

    abilities: frozenset[Ability]

    @abstractmethod
    def score(self, rows: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        """Return what is said after each token of each row, all rows in one call.

        The rows have one length unless the engine has `unequal`, which fills them up as it likes,
        or `padding` says how. Scores of the filler are left out.
        """

    def score_packed(self, documents: Sequence[Tokens]) -> list[Scores]:
        """Return what is said in each document, all of them packed into one row and kept apart."""
        del documents
        raise UnsupportedError("documents cannot be packed.")

    def start(self, num_rows: int = 1) -> Session:
        """Return a session that has read nothing."""
        del num_rows
        raise UnsupportedError("there are no sessions.")

    def generate(
        self, prompts: Sequence[Tokens], *, steps: int, sampled: bool, seed: int
    ) -> list[Tokens]:
        """Return what is written after each prompt: up to `steps` tokens, EOS the last if it came.

        Greedy, or each token drawn with its probability at temperature 1. The prompts may be of
        unequal lengths.
        """
        del prompts, steps, sampled, seed
        raise UnsupportedError("nothing is generated.")


class Engine(ABC):
    """A program that runs checkpoints.

    Attributes:
        name: how it is called.
        version: which release, as the report shows it.
        disclaimed: scenario to why the engine need not be right in it, as its documentation says;
            what is wrong there is shown, and is no fault.
    """

    name: str
    version: str
    disclaimed: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def load(self, checkpoint: Checkpoint) -> Runner:
        """Return `checkpoint`, loaded from its folder.

        Raises:
            UnsupportedError: the engine does not run such a model, or not in this precision.
        """


ENGINES: Registry[type[Engine]] = Registry("engine", "engines")
"""Name -> class of the engine, made without arguments."""
