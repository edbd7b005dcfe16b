"""The ways to compute attention with its log-sum-exp: PyTorch's kernels, and plain products.

Axes: `entry`, independent attentions; `head`, queries of one entry that share its keys; `query`,
`key`; `width`, that of all vectors. Keys and values come with one head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from statespan.memory.dtypes import computing_dtype

__all__ = [
    "EfficientOnGPU",
    "FlashOnCPU",
    "FlashOnGPU",
    "Kernel",
    "Logits",
    "Plain",
    "kernel_for",
]

Queries = Float[Tensor, "entry head query width"]
KeyVectors = Float[Tensor, "entry 1 key width"]
KeyGradients = Float[Tensor, "entry #head key width"]
Numbers = Float[Tensor, "entry head query"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """What is done to the products of queries and keys.

    Attributes:
        causal: whether a query sees the keys up to its own index only; there are as many of both.
        mask: added: 0, or minus infinity.
    """

    scaling: float
    causal: bool = False
    mask: Float[Tensor, "entry 1 #query key"] | None = None


@runtime_checkable
class Kernel(Protocol):
    """A way to compute attention."""

    def width(self, least: int) -> int:
        """Return the least width, from `least` on, that the kernel takes."""
        ...

    def forward(
        self, query: Queries, key: KeyVectors, value: KeyVectors, logits: Logits
    ) -> tuple[Queries, Numbers]:
        """Return the output and the log-sum-exp."""
        ...

    def backward(
        self,
        grad: Queries,
        query: Queries,
        key: KeyVectors,
        value: KeyVectors,
        out: Queries,
        lse: Numbers,
        logits: Logits,
    ) -> tuple[Queries, KeyGradients, KeyGradients]:
        """Return the gradients of query, key and value, those of the last two for each head."""
        ...


def kernel_for(query: Tensor, *, masked: bool) -> Kernel:
    """Return the kernel for a device and a dtype."""
    if query.device.type == "cpu":
        return FlashOnCPU()
    if query.device.type == "cuda" and not masked:
        if query.dtype in {torch.float16, torch.bfloat16} and query.shape[-1] <= 256:
            return FlashOnGPU()
        if query.dtype is torch.float32:
            return EfficientOnGPU()
    return Plain()


def _shared(query: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Return keys and values with an axis of heads, all of which are the same memory."""
    return [tensor.expand(-1, query.shape[1], -1, -1) for tensor in tensors]


@final
class FlashOnCPU:
    """PyTorch's flash attention on a CPU, for every dtype of floats."""

    def width(self, least: int) -> int:
        """Return the least width that fits."""
        return least

    def forward(
        self, query: Queries, key: KeyVectors, value: KeyVectors, logits: Logits
    ) -> tuple[Queries, Numbers]:
        """Return the output and the log-sum-exp."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
        key, value = _shared(query, key, value)
        out, lse = kernel(
            query, key, value, 0.0, logits.causal, attn_mask=logits.mask, scale=logits.scaling
        )
        return out, lse

    def backward(
        self,
        grad: Queries,
        query: Queries,
        key: KeyVectors,
        value: KeyVectors,
        out: Queries,
        lse: Numbers,
        logits: Logits,
    ) -> tuple[Queries, KeyGradients, KeyGradients]:
        """Return the gradients of query, key and value."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001
        key, value = _shared(query, key, value)
        of_query, of_key, of_value = kernel(
            grad, query, key, value, out, lse, 0.0, logits.causal,
            attn_mask=logits.mask, scale=logits.scaling,
        )  # fmt: skip
        return of_query, of_key, of_value


@final
class FlashOnGPU:
    """FlashAttention on a GPU, for half precision and without a mask."""

    def width(self, least: int) -> int:
        """Return the least width that fits."""
        return -(-least // 8) * 8

    def forward(
        self, query: Queries, key: KeyVectors, value: KeyVectors, logits: Logits
    ) -> tuple[Queries, Numbers]:
        """Return the output and the log-sum-exp."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention  # noqa: SLF001
        key, value = _shared(query, key, value)
        out, lse, *_ = kernel(query, key, value, 0.0, logits.causal, False, scale=logits.scaling)
        return out, lse

    def backward(
        self,
        grad: Queries,
        query: Queries,
        key: KeyVectors,
        value: KeyVectors,
        out: Queries,
        lse: Numbers,
        logits: Logits,
    ) -> tuple[Queries, KeyGradients, KeyGradients]:
        """Return the gradients of query, key and value."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_backward  # noqa: SLF001
        key, value = _shared(query, key, value)
        # Without lengths that vary and without dropout, four tensors are not read.
        of_query, of_key, of_value = kernel(
            grad, query, key, value, out, lse.contiguous(), None, None, query.shape[2],
            key.shape[2], 0.0, logits.causal, None, None, scale=logits.scaling,
        )  # fmt: skip
        return of_query, of_key, of_value


@final
class EfficientOnGPU:
    """Memory-efficient attention on a GPU, for float32 and without a mask."""

    def width(self, least: int) -> int:
        """Return the least width that fits."""
        return -(-least // 8) * 8

    def forward(
        self, query: Queries, key: KeyVectors, value: KeyVectors, logits: Logits
    ) -> tuple[Queries, Numbers]:
        """Return the output and the log-sum-exp."""
        kernel = torch.ops.aten._scaled_dot_product_efficient_attention  # noqa: SLF001
        key, value = _shared(query, key, value)
        out, lse, *_ = kernel(
            query, key, value, None, True, 0.0, logits.causal, scale=logits.scaling
        )
        return out, lse[..., : query.shape[2]]

    def backward(
        self,
        grad: Queries,
        query: Queries,
        key: KeyVectors,
        value: KeyVectors,
        out: Queries,
        lse: Numbers,
        logits: Logits,
    ) -> tuple[Queries, KeyGradients, KeyGradients]:
        """Return the gradients of query, key and value."""
        kernel = torch.ops.aten._scaled_dot_product_efficient_attention_backward  # noqa: SLF001
        key, value = _shared(query, key, value)
        # The kernel reads whole lines of 32; infinity gives a weight of 0.
        lse = pad(lse, (0, -lse.shape[2] % 32), value=torch.inf).contiguous()
        of_query, of_key, of_value, _ = kernel(
            grad, query, key, value, None, out, lse, None, None, 0.0,
            [True, True, True, False], logits.causal, scale=logits.scaling,
        )  # fmt: skip
        return of_query, of_key, of_value


@final
class Plain:
    """Products and a softmax, for what no kernel takes; it holds all logits of its entries."""

    def width(self, least: int) -> int:
        """Return the least width that fits."""
        return least

    def forward(
        self, query: Queries, key: KeyVectors, value: KeyVectors, logits: Logits
    ) -> tuple[Queries, Numbers]:
        """Return the output and the log-sum-exp."""
        numbers = _products(query, key, logits)
        weights = numbers.softmax(dim=-1).nan_to_num(nan=0.0)
        out = weights @ value.to(weights.dtype)
        return out.to(query.dtype), numbers.logsumexp(dim=-1)

    def backward(
        self,
        grad: Queries,
        query: Queries,
        key: KeyVectors,
        value: KeyVectors,
        out: Queries,
        lse: Numbers,
        logits: Logits,
    ) -> tuple[Queries, KeyGradients, KeyGradients]:
        """Return the gradients of query, key and value."""
        weights = (_products(query, key, logits) - lse[..., None]).exp()
        grad, query, key, value, out = (
            tensor.to(weights.dtype) for tensor in (grad, query, key, value, out)
        )
        change = grad @ value.mT - (grad * out).sum(dim=-1, keepdim=True)
        of_product = weights * change * logits.scaling
        return of_product @ key, of_product.mT @ query, weights.mT @ grad


def _products(
    query: Queries, key: KeyVectors, logits: Logits
) -> Float[Tensor, "entry head query key"]:
    dtype = computing_dtype(query)
    numbers = query.to(dtype) @ key.to(dtype).mT * logits.scaling
    if logits.causal:
        later = torch.ones(numbers.shape[-2:], dtype=torch.bool, device=numbers.device).triu(1)
        numbers = numbers.masked_fill(later, -torch.inf)
    return numbers if logits.mask is None else numbers + logits.mask.to(dtype)
