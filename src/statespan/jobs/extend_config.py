"""The config of an extension: everything that its numbers depend on, but model and text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import gcd
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from statespan.errors import ConfigError
from statespan.evaluation.attentions import ATTENTIONS, make_attention
from statespan.evaluation.language_model import LanguageModel
from statespan.jobs.evaluate_config import EvaluateConfig, evaluate_config
from statespan.jobs.extend_recipe import recipe
from statespan.memory import RECALL, Attention
from statespan.pretrained.context_length import PositionScaling, context_length, default_scaling
from statespan.records import to_struct
from statespan.training.fine_tuning_config import FineTuningConfig
from statespan.training.recall_rows import RecallConfig

__all__ = [
    "ExtendConfig",
    "ExtendTextConfig",
    "complete",
    "extend_config",
    "measurement_config",
    "train_attention",
    "training_config",
]

AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
LEAST_MEASURED = 256
"""Tokens: RULER's prompts need as many."""


class ExtendTextConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How text becomes rows.

    Attributes:
        field: the name of the text in a line of JSON, or in a row of a data set.
        pack: whether short documents share a row; none: where the model keeps them apart.
        window: how many rows are shuffled together.
    """

    field: str = "text"
    pack: bool | None = None
    window: AtLeast1 = 256


class ExtendConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One extension of a pretrained model to a longer context.

    Attributes:
        model: the folder of the model and its tokenizer.
        text: what is trained on: a folder, a file, or a data set on the disk.
        length: tokens of a row; more than the model was made for.
        method: what trains: "hylora", "lora+", "lora", or "full" for every weight.
        rank: of the adapters; none: by the recipe. Likewise `alpha`, twice the rank.
        embeddings: whether embeddings are among what trains.
        train_attention: a kind of attention, or the name of a table under `attentions`.
        attentions: settings of the attention trained with, by its name.
        rope: how rotary positions are stretched; none: as `default_scaling` says.
        merge: whether the model with the adapters merged is saved, too.
        measure_before: whether the model is measured before the training, too.
        recall: which of the rows are no text, but documents made of it that ask for recall.
        training: settings of `FineTuningConfig`; what is left out is by the recipe.
        evaluation: settings of `EvaluateConfig`, before and after.
    """

    model: str
    text: str
    length: AtLeast1
    method: Literal["hylora", "lora+", "lora", "full"] = "hylora"
    rank: AtLeast1 | None = None
    alpha: Annotated[float, msgspec.Meta(gt=0)] | None = None
    embeddings: bool = True
    train_attention: str = "span"
    attentions: dict[str, dict[str, Any]] = {}
    rope: PositionScaling | None = None
    merge: bool = True
    measure_before: bool = True
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str | None = None
    data: ExtendTextConfig = ExtendTextConfig()
    recall: RecallConfig = RecallConfig()
    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}


def extend_config(table: Mapping[str, Any]) -> ExtendConfig:
    """Return the config that a table describes; what it leaves out has its default.

    Raises:
        ConfigError: an unknown key, a missing one, a wrong type, or a value out of range.
        UnknownNameError: no such kind of attention.

    Example:
        >>> extend_config({"model": "folder", "text": "novels", "length": 4096}).method
        'hylora'
    """
    needed = {
        "model": "the folder of a model",
        "text": "a folder or a file to train on",
        "length": "the tokens of a row",
    }
    for key, what in needed.items():
        if key not in table:
            raise ConfigError(f"the config needs {key}, {what}; got none.")
    config = to_struct(table, ExtendConfig)
    ATTENTIONS.get(_kind(config))
    unused = set(config.attentions) - {config.train_attention}
    if unused:
        raise ConfigError(
            f"attentions.{min(unused)} is not what is trained with, {config.train_attention}; "
            "those of the evaluation are under evaluation.attentions."
        )
    return config


def complete(config: ExtendConfig, model: LanguageModel) -> ExtendConfig:
    """Return the config with everything that it leaves to the recipe.

    Raises:
        ConfigError: a length that is not longer than the model's own, or a setting that cannot be.
    """
    own = context_length(model.model)
    if own is not None and config.length <= own:
        raise ConfigError(
            f"length must be more than the {own} tokens that {model.name} was made for, got "
            f"{config.length}."
        )
    width = model.model.get_input_embeddings().weight.shape[1]
    kind = _kind(config)
    made = recipe(
        config.length,
        parameters=model.parameters,
        width=width,
        attention=kind,
        processes=int(os.environ.get("WORLD_SIZE", "1")),  # as `accelerate launch` says
    )
    rank = config.rank or made.rank
    settings = config.attentions.get(config.train_attention, {})
    attentions = {config.train_attention: {**made.attentions.get(kind, {}), **settings}}
    completed = msgspec.structs.replace(
        config,
        rank=rank,
        alpha=config.alpha or 2.0 * rank,
        rope=config.rope or default_scaling(model.model),
        attentions=attentions,
        training={**made.training, **config.training},
        evaluation=_measured(config, made.attentions["span"], own),
    )
    training_config(completed)
    measurement_config(completed)
    train_attention(completed)
    return completed


def training_config(config: ExtendConfig) -> FineTuningConfig:
    """Return how a completed config trains."""
    return to_struct(config.training, FineTuningConfig, where="training")


def measurement_config(config: ExtendConfig, *, before: bool = False) -> EvaluateConfig:
    """Return what a completed config measures: before the training, with full attention alone."""
    table = {
        "model": config.model,
        "dtype": config.dtype,
        "device": config.device,
        "seed": config.seed,
        **config.evaluation,
    }
    if before:
        table |= {"attention": ["full"], "attentions": {}}
    return evaluate_config(table)


def train_attention(config: ExtendConfig) -> Attention:
    """Return the attention that a completed config trains with."""
    name = config.train_attention
    return make_attention(name, config.attentions[name])


def _kind(config: ExtendConfig) -> str:
    settings = config.attentions.get(config.train_attention, {})
    kind: str = settings.get("kind", config.train_attention)
    return kind


def _measured(config: ExtendConfig, span: Mapping[str, Any], own: int | None) -> dict[str, Any]:
    """Return what is measured by default: from the model's own length, or 256, in doublings.

    RULER needs 256 tokens, and is left out of a shorter extension. Span-expanded attention is then
    the causal one that recalls, with the smallest chunk trained on.
    """
    lengths = [config.length]
    while lengths[0] // 2 >= max(LEAST_MEASURED, own or LEAST_MEASURED):
        lengths.insert(0, lengths[0] // 2)
    table: dict[str, Any] = {
        "suite": ["perplexity", *(["ruler"] if config.length >= LEAST_MEASURED else [])],
        "lengths": lengths,
        "attention": ["full", "span"],
        "samples": 20,
    }
    table |= config.evaluation
    if "ruler" in table["suite"]:
        table.setdefault("tasks", ["niah_single_1"])
    if "span" in table["attention"]:
        given = table.get("attentions", {})
        chunk = span["chunk"][0]
        causal = {"chunk": chunk, "block": gcd(chunk, RECALL.block), **given.get("span", {})}
        table["attentions"] = {**given, "span": causal}
    return table
