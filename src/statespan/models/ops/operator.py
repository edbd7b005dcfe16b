"""How an operation becomes one of torch's: registered, differentiable, and over members at once.

An operation is two functions, forward and backward, over the same arguments. Each argument is of
one kind: "row" tensors have an axis of batch rows first, "member" tensors one of members, and
"fixed" arguments have neither. Members divide the rows evenly: with R rows and M members, row r
belongs to member r // (R / M). So one call serves many small models at once, and `torch.func.vmap`
over an operation is that very call with more rows and more members.

Where nothing but autograd looks on, the registered operator is passed by: its dispatch costs more
than a small model's step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import unwrap
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from statespan.models.ops.gpu import is_transformed

__all__ = [
    "Kind",
    "empty_gradients",
    "gradients_by_recomputation",
    "is_plain",
    "make_operation",
    "rows_per_member",
    "sum_rows",
]

Kind: TypeAlias = Literal["row", "member", "fixed"]
Function: TypeAlias = Callable[..., Any]


def make_operation(
    name: str,
    forward: Function,
    backward: Function,
    *,
    kinds: Sequence[Kind],
    fake: Function,
    fake_backward: Function,
    num_results: int = 2,
) -> Function:
    """Register `statespan::name` and `statespan::name_backward`; return what differentiates.

    `forward(*arguments)` returns a tuple: `num_results` results, outputs and last states, then
    what the backward pass wants kept. `backward(*arguments, *kept, *gradients of the results)`
    returns a gradient for each argument of kind "row" or "member", in order, and an empty tensor
    for one that is None or not of floats; a gradient that it gets may be None, for zeros. The fake
    functions return tensors of the same shapes, dtypes and strides without looking at values.
    Differentiable once.

    What is returned takes "member" tensors without their axis, as those of the only member, and
    returns the results alone.
    """
    # A function that a test has wrapped keeps its annotations' names in the module of the original.
    forward_op = torch.library.custom_op(f"statespan::{name}", unwrap(forward), mutates_args=())
    forward_op.register_fake(fake)
    backward_op = torch.library.custom_op(
        f"statespan::{name}_backward", unwrap(backward), mutates_args=()
    )
    backward_op.register_fake(fake_backward)

    tensors = [index for index, kind in enumerate(kinds) if kind != "fixed"]

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        kept = output[num_results:]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*[inputs[index] for index in tensors], *kept)
        ctx.fixed = _fixed(inputs, kinds)

    def backpropagate(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)
        fixed = list(ctx.fixed)
        arguments = [(fixed if kind == "fixed" else saved).pop(0) for kind in kinds]
        results = _run(backward_op, backward_function, *arguments, *saved, *gradients[:num_results])
        found = dict(zip(tensors, results, strict=True))
        return tuple(
            found[index] if _has_gradient(argument) else None
            for index, argument in enumerate(arguments)
        )

    forward_op.register_autograd(backpropagate, setup_context=setup_context)
    forward_op.register_vmap(_fold_members(forward_op, kinds))
    backward_op.register_vmap(_fold_members(backward_op, kinds))
    backward_function = _as_function(f"{name}_backward", backward_op, _keep_nothing, _twice)
    function = _as_function(name, forward_op, setup_context, backpropagate)
    direct = _make_direct(name, forward, backward, backpropagate, kinds, num_results)

    def apply(*arguments: Any) -> Any:
        if not is_plain(*arguments):
            return _run(forward_op, function, *_with_members(arguments, kinds))[:num_results]
        if torch.is_grad_enabled():
            return direct.apply(*arguments)  # type: ignore[no-untyped-call]
        return forward(*_with_members(arguments, kinds))[:num_results]

    return apply


def _make_direct(
    name: str,
    forward: Function,
    backward: Function,
    traced_backward: Function,
    kinds: Sequence[Kind],
    num_results: int,
) -> type[torch.autograd.Function]:
    """Return the operation as an autograd function that calls it without torch's dispatcher.

    It takes "member" tensors without their axis and returns the results alone. `traced_backward`
    is for gradients that are differentiated, transformed or recorded: it takes the same context.
    """
    places = [index for index, kind in enumerate(kinds) if kind != "fixed"]
    is_member = [kinds[index] == "member" for index in places]

    def forward_directly(ctx: Any, *arguments: Any) -> Any:
        given = _with_members(arguments, kinds)
        output = forward(*given)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*[given[index] for index in places], *output[num_results:])
        ctx.fixed = _fixed(given, kinds)
        return output[:num_results]

    def backward_directly(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        if torch.is_grad_enabled() or not is_plain(*saved, *gradients):
            found = [
                grad
                for grad, kind in zip(traced_backward(ctx, *gradients), kinds, strict=True)
                if kind != "fixed"
            ]
        else:
            tensors, fixed = iter(saved), iter(ctx.fixed)
            given = [next(fixed if kind == "fixed" else tensors) for kind in kinds]
            found = list(backward(*given, *tensors, *gradients))
        results: list[Tensor | None] = [None] * len(kinds)
        for index, member, argument, grad in zip(places, is_member, saved, found, strict=False):
            if _has_gradient(argument):
                results[index] = grad.squeeze(0) if member else grad
        return tuple(results)

    members = {
        "forward": staticmethod(forward_directly),
        "backward": staticmethod(backward_directly),
    }
    return type(f"{name}_directly", (torch.autograd.Function,), members)


def _with_members(arguments: Sequence[Any], kinds: Sequence[Kind]) -> list[Any]:
    """Return the arguments, each "member" tensor with an axis of one member."""
    return [
        argument.unsqueeze(0) if kind == "member" and argument is not None else argument
        for argument, kind in zip(arguments, kinds, strict=True)
    ]


def _fixed(arguments: Sequence[Any], kinds: Sequence[Kind]) -> list[Any]:
    return [argument for argument, kind in zip(arguments, kinds, strict=True) if kind == "fixed"]


def is_plain(*arguments: Any) -> bool:
    """Return whether nothing transforms, records or compiles what is done with the arguments."""
    return not (
        torch.compiler.is_compiling()
        or is_transformed()
        or torch._C._len_torch_dispatch_stack()  # noqa: SLF001
        or any(isinstance(a, Tensor) and not _has_numbers(a) for a in arguments)
    )


def _has_numbers(tensor: Tensor) -> bool:
    """Return whether a tensor is torch's own, and not one of `is_grads_batched`, which has none."""
    return type(tensor) in _OWN_TENSORS and not _is_batched(tensor)


_is_batched = torch._C._functorch.is_legacy_batchedtensor  # noqa: SLF001


_OWN_TENSORS = (Tensor, torch.nn.Parameter)


def _run(operation: Function, function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Call the registered operator, or what torch.func's transforms take in its place."""
    if is_transformed():
        return function.apply(*arguments)  # type: ignore[no-untyped-call]
    return operation(*arguments)


def _as_function(
    name: str, operation: Function, setup_context: Function, backward: Function
) -> type[torch.autograd.Function]:
    """Return the operation as an autograd function, which torch.func's transforms can nest."""
    members = {
        "generate_vmap_rule": True,
        "forward": staticmethod(operation),
        "setup_context": staticmethod(setup_context),
        "backward": staticmethod(backward),
    }
    return type(name, (torch.autograd.Function,), members)


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Save nothing for a second derivative, which does not exist."""


def _twice(*_: Any) -> None:
    raise RuntimeError("the operations of statespan are differentiable once, not twice.")


def _has_gradient(argument: Any) -> bool:
    return isinstance(argument, Tensor) and (argument.is_floating_point() or argument.is_complex())


def _fold_members(operation: Function, kinds: Sequence[Kind]) -> Function:
    """Return the vmap rule that makes the new axis a part of the rows and of the members."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        # What follows the arguments proper is kept states and gradients: all are rows.
        every = [*kinds, *["row"] * (len(arguments) - len(kinds))]
        folded = [
            argument
            if kind == "fixed" or argument is None
            else _fold(argument, axis, info.batch_size)
            for argument, kind, axis in zip(arguments, every, in_dims, strict=True)
        ]
        outputs = operation(*folded)
        return tuple(_unfold(output, info.batch_size) for output in outputs), (0,) * len(outputs)

    return rule


def _fold(tensor: Tensor, axis: int | None, size: int) -> Tensor:
    stacked = tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
    return stacked.flatten(0, 1)


def _unfold(tensor: Tensor, size: int) -> Tensor:
    if tensor.ndim == 1:  # the empty gradient of an absent argument
        return tensor.expand(size, *tensor.shape)
    return tensor.reshape(size, tensor.shape[0] // size, *tensor.shape[1:])


def rows_per_member(num_rows: int, members: Tensor) -> int:
    """Return how many of the rows belong to each of `members`, a tensor with that axis first."""
    return max(1, num_rows // len(members))


def sum_rows(gradients: Tensor, members: int) -> Tensor:
    """Return, for each member, the sum of its rows of `gradients`."""
    if members == len(gradients):
        return gradients
    return gradients.view(members, len(gradients) // members, *gradients.shape[1:]).sum(1)


def gradients_by_recomputation(
    forward: Function, arguments: Sequence[Any], *gradients: Tensor | None
) -> tuple[Tensor, ...]:
    """Return a gradient for each argument that is a tensor or None, by running `forward` again.

    `gradients` are those of its results, None for zeros. For operations without a backward
    kernel; `forward` must be made of differentiable functions. The gradient of None, and of a
    tensor without floats, is an empty tensor.
    """
    places = [index for index, argument in enumerate(arguments) if _has_gradient(argument)]

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        filled = list(arguments)
        for index, tensor in zip(places, tensors, strict=True):
            filled[index] = tensor
        results: tuple[Tensor, ...] = forward(*filled)[: len(gradients)]
        return results

    results, pull = torch.func.vjp(function, *[arguments[index] for index in places])[:2]
    given = tuple(
        torch.zeros_like(result) if gradient is None else gradient
        for result, gradient in zip(results, gradients, strict=True)
    )
    # An operator's results must not share memory with one another or with its arguments.
    found = {
        index: gradient.clone(memory_format=torch.contiguous_format)
        for index, gradient in zip(places, pull(given), strict=True)
    }
    return tuple(
        found[index] if index in found else results[0].new_empty(0)
        for index, argument in enumerate(arguments)
        if argument is None or isinstance(argument, Tensor)
    )


def empty_gradients(num_tensors: int) -> Function:
    """Return a fake backward: gradients shaped as the first `num_tensors` arguments, or empty."""

    def fake_backward(*arguments: Any) -> tuple[Tensor, ...]:
        first = arguments[0]
        tensors = [a for a in arguments if a is None or isinstance(a, Tensor)][:num_tensors]
        return tuple(
            tensor.new_empty(tensor.shape)
            if isinstance(tensor, Tensor) and _has_gradient(tensor)
            else first.new_empty(0)
            for tensor in tensors
        )

    return fake_backward
