"""Generation: everything that is written must be allowed by the language."""

from __future__ import annotations

from random import Random

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.scenarios.scenario import Trials, draw_rows, trials_of
from statespan.conformance.trial import Trial, Write

__all__ = ["greedy", "sampled"]

STEPS = 24
PROMPTS = ((1,), (8, 8, 8), (17, 2, 5, 1), (2, 3, 4, 5, 6, 7), (33,), (3, 64))


def _write(checkpoint: Checkpoint, rng: Random, *, is_sampled: bool) -> Trials:
    for number, lengths in enumerate(PROMPTS):
        prompts = draw_rows(checkpoint, rng, *lengths)
        yield (
            f"prompts of {', '.join(map(str, lengths))}",
            Trial.of(Write(prompts, STEPS, is_sampled, seed=number)),
        )


@trials_of(
    "greedy",
    "greedy",
    promise="Each token that is written greedily after a prompt may follow there, and the end "
    "comes only where a word may end.",
)
def greedy(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield prompts, alone and of unequal lengths, to go on from greedily."""
    return _write(checkpoint, rng, is_sampled=False)


@trials_of(
    "sampled",
    "sampled",
    promise="Each token that is drawn after a prompt may follow there, so that a text that ends "
    "is a word of the language.",
)
def sampled(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield prompts, alone and of unequal lengths, to go on from by chance."""
    return _write(checkpoint, rng, is_sampled=True)
