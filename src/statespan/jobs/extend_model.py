"""The model of an extension: read, stretched, adapted, and audited before it trains."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import msgspec
import torch
from torch import Tensor, nn

from statespan.adapters import adapt, audit, hylora
from statespan.errors import ConfigError, InputError
from statespan.evaluation.language_model import LanguageModel
from statespan.jobs.extend_config import ExtendConfig, train_attention
from statespan.pretrained import accelerate, enable
from statespan.pretrained.context_length import stretch_positions
from statespan.pretrained.span.plan import check_suits, model_of, plan_extension
from statespan.training import torch_stream
from statespan.training.cross_entropy import check_chunked_loss
from statespan.training.recall_rows import MixedStream, RowStream, recall_source
from statespan.training.separation import keeps_documents_apart
from statespan.training.text import TextEncoder, TextSource, TextStream
from statespan.training.text.stream import StreamPosition

__all__ = ["Trainee", "build_trainee", "check_model", "encoder_of", "make_stream"]

AUDITED = 256
"""Tokens of a row that the audit reads at most."""


@final
@dataclass(frozen=True, slots=True)
class Trainee:
    """A model ready to be trained.

    Attributes:
        model: with what trains of it, and its attention exchanged.
        extended: the paths of the attention layers that are.
        packed: whether short documents share a row.
        stream: returns its text from a position on.
    """

    model: nn.Module
    extended: tuple[str, ...]
    packed: bool
    stream: Callable[[StreamPosition], RowStream]


def check_model(config: ExtendConfig, model: LanguageModel) -> None:
    """Check that a model can be trained as a completed config says, without changing it.

    Raises:
        InputError: it has no attention that can be exchanged, or nothing of what is to train.
        ConfigError: the attention does not suit it, or its loss cannot be computed in pieces.
    """
    check_chunked_loss(model.model)
    check_suits(plan_extension(model.model), train_attention(config))
    if config.method != "full":
        _adapters(config, model.model)


def build_trainee(config: ExtendConfig, model: LanguageModel, source: TextSource) -> Trainee:
    """Return the model of a completed config, changed in place, and its text.

    Raises:
        AdapterError: something that the method promises to train does not.
        ConfigError: documents are to share rows, and the model does not keep them apart.
    """
    live = model.model
    stretch_positions(live, config.length, config.rope or "none")
    if model.device.type == "cpu":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a model without such mixers is fine
            accelerate(live)
    if config.method == "full":
        trained: nn.Module = live.requires_grad_(True)
    else:
        live.requires_grad_(False)
        generator = torch_stream(config.seed, "adapters")
        trained = adapt(live, _adapters(config, live), generator=generator)
    extension = enable(trained, train_attention(config))
    packed = _is_packed(config, trained)
    text = make_stream(config, model, source, pack=packed)
    sample = _sample(text(StreamPosition()), model.device)
    trained.eval()
    audit(trained, sample, method=None if config.method == "full" else config.method)
    if config.training["gradient_checkpointing"]:
        outer: Any = model_of(trained)
        with warnings.catch_warnings():
            # Later versions of transformers call it activation_checkpointing_enable.
            warnings.simplefilter("ignore", FutureWarning)
            outer.gradient_checkpointing_enable({"use_reentrant": False})
    return Trainee(
        trained, extension.extended, packed, _mix(config, model, source, text, pack=packed)
    )


def encoder_of(model: LanguageModel) -> TextEncoder:
    """Return how the tokenizer of a model makes tokens of text to train on."""
    end: int | None = model.tokenizer.eos_token_id
    return TextEncoder(lambda text: model.encode(text, leading=False), model.leading, end)


def make_stream(
    config: ExtendConfig, model: LanguageModel, source: TextSource, *, pack: bool = False
) -> Callable[[StreamPosition], TextStream]:
    """Return what gives the text of a config from a position on."""
    encoder = encoder_of(model)

    def stream(position: StreamPosition) -> TextStream:
        return TextStream(
            source,
            encoder,
            config.length,
            pack=pack,
            window=config.data.window,
            seed=config.seed,
            position=position,
        )

    return stream


def _mix(
    config: ExtendConfig,
    model: LanguageModel,
    source: TextSource,
    text: Callable[[StreamPosition], TextStream],
    *,
    pack: bool,
) -> Callable[[StreamPosition], RowStream]:
    """Return what gives the rows of a config from a position on: text, and what asks for recall."""
    if not config.recall.share:
        return text
    documents = recall_source(source, encoder_of(model))

    def stream(position: StreamPosition) -> RowStream:
        return MixedStream(
            text(msgspec.structs.replace(position, mixed=0)),
            documents,
            config.recall,
            pack=pack,
            given=position.mixed,
            seed=config.seed,
        )

    return stream


def _adapters(config: ExtendConfig, model: nn.Module) -> Any:
    assert config.method != "full", "then there are none"
    assert config.rank is not None, "a completed config has one"
    assert config.alpha is not None, "a completed config has one"
    return hylora(model, config.rank, config.alpha, config.method, embeddings=config.embeddings)


def _is_packed(config: ExtendConfig, model: nn.Module) -> bool:
    wanted = config.data.pack
    if wanted is False:
        return False
    apart = keeps_documents_apart(model)
    if wanted and not apart:
        raise ConfigError(
            f"data.pack needs a model that keeps the documents of one row apart, and "
            f"{type(model_of(model)).__name__} does not on this device: leave it out."
        )
    return apart


def _sample(stream: TextStream, device: torch.device) -> Tensor:
    row, *_ = stream.next_rows(1)
    tokens = [token for piece in row.pieces for token in piece][:AUDITED]
    if len(tokens) < 2:
        raise InputError("the text needs a row of at least two tokens.")
    return torch.tensor([tokens], device=device)
