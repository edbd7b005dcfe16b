"""Kernels of other packages: used for what is on a GPU, for nothing else, and for what they can do.

No GPU is needed: stand-ins of the packages take what the packages take, and a CPU is called one.
The last tests are for a machine that has one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.models.ops import gpu
from statespan.native import torch_only
from tests.models.ops.operations import (
    OPERATIONS,
    assert_close,
    draw_from,
    results_and_gradients,
)

MODULES = {name: kernel.module for name, kernel in gpu.GPU_KERNELS.items()}
PACKAGES = ("causal_conv1d", "fla", "mamba_ssm", "old_style")
LENGTH = 12


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the stand-ins be found under the packages' names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "stand_ins"))
    forget()
    yield
    forget()


@pytest.fixture
def _on_gpu(_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU pass for a GPU."""
    monkeypatch.setattr(gpu, "DEVICE", "cpu")


def forget() -> None:
    gpu.import_kernel.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


def calls() -> list[str]:
    """Return the kernels that were called, in the order of their names."""
    found = [sys.modules[module].CALLS for module in MODULES.values() if module in sys.modules]
    return [name for names in found for name in names]


def arguments(name: str, *, dtype: torch.dtype | None = None, **other: Any) -> dict[str, Any]:
    """Return arguments that the kernel of this operation takes; `other` ones go over them."""
    operation = OPERATIONS[f"{name}, fused" if f"{name}, fused" in OPERATIONS else name]
    dtype = dtype or gpu.GPU_KERNELS[name].dtypes[0]
    made = operation.make(LENGTH, draw_from(3, torch.float32))
    if name == "causal_convolution":
        # Channels go by the eight.
        made = {key: tensor.repeat_interleave(2, tensor.ndim - 1) for key, tensor in made.items()}
        made["weight"] = draw_from(4, torch.float32)(40, 4)
    if name == "selective_scan":
        del made["initial_state"]
    made = {key: tensor.to(dtype) for key, tensor in made.items()}
    return made | operation.options | other


def run(name: str, given: dict[str, Any]) -> dict[str, Tensor]:
    """Return the results of an operation and the gradients of all its arguments of floats."""
    tensors = {k: v for k, v in given.items() if isinstance(v, Tensor) and v.is_floating_point()}
    rest = {key: value for key, value in given.items() if key not in tensors}
    return results_and_gradients(
        lambda leaves: OPERATIONS[name].function(**leaves, **rest), tensors
    )


def by_torch(name: str, given: dict[str, Any]) -> dict[str, Tensor]:
    with torch_only():
        return run(name, given)


PADDED = torch.tensor([[-1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0] * 9 + [-1] * 3, [5] * 12])
PACKED = torch.tensor([[0] * 5 + [1] * 7, [3] * 12, [2, 2, 2, 9, 9, 9, 9, 2, 2, 2, 2, 2]])
LATE = torch.tensor([[0] * 11 + [1], [0] * 10 + [1, 1], [0] * 9 + [1] * 3])
MIXED = torch.tensor(
    [[-1, 0, 0, -1, 0, 1, 1, -1, 2, 2, -1, -1], [-1] * 12, [4, -1, -1, 5, 5, 5, 4, 4, 4, 4, 4, 4]]
)


def with_nan_in_padding(given: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the arguments, with NaN in padding in all that has an axis of time."""
    if "documents" not in given:
        return given
    padding = given["documents"] < 0
    spoilt = {key: given[key].clone() for key in OPERATIONS[name].over_time}
    for tensor in spoilt.values():
        tensor[padding] = torch.nan
    return given | spoilt


TAKEN = {
    "causal_convolution": [
        {},
        {"initial_state": None},
        {"bias": None},
        {"activation": None},
        {"initial_state": None, "documents": PACKED},
        {"initial_state": None, "documents": LATE},
        {"initial_state": None, "documents": PACKED[:, :2], "inputs": torch.ones(3, 2, 40)},
        {"inputs": torch.ones(3, 40, LENGTH).mT, "initial_state": torch.ones(3, 40, 3).mT},
    ],
    "gated_delta_rule": [
        {},
        {"initial_state": None},
        *({"documents": documents} for documents in (PADDED, PACKED, MIXED)),
        {"initial_state": None, "documents": MIXED},
        {"log_decay": torch.full((3, LENGTH, 2), -torch.inf)},
    ],
    "selective_scan": [
        {},
        {"skip": None, "gate": None, "delta_bias": None},
        {"softplus": False, "delta": torch.full((3, LENGTH, 20), 0.3), "delta_bias": None},
        {"transition": torch.ones(20, 4) / 9},
        {"gate": torch.ones(3, LENGTH, 20, dtype=torch.bfloat16)},
        {"inputs": draw_from(5, torch.bfloat16)(3, LENGTH, 20)},
        {key: draw_from(5, torch.float32)(3, LENGTH, 2, 4) for key in ("write", "read")},
    ],
    "state_space_dual": [
        {},
        {"initial_state": None},
        {"skip": None, "delta_bias": None, "delta_limits": None},
        *({"documents": documents} for documents in (PADDED, PACKED, MIXED)),
        {key: torch.ones(3, LENGTH, 4, dtype=torch.bfloat16) for key in ("write", "read")},
    ],
}


@pytest.mark.parametrize(
    ("name", "other"), [(name, other) for name, others in TAKEN.items() for other in others]
)
@pytest.mark.usefixtures("_on_gpu")
def test_a_kernel_gives_what_torch_gives(name: str, other: dict[str, Any]) -> None:
    given = with_nan_in_padding(arguments(name, **other), name)
    ours = run(name, given)
    assert calls() == [name]
    theirs = by_torch(name, given)
    assert calls() == [name]
    assert {key: tensor.dtype for key, tensor in ours.items()} == {
        key: tensor.dtype for key, tensor in theirs.items()
    }
    in_half = {key: tensor.to(given_dtype(given)) for key, tensor in ours.items()}
    assert_close(in_half, theirs, LENGTH)


@pytest.mark.usefixtures("_on_gpu")
def test_inputs_in_half_precision_do_not_make_the_rest_so() -> None:
    given = arguments("selective_scan", inputs=draw_from(5, torch.bfloat16)(3, LENGTH, 20))
    scan = OPERATIONS["selective_scan"].function
    last = scan(**given)[1]
    assert calls() == ["selective_scan"]
    with torch_only():
        assert_close({"last": last}, {"last": scan(**given)[1]}, LENGTH)


def given_dtype(given: dict[str, Any]) -> torch.dtype:
    """Return the least exact dtype of floats among the arguments."""
    dtypes = {v.dtype for v in given.values() if isinstance(v, Tensor) and v.is_floating_point()}
    return torch.bfloat16 if torch.bfloat16 in dtypes else torch.float32


LEFT_TO_TORCH = {
    "causal_convolution": [
        {"dtype": torch.float64},
        {"weight": torch.ones(40, 5), "initial_state": None},
        {"weight": torch.ones(40, 1), "initial_state": None},
        {"documents": PACKED},
        {"documents": PADDED, "initial_state": None},
        {
            "inputs": torch.ones(3, LENGTH, 20), "weight": torch.ones(20, 4),
            "bias": None, "initial_state": None,
        },
        {"inputs": torch.ones(3, 0, 40)},
    ],
    "gated_delta_rule": [
        {"dtype": torch.float32},
        {"dtype": torch.float64},
        {"value": torch.ones(3, LENGTH, 2, 5, dtype=torch.float16)},
        {"log_decay": torch.full((3, LENGTH, 2), 0.1)},
        {"log_decay": torch.full((3, LENGTH, 2), 0.1), "documents": PACKED},
        {"log_decay": torch.full((3, LENGTH, 2), torch.nan)},
    ],
    "selective_scan": [
        {"dtype": torch.float64},
        {"initial_state": torch.ones(3, 20, 4)},
        {"documents": PACKED},
    ],
    "state_space_dual": [
        {"dtype": torch.float32},
        {"dtype": torch.float64},
        {"inputs": torch.ones(3, LENGTH, 4, 5, dtype=torch.float16)},
        {"transition": torch.full((4,), 0.1)},
        {"transition": torch.full((4,), -2000.0)},
        {"transition": torch.full((4,), torch.nan)},
        {"softplus": False, "delta_limits": None},
        {
            "softplus": False, "delta_limits": None, "delta": -torch.ones(3, LENGTH, 4),
            "transition": torch.full((4,), 0.1), "delta_bias": None,
        },
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "other"), [(name, other) for name, others in LEFT_TO_TORCH.items() for other in others]
)
@pytest.mark.usefixtures("_on_gpu")
def test_what_a_kernel_cannot_do_is_left_to_torch(
    name: str, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(name, **other)
    ours = run(name, given)
    assert calls() == []
    monkeypatch.setattr(gpu, "DEVICE", "cuda")
    theirs = run(name, given)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


every_kernel = pytest.mark.parametrize("name", gpu.GPU_KERNELS)


@pytest.mark.usefixtures("_on_gpu")
def test_long_states_and_keys_are_left_to_torch() -> None:
    draw = draw_from(0, torch.bfloat16)
    over_time, wide = draw(1, 2, 1), draw(1, 2, 257)
    run(
        "selective_scan",
        {
            "inputs": over_time, "delta": over_time.exp(), "transition": -wide[:, 0].exp(),
            "write": wide, "read": wide,
        },
    )  # fmt: skip
    run(
        "gated_delta_rule",
        {
            "query": wide[:, :, None], "key": wide[:, :, None], "value": over_time[..., None],
            "log_decay": -over_time.exp(), "rate": over_time,
        },
    )  # fmt: skip
    assert calls() == []


@pytest.mark.usefixtures("_on_gpu")
def test_more_heads_than_tokens_are_left_to_torch() -> None:
    given = arguments("gated_delta_rule")
    over_time = OPERATIONS["gated_delta_rule"].over_time
    run("gated_delta_rule", given | {key: given[key][:, :1] for key in over_time})
    assert calls() == []


@every_kernel
@pytest.mark.usefixtures("_installed")
def test_a_tensor_on_a_cpu_does_not_go_to_a_package_that_is_installed(name: str) -> None:
    assert gpu.GPU_KERNELS[name].is_installed
    run(name, arguments(name))
    assert gpu.GPU_KERNELS[name].module not in sys.modules


@every_kernel
@pytest.mark.usefixtures("_on_gpu")
def test_torch_can_be_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch_only():
        run(name, arguments(name))
    monkeypatch.setenv("STATESPAN_KERNELS", "torch")
    run(name, arguments(name))
    assert calls() == []


@every_kernel
@pytest.mark.usefixtures("_on_gpu")
def test_a_function_that_torch_transforms_is_left_to_torch(name: str) -> None:
    given = arguments(name)
    tensors = {key: value for key, value in given.items() if isinstance(value, Tensor)}
    options = {key: value for key, value in given.items() if key not in tensors}

    def function(tensors: dict[str, Tensor]) -> Tensor:
        return unwrap(OPERATIONS[name].function)(**tensors, **options)[0]

    whole = function(tensors)
    assert calls() == [name]
    stacked = {key: torch.stack((tensor, -tensor)) for key, tensor in tensors.items()}
    assert_close({"0": torch.func.vmap(function)(stacked)[0]}, {"0": whole}, LENGTH)
    assert calls() == [name]


@every_kernel
@pytest.mark.usefixtures("_on_gpu")
def test_a_function_that_torch_compiles_is_left_to_torch(name: str) -> None:
    find = unwrap(gpu.find_kernel)

    def function(tensor: Tensor) -> Tensor:
        return tensor if find(name, tensor) is None else tensor + 1

    zeros = torch.zeros(2, dtype=torch.bfloat16)
    assert function(zeros).sum() == 2
    assert torch.compile(function, backend="eager", fullgraph=True)(zeros).sum() == 0


@pytest.mark.parametrize("error", ["ImportError('no libcudart')", "RuntimeError('old driver')"])
def test_a_package_that_cannot_be_imported_is_named_and_left_out(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "causal_conv1d.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    forget()
    given = arguments("causal_convolution")
    ours = run("causal_convolution", given)
    assert gpu.import_kernel("causal_convolution") == error.replace("('", ": ").replace("')", "")
    torch.testing.assert_close(ours, by_torch("causal_convolution", given))
    forget()


def test_without_the_packages_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    for name, kernel in gpu.GPU_KERNELS.items():
        if not kernel.is_installed:
            assert gpu.import_kernel(name) is None
            run(name, arguments(name))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "other"), [(name, other) for name, others in TAKEN.items() for other in others]
)
def test_the_package_s_own_kernel_gives_the_reference(
    name: str, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not gpu.GPU_KERNELS[name].is_installed:
        pytest.skip(f"{gpu.GPU_KERNELS[name].package} is not installed")
    given = with_nan_in_padding(arguments(name, **other), name)
    theirs = by_torch(name, given)
    on_gpu = {k: v.cuda() if isinstance(v, Tensor) else v for k, v in given.items()}
    called = []
    kernel = gpu.import_kernel(name)
    assert callable(kernel), kernel
    monkeypatch.setattr(
        gpu, "import_kernel", lambda _: lambda *a, **k: called.append(name) or kernel(*a, **k)
    )
    ours = run(name, on_gpu)
    assert called == [name]
    in_half = {key: tensor.cpu().to(given_dtype(given)) for key, tensor in ours.items()}
    assert_close(in_half, theirs, LENGTH)
