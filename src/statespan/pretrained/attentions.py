"""The attention modules of a model: their linear maps, heads and positions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Literal

from torch import Tensor, nn

from statespan.pretrained.dataflow import Flow, attention_flow

__all__ = ["Attention", "Position", "attentions_of"]

POSITIONS: Final = re.compile("position|rotary|freqs|cos")
"""The argument by which an attention module learns where its tokens are."""

Position = Literal["none", "rotary", "partial rotary"]


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention module: what it is made of, and what it gives the attention function.

    Attributes:
        path: where it is in the model.
        query: the paths of the linear maps that queries are made with, in the module's order.
            Likewise `key` and `value`; a fused map is in all three.
        output: the paths of the linear maps applied to what was attended.
        num_heads: the number of heads of queries, and `num_kv_heads` that of keys and values.
        key_width: the entries of a query, and of a key, a head; `value_width` those of a value.
        scaling: what scores are multiplied by.
        rotary_width: how many entries of a query are turned by its position.
        sliding_window: how far back a token sees; none if to the beginning.
        is_latent: keys and values are made of one narrow vector (multi-head latent attention).
        is_causal: a token sees none after it.
    """

    path: str
    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    output: tuple[str, ...]
    num_heads: int
    num_kv_heads: int
    key_width: int
    value_width: int
    scaling: float
    rotary_width: int
    sliding_window: int | None
    is_latent: bool
    is_causal: bool

    @property
    def projections(self) -> tuple[str, ...]:
        """The paths of all its linear maps, each once."""
        return tuple(dict.fromkeys((*self.query, *self.key, *self.value, *self.output)))

    @property
    def position(self) -> Position:
        """How queries and keys tell where they are."""
        if not self.rotary_width:
            return "none"
        return "rotary" if self.rotary_width == self.key_width else "partial rotary"


def attentions_of(layers: Mapping[str, nn.Module]) -> Iterator[Attention]:
    """Yield the attention modules among a model's layers, which are given by path."""
    for path, layer in layers.items():
        flow = attention_flow(layer)
        if flow is not None:
            yield _attention(path, layer, flow, layers)


def _attention(path: str, layer: Any, flow: Flow, layers: Mapping[str, nn.Module]) -> Attention:
    def linear(found: Iterable[str]) -> tuple[str, ...]:
        paths = {f"{path}.{name}" for name in found}
        return tuple(name for name in _linear_maps(layers) if name in paths)

    query, key, value, output = map(linear, (flow.query, flow.key, flow.value, flow.output))
    key_width, value_width = _widths(layer)
    ends: list[Any] = [layers[name] for name in output]
    heads = ends[0].in_features // value_width if ends else layer.config.num_attention_heads
    # A narrow vector is made by one map, and widened into keys and values by another.
    widened = set(key) & set(value) & set(linear(flow.fed))
    return Attention(
        path=path,
        query=query,
        key=key,
        value=value,
        output=output,
        num_heads=heads,
        num_kv_heads=heads // getattr(layer, "num_key_value_groups", 1),
        key_width=key_width,
        value_width=value_width,
        scaling=float(flow.settings.get("scaling") or key_width**-0.5),
        rotary_width=_rotary_width(path, layer, flow, layers),
        sliding_window=flow.settings.get("sliding_window"),
        is_latent=bool(widened),
        is_causal=bool(getattr(layer, "is_causal", True)),
    )


def _linear_maps(layers: Mapping[str, nn.Module]) -> list[str]:
    return [path for path, layer in layers.items() if isinstance(layer, nn.Linear)]


def _widths(layer: Any) -> tuple[int, int]:
    """Return the entries of a key, and those of a value, a head."""
    own = vars(layer)
    key = own.get("qk_head_dim") or own.get("head_dim") or own.get("head_size")
    if key is None:
        config = layer.config
        key = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return key, own.get("v_head_dim") or key


def _rotary_width(path: str, layer: Any, flow: Flow, layers: Mapping[str, nn.Module]) -> int:
    tables = _frequencies(path, layers)
    if not tables or not any(POSITIONS.search(name) for name in flow.arguments):
        return 0
    kind = getattr(layer, "layer_type", None)
    names = [name for name in (f"{kind}_inv_freq", "inv_freq") if name in tables]
    table = tables[names[0]] if names else next(iter(tables.values()))
    settings: Any = getattr(layer.config, "rope_parameters", None) or {}
    settings = settings.get(kind) or settings
    # A table may be as long as the whole query, with the rest turned by nothing.
    turned = int(_widths(layer)[0] * (settings.get("partial_rotary_factor") or 1.0))
    return min(2 * len(table), turned)


def _frequencies(path: str, layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the tables of frequencies of the module nearest to `path` that holds some."""
    found: dict[str, dict[str, Tensor]] = {}
    for place, layer in layers.items():
        tables = dict(layer.named_buffers(recurse=False))
        if any(name.endswith("inv_freq") for name in tables):
            found[place] = tables
    return found[max(found, key=lambda place: _in_common(place, path))] if found else {}


def _in_common(place: str, path: str) -> int:
    pairs = zip(place.split("."), path.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
