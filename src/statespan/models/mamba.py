"""Mamba (Gu and Dao 2023, arXiv:2312.00752): a selective state-space model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from statespan.models.model import (
    MODELS,
    Embeddings,
    Inputs,
    LayerState,
    ModelConfig,
    ModelState,
    Output,
    RMSNorm,
    SequenceModel,
    check_at_least,
    initialize_linear,
)
from statespan.models.ops import mamba_mixer

__all__ = [
    "Mamba",
    "MambaConfig",
    "MambaMixer",
    "Mixer",
    "MixerModel",
    "initialize_time_step",
]


PIECE_TOKENS = 1 << 14
"""Tokens of all rows that go through the layers at a time."""

LEAST_PIECE = 64
"""Tokens of one row, at the least; as many as Mamba-2's chunks."""

LOG_NO_FADING = -20.0
"""log(-A) with which exp(ΔA) is 1 in float32 for every Δ up to 14."""


class MambaConfig(ModelConfig, frozen=True, tag="mamba", kw_only=True):
    """Sizes of a Mamba: `d_state` numbers a channel, `expand · d_model` channels a layer.

    `dt_rank` 0 stands for ⌈d_model / 16⌉. `fading` says how states fade before training: "spread"
    by A = -1, …, -d_state as published, "none" by A = -e^-20, so that all gates are 1 in float32.
    """

    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int = 0
    fading: Literal["spread", "none"] = "spread"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state, expand=self.expand)
        check_at_least(2, d_conv=self.d_conv)
        check_at_least(0, dt_rank=self.dt_rank)

    @property
    def family(self) -> str:
        return "non-negative selective"

    @property
    def d_inner(self) -> int:
        """The number of channels of a layer."""
        return self.expand * self.d_model

    @property
    def rank(self) -> int:
        """The rank of the time step's projection."""
        return self.dt_rank or math.ceil(self.d_model / 16)


class Mixer(nn.Module, ABC):
    """What mixes along time inside a block; `out_proj` leads back to the residual stream."""

    out_proj: nn.Linear

    @abstractmethod
    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state."""

    def forward_block(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None, norm: RMSNorm
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return `hidden` plus the outputs for `norm` of it, and the layer's next state."""
        outputs, state = self(norm(hidden), state)
        return hidden + outputs, state

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Draw every parameter anew from `generator`."""


class MambaMixer(Mixer):
    """One Mamba layer: projection, convolution, selective scan, gate, projection."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        channels = config.d_inner
        self.d_state = config.d_state
        self.dt_rank = config.rank
        self.fading = config.fading
        self.in_proj = nn.Linear(config.d_model, 2 * channels, bias=False)
        self.conv1d = nn.Conv1d(channels, channels, config.d_conv, groups=channels)
        self.x_proj = nn.Linear(channels, self.dt_rank + 2 * config.d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, channels)
        self.A_log = nn.Parameter(torch.empty(channels, config.d_state))
        self.D = nn.Parameter(torch.empty(channels))
        self.out_proj = nn.Linear(channels, config.d_model, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (last inputs, scan state)."""
        return self._mix(hidden, state)

    def forward_block(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None, norm: RMSNorm
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return what follows on a block in the stream, and the next state, by one operation."""
        return self._mix(hidden, state, norm=norm.weight, epsilon=norm.epsilon)

    def _mix(
        self, hidden: Tensor, state: LayerState | None, **norm: Any
    ) -> tuple[Tensor, LayerState]:
        past, scan_state = state if state is not None else (None, None)
        assert self.conv1d.bias is not None, "made with one"
        outputs, past, scan_state = mamba_mixer(
            hidden,
            self.in_proj.weight,
            self.conv1d.weight.squeeze(1),
            self.conv1d.bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.dt_proj.bias,
            self.A_log,
            self.D,
            self.out_proj.weight,
            past,
            scan_state,
            **norm,
        )
        return outputs, (past, scan_state)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters as the paper's code does (log-uniform time steps), A by `fading`."""
        for projection in (self.in_proj, self.conv1d, self.x_proj, self.out_proj):
            initialize_linear(projection, generator)
        bound = self.dt_rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound, generator=generator)
        initialize_time_step(self.dt_proj.bias, generator)
        if self.fading == "none":
            nn.init.constant_(self.A_log, LOG_NO_FADING)
        else:
            self.A_log.copy_(torch.arange(1, self.d_state + 1).log().expand_as(self.A_log))
        nn.init.ones_(self.D)


def initialize_time_step(bias: Tensor, generator: torch.Generator) -> None:
    """Set `bias` so that softplus(bias) is log-uniform in [0.001, 0.1]."""
    low, high = math.log(1e-3), math.log(1e-1)
    step = torch.empty_like(bias).uniform_(low, high, generator=generator).exp()
    bias.copy_(step + torch.log(-torch.expm1(-step)))


class Block(nn.Module):
    """A mixer behind a norm, beside a residual stream."""

    def __init__(self, mixer: Mixer, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.mixer = mixer

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the residual stream after this block, and the mixer's next state."""
        return self.mixer.forward_block(hidden, state, self.norm)


class Backbone(nn.Module):
    """Embeddings, blocks and a final norm, with the names that `transformers` gives them."""

    def __init__(self, mixers: Sequence[Mixer], *, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocab_size, width)
        self.layers = nn.ModuleList(Block(mixer, width) for mixer in mixers)
        self.norm_f = RMSNorm(width)

    @property
    def blocks(self) -> list[Block]:
        """The layers, with their type."""
        return cast("list[Block]", list(self.layers))

    def forward(
        self, tokens: Inputs, state: ModelState | None
    ) -> tuple[Float[Tensor, "batch length width"], ModelState]:
        """Return the final hidden states and the next state of every layer.

        A long sequence goes through in pieces: an allocator hands large tensors back to the
        system, which then costs more than filling them, and without gradients a piece is all that
        is held at a time.
        """
        batch, length = tokens.shape[:2]
        size = max(LEAST_PIECE, PIECE_TOKENS // max(1, batch))
        outputs = []
        for begin in range(0, max(1, length), size):
            hidden, state = self._piece(tokens[:, begin : begin + size], state)
            outputs.append(hidden)
        assert state is not None, "there is at least one piece"
        return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0], state

    def _piece(
        self, tokens: Inputs, state: ModelState | None
    ) -> tuple[Float[Tensor, "batch length width"], ModelState]:
        hidden = self.embeddings(tokens)
        states: list[LayerState] = []
        for index, block in enumerate(self.blocks):
            hidden, layer_state = block(hidden, None if state is None else state[index])
            states.append(layer_state)
        return self.norm_f(hidden), tuple(states)


class MixerModel(SequenceModel):
    """A stack of mixers, between embeddings and a linear head."""

    def __init__(self, config: ModelConfig, *, vocab_size: int, num_outputs: int) -> None:
        super().__init__(config, vocab_size=vocab_size, num_outputs=num_outputs)
        self.backbone = Backbone(self.make_mixers(), vocab_size=vocab_size, width=config.d_model)
        self.lm_head = nn.Linear(config.d_model, num_outputs, bias=False)

    def make_mixers(self) -> list[Mixer]:
        """Return the mixers of all layers, not yet initialized."""
        return [self.make_mixer() for _ in range(self.config.layers)]

    @abstractmethod
    def make_mixer(self) -> Mixer:
        """Return the mixer of one layer, not yet initialized."""

    def common_transformers_config(self) -> dict[str, Any]:
        """Return the part of `transformers_config` that all these architectures share."""
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": self.config.d_model,
            "state_size": self.config.d_state,
            "num_hidden_layers": self.config.layers,
            "conv_kernel": self.config.d_conv,
            "expand": self.config.expand,
            "layer_norm_epsilon": self.backbone.norm_f.epsilon,
            "tie_word_embeddings": False,
        }

    def forward(self, tokens: Inputs, state: ModelState | None = None) -> Output:
        hidden, state = self.backbone(tokens, state)
        return Output(self.lm_head(hidden), state)

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.backbone.embeddings.weight, std=0.02, generator=generator)
        for block in self.backbone.blocks:
            block.mixer.initialize(generator)
            block.mixer.out_proj.weight.div_(math.sqrt(self.config.layers))
            nn.init.ones_(block.norm.weight)
        nn.init.ones_(self.backbone.norm_f.weight)
        initialize_linear(self.lm_head, generator)


@final
@MODELS.register("mamba")
class Mamba(MixerModel):
    """A stack of Mamba layers; the weights open in `transformers.MambaForCausalLM`."""

    Config = MambaConfig

    def make_mixer(self) -> MambaMixer:
        return MambaMixer(self.config)

    def transformers_config(self) -> dict[str, Any]:
        return {
            "model_type": "mamba",
            "architectures": ["MambaForCausalLM"],
            "time_step_rank": self.config.rank,
            **self.common_transformers_config(),
        }
