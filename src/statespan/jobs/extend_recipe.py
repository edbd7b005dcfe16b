"""The recipe of Nunez et al. (2024, arXiv:2412.13328), and how it is scaled to smaller models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

__all__ = ["Recipe", "recipe"]

STEPS, ROWS, LENGTH = 1_000, 64, 8_192
TOKENS = STEPS * ROWS * LENGTH
LEARNING_RATE, WARMUP, SHIFTED_SHARE = 2e-4, 20, 0.1
WIDTH, PARAMETERS = 2_560, 2_700_000_000
RANK, CHUNKS, BLOCK, TOP_K = 32, (2_048, 4_096), 32, 8
"""What the paper took, for a model of that width and number of parameters."""

HIGHEST_RATE = 1e-3
TOKENS_AT_ONCE = 8_192
LARGE = 100_000_000
"""Parameters from which on memory is saved by running layers twice."""


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training takes where its config leaves it out.

    Attributes:
        training: settings of `FineTuningConfig`.
        rank: of the adapters; their alpha is twice that.
        attentions: settings of each kind of attention, by its name, for training.
    """

    training: dict[str, Any]
    rank: int
    attentions: dict[str, dict[str, Any]]


def recipe(
    length: int, *, parameters: int, width: int, attention: str = "span", processes: int = 1
) -> Recipe:
    """Return the recipe for a model of so many parameters, so wide, at a length.

    For the paper's model and length it is the paper's. For others:

    - tokens: as many a parameter as in the paper, 0.194, and at most 0.52 billion;
    - steps: 1,000, or as many rows as those tokens are, if that is less; a step takes the rest, up
      to a multiple of the processes that share the rows;
    - rate: 2e-4 for a width of 2,560, higher in proportion for a narrower model, at most 1e-3; a
      tenth of that for shifted sparse attention; warm-up over a fiftieth of the steps;
    - rank: 32, at most a quarter of the width; alpha is twice the rank;
    - chunks: a quarter and a half of the length, at most 2,048 and 4,096;
    - blocks: 32 tokens, at most an eighth of the smaller chunk; always 8 of them;
    - sliding window: half of the length; groups of shifted attention: a quarter; blocks of
      mixture-of-blocks attention: a sixteenth, of which 3 are seen.

    Example:
        >>> paper = recipe(8_192, parameters=2_700_000_000, width=2_560)
        >>> [paper.training[name] for name in ("steps", "rows", "learning_rate", "warmup")]
        [1000, 64, 0.0002, 20]
        >>> paper.rank, paper.attentions["span"]["chunk"], paper.attentions["span"]["block"]
        (32, [2048, 4096], 32)
        >>> small = recipe(4_096, parameters=3_000_000, width=128)
        >>> [small.training[name] for name in ("steps", "rows", "learning_rate", "warmup")]
        [142, 1, 0.001, 3]
        >>> small.rank, small.attentions["span"]["chunk"], small.attentions["span"]["block"]
        (32, [1024, 2048], 32)
    """
    tokens = min(TOKENS, TOKENS * parameters / PARAMETERS)
    rows_in_all = max(1, round(tokens / length))
    steps = min(STEPS, rows_in_all)
    rate = min(HIGHEST_RATE, LEARNING_RATE * max(1.0, WIDTH / width))
    return Recipe(
        training={
            "steps": steps,
            "rows": -(-round(rows_in_all / steps) // processes) * processes,
            "batch_size": max(1, TOKENS_AT_ONCE // length),
            "learning_rate": rate * (SHIFTED_SHARE if attention == "s2" else 1),
            "warmup": max(1, round(steps * WARMUP / STEPS)),
            "gradient_checkpointing": parameters >= LARGE,
            "checkpoint_every": max(1, steps // 20),
        },
        rank=max(1, min(RANK, width // 4)),
        attentions=_attentions(length),
    )


def _attentions(length: int) -> dict[str, dict[str, Any]]:
    quarter = min(CHUNKS[0], max(1, length // 4))
    block = max(1, min(BLOCK, quarter // TOP_K))
    small = quarter // block * block
    large = min(CHUNKS[1], 2 * small)
    return {
        "full": {},
        "span": {"chunk": [small, large], "block": block, "top_k": TOP_K, "selection": "chunk"},
        "sliding": {"window": max(1, length // 2)},
        "s2": {"group": max(2, length // 8 * 2)},
        "moba": {"block": max(1, length // 16), "top_k": 3},
    }
