"""What every model is: token ids and a state in, logits and the next state out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, TypeAlias

import msgspec
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from statespan.errors import ConfigError
from statespan.registry import Registry

__all__ = [
    "MODELS",
    "Embeddings",
    "Inputs",
    "LayerState",
    "ModelConfig",
    "ModelState",
    "Output",
    "RMSNorm",
    "SequenceModel",
    "architecture",
    "build_model",
    "check_at_least",
    "initialize_linear",
    "initialize_modules",
]

LayerState: TypeAlias = tuple[Tensor, ...]
ModelState: TypeAlias = tuple[LayerState, ...]
"""What a model carries from one piece of a sequence to the next, layer by layer."""

Inputs: TypeAlias = Int[Tensor, "batch length"] | Float[Tensor, "batch length input"]
"""Token ids; or vectors, of as many numbers as there would be token ids."""


class ModelConfig(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", kw_only=True
):
    """What all architectures have in common: `layers` blocks of width `d_model`.

    An architecture's config is a subclass whose `tag` is the architecture's name.
    """

    layers: int = 2
    d_model: int = 64

    def __post_init__(self) -> None:
        check_at_least(1, layers=self.layers, d_model=self.d_model)

    @property
    def max_tokens(self) -> int | None:
        """The longest sequence that the model can read, if there is one."""
        return None

    @property
    def family(self) -> str | None:
        """The family of `statespan.algebra.ARCHITECTURES` that the architecture is of, if any."""
        return None


class Output(NamedTuple):
    """What a model returns for a piece of a sequence.

    Attributes:
        logits: [batch, length, output].
        state: the state after the last token, to be given with the next piece.
    """

    logits: Tensor
    state: ModelState


class SequenceModel(nn.Module, ABC):
    """A causal model of sequences, of tokens or of vectors, that can be run in pieces.

    Whole sequence equals piece by piece: `model(ids[:, :t])` followed by `model(ids[:, t:], state)`
    gives the logits of `model(ids)`. Padding goes to the right, where a causal model never sees it.
    """

    Config: ClassVar[type[ModelConfig]]

    def __init__(self, config: ModelConfig, *, vocab_size: int, num_outputs: int) -> None:
        super().__init__()
        self.config: Any = config
        self.vocab_size = vocab_size
        self.num_outputs = num_outputs

    @abstractmethod
    def forward(self, tokens: Inputs, state: ModelState | None = None) -> Output:
        """Return logits and the next state; a missing state is that before the first token."""

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Draw every parameter anew from `generator`."""

    def transformers_config(self) -> dict[str, Any] | None:
        """Return the `config.json` under which `transformers` opens this model's weights.

        None when `transformers` has no such architecture.
        """
        return None


MODELS: Registry[type[SequenceModel]] = Registry("model", "models")
"""Name -> class of the model; its `Config` says what can be set."""


def architecture(config: ModelConfig) -> str:
    """Return the name of the architecture that `config` is for."""
    return str(config.__struct_config__.tag)


def build_model(
    config: ModelConfig,
    *,
    vocab_size: int,
    num_outputs: int,
    generator: torch.Generator,
) -> SequenceModel:
    """Return a freshly initialized model; no global random state is read or changed.

    Raises:
        UnknownNameError: no architecture has the name that the config is for.
    """
    model_class = MODELS.get(architecture(config))
    with torch.device("meta"):
        model = model_class(config, vocab_size=vocab_size, num_outputs=num_outputs)
    model.to_empty(device="cpu")
    with torch.no_grad():
        model.initialize(generator)
    return model


def check_at_least(least: int, **values: int) -> None:
    """Check that each value is at least `least`.

    Raises:
        ConfigError: one is not; the message names it.
    """
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, got {value}.")


class Embeddings(nn.Embedding):
    """The first layer of every model: a row of weights a token id.

    A vector becomes the sum of the rows, each times its number: a linear projection by the same
    weights, of which an id is the case of a single 1.

    Example:
        >>> with torch.random.fork_rng(devices=[]):
        ...     layer = Embeddings(3, 2)
        >>> one_hot = torch.tensor([[[0.0, 1.0, 0.0]]])
        >>> torch.equal(layer(one_hot), layer(torch.tensor([[1]])))
        True
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """Return the rows of ids [*batch], or the projections of vectors [*batch, number]."""
        return input @ self.weight if input.is_floating_point() else super().forward(input)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε), times a weight a channel."""

    def __init__(self, width: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, inputs: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Return the normalized inputs."""
        return nn.functional.rms_norm(inputs, self.weight.shape, self.weight, self.epsilon)


def initialize_modules(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all linear layers and convolutions in `module` by `initialize_linear`; norms are 1."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d):
            initialize_linear(part, generator)
        elif isinstance(part, RMSNorm):
            nn.init.ones_(part.weight)


def initialize_linear(linear: nn.Linear | nn.Conv1d, generator: torch.Generator) -> None:
    """Draw weight and bias uniformly within 1/sqrt(fan in), as torch does by default."""
    bound = 1 / math.sqrt(linear.weight[0].numel())
    nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
    if linear.bias is not None:
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
