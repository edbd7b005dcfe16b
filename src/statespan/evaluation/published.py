"""The figures that the seed paper published for its suite, to be set beside our own."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import final

import msgspec

__all__ = ["Published", "published_figures"]


@final
class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Percent of words that are right at every position, by bin, for one language.

    Attributes:
        bins: the ranges of lengths; the first one trained.
        transformer: the transformer that the paper compares with.
        mamba: number of layers (as text) -> the paper's Mamba.
    """

    bins: list[tuple[int, int]]
    transformer: list[float]
    mamba: dict[str, list[float]]

    def for_model(self, model: str, layers: int) -> list[float] | None:
        """Return the paper's figures for that architecture and depth, None if there are none."""
        return self.mamba.get(str(layers)) if model == "mamba" else None


@cache
def _table() -> dict[str, Published]:
    text = resources.files("statespan.evaluation").joinpath("published.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Published])


def published_figures(language: str) -> Published | None:
    """Return the published figures of a language of the catalogue, None if there are none.

    Example:
        >>> published_figures("d-2").transformer
        [74.6, 3.1]
    """
    return _table().get(language)
