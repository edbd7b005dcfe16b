"""The config of a pretraining: everything that its numbers depend on, but the text itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec

from statespan.errors import ConfigError
from statespan.pretrained.hybrid import HybridConfig
from statespan.records import to_struct
from statespan.training.documents import DOCUMENTS, Mixture
from statespan.training.pretraining import PretrainingConfig

__all__ = ["MeasurementConfig", "PretrainConfig", "pretrain_config"]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Length: TypeAlias = Annotated[int, msgspec.Meta(ge=64)]

FEWEST_TOKENS = 258
"""A token for each byte, one for padding and one for the end of a document."""


class MeasurementConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is measured on held-out documents, now and then and at the end.

    Attributes:
        lengths: the lengths of the documents, in tokens; none stands for the context alone.
        documents: how many of each kind and length.
    """

    lengths: list[Length] | None = None
    documents: AtLeast1 = 16


class PretrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One pretraining: a small hybrid, from random weights, on a folder of text.

    Attributes:
        text: the folder whose `.txt` files are trained on.
        validation: the folder whose `.txt` files are measured on, and nothing else.
        seed: of all random streams (tokenizer, initialization, documents, held-out documents).
        context: the length of a row, and so of the longest document, in tokens.
        vocab_size: how many tokens the tokenizer has, which is trained on the text.
        initialize_from: the folder of a model of these sizes that an earlier run made, whose
            weights and tokenizer are gone on with; a block that is attention there and Mamba-2
            here, or the other way round, begins anew. None: all is made anew.
    """

    text: str
    validation: str
    seed: AtLeast0 = 0
    context: Length = 512
    vocab_size: Annotated[int, msgspec.Meta(ge=FEWEST_TOKENS)] = 2048
    initialize_from: str | None = None
    model: HybridConfig = HybridConfig()
    mixture: Mixture = Mixture()
    training: PretrainingConfig = PretrainingConfig()
    measurement: MeasurementConfig = MeasurementConfig()

    @property
    def lengths(self) -> list[int]:
        """The lengths that are measured at."""
        given = self.measurement.lengths
        return [self.context] if given is None else given


def pretrain_config(table: Mapping[str, Any]) -> PretrainConfig:
    """Return the config that a table describes; what it leaves out has its default.

    Raises:
        ConfigError: an unknown key, a missing one, a wrong type, or a value out of range.
        UnknownNameError: no such kind of document.

    Example:
        >>> pretrain_config({"text": "novels", "validation": "others", "context": 256}).lengths
        [256]
    """
    for key, what in (("text", "to train on"), ("validation", "to measure on")):
        if key not in table:
            raise ConfigError(f"the config needs {key}, a folder of .txt files {what}; got none.")
    config = to_struct(table, PretrainConfig)
    for name in config.mixture.kinds:
        DOCUMENTS.get(name)
    if Path(config.text).resolve() == Path(config.validation).resolve():
        raise ConfigError(
            f"validation must be another folder than text, or it tells nothing; got {config.text} "
            "for both."
        )
    return config
