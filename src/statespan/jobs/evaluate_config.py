"""The config of an evaluation: everything that its numbers depend on, but model and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from statespan.errors import ConfigError
from statespan.jobs.fleet_config import distinct
from statespan.records import to_struct

__all__ = [
    "EvaluateConfig",
    "HarnessConfig",
    "PerplexityConfig",
    "RecallConfig",
    "evaluate_config",
]

AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class PerplexityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How perplexity is measured.

    Attributes:
        stride: tokens between the beginnings of two windows, at most the shortest length; none:
            windows stand one after the other.
        tokens: how much text is read, the same at each length: rounded down to a multiple of the
            longest length, but at least that.
        bins: into how many equal parts the positions of a window are split.
    """

    stride: AtLeast1 | None = None
    tokens: AtLeast1 = 65_536
    bins: AtLeast1 = 16


class RecallConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How synthetic recall is measured: at how many depths, both ends included, a needle stands."""

    depths: Annotated[int, msgspec.Meta(ge=2)] = 10


class HarnessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How lm-evaluation-harness is run.

    Attributes:
        folder: a folder with YAML files of tasks of your own.
        samples: how many samples of each task are used; none: all.
    """

    folder: str | None = None
    samples: AtLeast1 | None = None


class EvaluateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One evaluation of a model, in suites, at lengths, with one or more kinds of attention.

    Attributes:
        model: the folder of the model and its tokenizer.
        suite: what is measured: perplexity, ruler, recall, lists, harness.
        lengths: in tokens.
        attention: names of kinds of attention, or of tables under `attentions`.
        attentions: settings by that name: `chunk`, `block`, `window`, …, and `kind` where the name
            is one of your own.
        tasks: names of tasks of the suites; none: all of them (the harness needs names).
        samples: of each task at each length.
        text: what perplexity is measured on: a folder, a file, or a data set on the disk; none: the
            novel that is shipped.
        field: the name of the text in a line of JSON, or in a row of a data set.
        essays: a folder whose texts are RULER's haystack; none: the novel that is shipped.
        batch_size: samples or windows that run together at the longest length; at a shorter one as
            many as have no more tokens. One at a time is one at each.
        accelerate: whether mixers run on the operations of this package.
    """

    model: str
    suite: tuple[str, ...] = ("perplexity", "ruler", "recall")
    lengths: tuple[AtLeast1, ...] = (512, 1024, 2048, 4096)
    attention: tuple[str, ...] = ("full",)
    attentions: dict[str, dict[str, Any]] = {}
    tasks: tuple[str, ...] | None = None
    samples: AtLeast1 = 50
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    text: str | None = None
    field: str = "text"
    essays: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str | None = None
    threads: AtLeast1 | None = None
    batch_size: AtLeast1 = 8
    accelerate: bool = True
    perplexity: PerplexityConfig = PerplexityConfig()
    recall: RecallConfig = RecallConfig()
    harness: HarnessConfig = HarnessConfig()

    def rows(self, length: int) -> int:
        """Return how many samples or windows of a length run together."""
        return 1 if self.batch_size == 1 else self.batch_size * max(self.lengths) // length


def evaluate_config(table: Mapping[str, Any]) -> EvaluateConfig:
    """Return the config that a table describes; what it leaves out has its default.

    Raises:
        ConfigError: an unknown key, a missing one, a wrong type, a value out of range, or a list
            that is empty or has a value twice.

    Example:
        >>> evaluate_config({"model": "folder", "lengths": [512]}).attention
        ('full',)
    """
    if "model" not in table:
        raise ConfigError("the config needs model, the folder of a model; got none.")
    config = to_struct(table, EvaluateConfig)
    for key in ("suite", "lengths", "attention", "tasks"):
        values = getattr(config, key)
        distinct(key, None if values is None else list(values))
    stride, shortest = config.perplexity.stride, min(config.lengths)
    if "perplexity" in config.suite and stride is not None and stride > shortest:
        raise ConfigError(
            f"perplexity.stride must be at most the shortest length, {shortest}, got {stride}."
        )
    unused = set(config.attentions) - set(config.attention)
    if unused:
        raise ConfigError(
            f"attentions.{min(unused)} is not among attention: {', '.join(config.attention)}. "
            "Add it there, or leave its table out."
        )
    return config
