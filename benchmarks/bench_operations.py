"""The fast CPU operations beside what `transformers` does without a GPU, in one run.

Parts (`--parts`): training (Mamba, beside the fallback and mambapy where it is installed),
families (Mamba-2, Bamba, Jamba, whole and the mixer alone), memory, scan (beside this machine's
copy bandwidth and matrix rate), decoding, lengths (cost per token up to 131,072). The two sides of
each row run in turns; figures are medians; wall time and process time are both given, with one
thread and with two. Beside each ratio to what is to be beaten stands the ratio that a step would
have that took no more than its floor (`floors.py`).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from floors import (
    SCAN_BACKWARD,
    SCAN_FORWARD,
    SCAN_OTHER,
    count_projections,
    count_scans,
    fastest,
    floors,
    multiply_adds_a_second,
    products_a_second,
    with_calls,
)
from machine import describe_machine
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import statespan
from statespan.models import build_model
from statespan.models.mamba import MambaConfig
from statespan.models.ops import selective_scan
from statespan.native import kernel_level

VOCAB = 8
TRAINING = (
    *((50, batch) for batch in (8, 32, 64, 128)),
    *((128, batch) for batch in (8, 16, 32)),
    (512, 4),
    (2_048, 1),
)
"""Lengths and batches: at small ones what a call costs shows, for ours and for the others."""
Row = dict[str, Any]


TURN = 0.3
"""Seconds that a turn takes at least: a step of milliseconds is repeated, as in a training."""


def medians(
    runs: dict[str, Callable[[], object]], repeats: int, tokens: int
) -> dict[str, dict[str, float]]:
    """Return microseconds of wall and process time per token, the runs taken in turns."""
    steps = {name: math.ceil(TURN / _spent(run, 1)[0]) for name, run in runs.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(_spent(run, steps[name]))
    return {
        name: {
            kind: 1e6 * statistics.median(spent[index] for spent in values) / tokens
            for index, kind in enumerate(("wall", "process"))
        }
        for name, values in times.items()
    }


def _spent(run: Callable[[], object], steps: int) -> tuple[float, float]:
    """Return the seconds that a step takes, by the wall and of the process."""
    wall, process = time.perf_counter(), time.process_time()
    for _ in range(steps):
        run()
    return (time.perf_counter() - wall) / steps, (time.process_time() - process) / steps


def ratios(times: dict[str, dict[str, float]], base: str, ours: str = "ours") -> dict[str, float]:
    """Return how many times longer `base` takes than `ours`."""
    return {kind: times[base][kind] / times[ours][kind] for kind in ("wall", "process")}


def step_of(
    forward: Callable[[Tensor], Tensor], model: nn.Module, ids: Tensor
) -> Callable[[], None]:
    """Return a training step without its optimizer: forward, loss, backward."""
    parameters = list(model.parameters())  # an optimizer has them at hand, too

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        loss = cross_entropy(forward(ids).flatten(0, 1), ids.flatten())
        torch.autograd.backward(loss)

    return step


def logits_of(model: Any) -> Callable[[Tensor], Tensor]:
    """Return the function from tokens to logits of a model of ours."""
    return lambda tokens: model(tokens).logits


def hugging_face_step(model: nn.Module, ids: Tensor) -> Callable[[], None]:
    """Return a training step of a model of `transformers`."""
    return step_of(lambda tokens: model(tokens, use_cache=False).logits, model, ids)


def assert_same_gradients(first: nn.Module, second: nn.Module) -> None:
    """Check that two models got the same gradients, parameter by parameter."""
    theirs = dict(second.named_parameters())
    for name, parameter in first.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-5)


def training_rows(repeats: int, lengths: list[int]) -> Iterator[Row]:
    """Yield a Mamba's training step (d_model 64, 3 layers, d_state 16) at each length.

    With it go its floor and the time of a step of one token, which is what a step costs by itself.
    """
    rate = multiply_adds_a_second(medians)
    for length, batch in TRAINING:
        if length not in lengths:
            continue
        generator = torch.Generator().manual_seed(0)
        config = MambaConfig(d_model=64, layers=3, d_state=16)
        ours = build_model(config, vocab_size=VOCAB, num_outputs=VOCAB, generator=generator)
        ids = torch.randint(0, VOCAB, (batch, length), generator=generator)
        names = ["fallback", "accelerated", *(["mambapy"] if find_spec("mambapy") else [])]
        models = {name: load_like(ours, use_mambapy=name == "mambapy") for name in names}
        statespan.accelerate(models["accelerated"])
        runs: dict[str, Callable[[], object]] = {"ours": step_of(logits_of(ours), ours, ids)}
        runs |= {name: hugging_face_step(model, ids) for name, model in models.items()}
        times = medians(runs, repeats, ids.numel())
        for model in models.values():
            assert_same_gradients(ours, model)
        counts = {"projections": count_projections(ours), "scans": count_scans(ours)}
        least = step_of(logits_of(ours), ours, ids[:1, :1])
        one_token = medians({"ours": least}, 10 * repeats, 1)["ours"]
        floor = floors(counts, rate)["all"]
        times |= {"floor": floor, "floor_with_calls": with_calls(floor, one_token, ids.numel())}
        yield {
            "length": length,
            "batch": batch,
            "microseconds_per_token": times,
            "floors": floors(counts, rate),
            "one_token": one_token,
            "ratios": {name: ratios(times, name) for name in names},
            **{
                f"ratios_of_the_{bound}": {name: ratios(times, name, bound) for name in names}
                for bound in ("floor", "floor_with_calls")
            },
        }


def load_like(ours: Any, **more: Any) -> Any:
    """Return the model of `transformers` with the weights of `ours`."""
    config = transformers.AutoConfig.for_model(**ours.transformers_config(), **more)
    theirs = from_config(config)
    theirs.load_state_dict(ours.state_dict())
    return theirs.train()


def from_config(config: Any) -> Any:
    """Return a model of `transformers` with random weights."""
    make: Any = transformers.AutoModelForCausalLM
    return make.from_config(config)


def family_config(name: str) -> Any:
    """Return the config of a model of width 256 with two layers, as in the table to beat."""
    common: dict[str, Any] = {"vocab_size": 256, "hidden_size": 256, "num_hidden_layers": 2}
    heads: dict[str, Any] = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 512,
    }
    if name == "mamba2":
        return transformers.Mamba2Config(
            **common, state_size=64, num_heads=8, head_dim=64, n_groups=1, chunk_size=256
        )
    if name == "bamba":
        return transformers.BambaConfig(
            **common, **heads, mamba_n_heads=8, mamba_d_head=64, mamba_n_groups=1,
            mamba_d_state=64, mamba_chunk_size=256, attn_layer_indices=[1],
        )  # fmt: skip
    return transformers.JambaConfig(
        **common, **heads, num_experts=1, num_experts_per_tok=1, attn_layer_period=2,
        attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, use_mamba_kernels=False,
    )  # fmt: skip


def first_mixer(model: nn.Module) -> nn.Module:
    """Return the first state-space mixer of a model of `transformers`."""
    return next(m for m in model.modules() if type(m).__name__.endswith(("Mixer", "Mamba2Mixer")))


def family_rows(repeats: int, lengths: list[int]) -> Iterator[Row]:
    """Yield training steps of hybrids, whole and the mixer alone, batch 1.

    The floor is that of the linear layers alone.
    """
    rate = multiply_adds_a_second(medians)
    for name, length in (("mamba2", 512), ("bamba", 512), ("jamba", 512), ("jamba", 2_048)):
        if length not in lengths:
            continue
        times = repeats if length < 1_000 else 1  # the fallback takes minutes there
        with torch.random.fork_rng(devices=[]):
            pair = [from_config(family_config(name)) for _ in range(2)]
        pair[1].load_state_dict(pair[0].state_dict())
        statespan.accelerate(pair[1])
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, 256, (1, length), generator=generator)
        hidden = torch.randn(1, length, 256, generator=generator)
        whole = medians(
            {"fallback": hugging_face_step(pair[0], ids), "ours": hugging_face_step(pair[1], ids)},
            times, length,
        )  # fmt: skip
        assert_same_gradients(*pair)
        mixers = medians(
            {
                side: mixer_step(first_mixer(model), hidden)
                for side, model in zip(("fallback", "ours"), pair, strict=True)
            },
            times,
            length,
        )
        for spent, module in ((whole, pair[1]), (mixers, first_mixer(pair[1]))):
            spent["floor"] = floors({"projections": count_projections(module)}, rate)["all"]
        yield {
            "model": name,
            "length": length,
            "whole": whole,
            "mixer": mixers,
            "ratios": {"whole": ratios(whole, "fallback"), "mixer": ratios(mixers, "fallback")},
            "ratios_of_the_floor": {
                "whole": ratios(whole, "fallback", "floor"),
                "mixer": ratios(mixers, "fallback", "floor"),
            },
        }


def mixer_step(mixer: nn.Module, hidden: Tensor) -> Callable[[], None]:
    """Return forward and backward of one mixer."""

    def step() -> None:
        output = mixer(hidden)
        (output if isinstance(output, Tensor) else output[0]).square().mean().backward()

    return step


MEMORY = """
import sys, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
import torch
torch.set_num_threads(1)
from bench_operations import (
    MambaConfig, VOCAB, build_model, hugging_face_step, load_like, step_of
)
length, side = int(sys.argv[1]), sys.argv[2]
generator = torch.Generator().manual_seed(0)
ours = build_model(MambaConfig(d_model=64, layers=3, d_state=16), vocab_size=VOCAB,
                   num_outputs=VOCAB, generator=generator)
theirs = load_like(ours)
def step(length):
    ids = torch.randint(0, VOCAB, (1, length), generator=generator)
    if side == "ours":
        return step_of(lambda tokens: ours(tokens).logits, ours, ids)
    return hugging_face_step(theirs, ids)
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
step(8)()
Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
before = peak()
step(length)()
print(peak() - before)
"""


def memory_rows(repeats: int, lengths: list[int]) -> Iterator[Row]:
    """Yield the growth of the peak memory over a training step, each in a process (Linux)."""
    del repeats
    for length in (512, 2_048):
        if length not in lengths:
            continue
        sizes = {}
        for side in ("fallback", "ours"):
            command = [sys.executable, "-c", MEMORY, str(length), side]
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
            )
            sizes[side] = int(done.stdout) / 1024
        yield {
            "length": length,
            "mebibytes": sizes,
            "share": sizes["ours"] / sizes["fallback"],
        }


def scan_rows(repeats: int, lengths: list[int]) -> Iterator[Row]:
    """Yield the scan alone, beside the time of its operations and of its bytes on this machine.

    Operations are multiply-adds; `instructions` counts those of a decay besides, each for as long
    as a multiply-add. Bytes: arguments, results and gradients once each.
    """
    del lengths
    size = 64 * 2**20
    source, target = torch.ones(size // 4), torch.empty(size // 4)
    copying = medians({"copy": lambda: target.copy_(source)}, 20, 1)["copy"]
    bandwidth = {kind: 2 * size / spent * 1e6 for kind, spent in copying.items()}
    products = products_a_second(medians)
    for batch, length in ((1, 2_048), (4, 1_024)):
        yield from scan_shape_rows(repeats, batch, length, bandwidth, products)


def scan_shape_rows(
    repeats: int,
    batch: int,
    length: int,
    bandwidth: dict[str, float],
    products: dict[str, dict[str, float]],
) -> Iterator[Row]:
    """Yield both passes of the scan of so many rows, beside bytes and multiply-adds a second."""
    rate = fastest(products)
    channel, state = 128, 16
    draw = torch.Generator().manual_seed(0)
    over_time = [torch.randn(batch, length, channel, generator=draw) for _ in range(3)]
    selected = [torch.randn(batch, length, state, generator=draw) for _ in range(2)]
    transition = -torch.rand(channel, state, generator=draw) * 5
    leaves = [tensor.requires_grad_() for tensor in (*over_time, *selected, transition)]
    inputs, delta, gate, write, read, _ = leaves
    grad = torch.randn(batch, length, channel, generator=draw)

    def forward() -> Tensor:
        return selective_scan(inputs, delta, transition, write, read, gate=gate, softplus=True)[0]

    def both() -> None:
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(forward(), grad)

    with torch.no_grad():
        times = medians({"forward": forward}, repeats * 5, batch * length)
    times |= medians({"both": both}, repeats * 5, batch * length)
    per_token = {
        "forward": (4, SCAN_FORWARD, SCAN_OTHER),
        "both": (12, SCAN_FORWARD + SCAN_BACKWARD, 2 * SCAN_OTHER),
    }
    for name, (tensors, operations, others) in per_token.items():
        states, size = channel * state, 4 * (tensors * channel + 4 * state)
        least = floors({"operations": operations * states}, rate)["all"]
        moved = {kind: 1e6 * size / each for kind, each in bandwidth.items()}
        bounds = {"bytes": moved, "operations": least}
        bounds["larger"] = {kind: max(moved[kind], least[kind]) for kind in least}
        bounds["instructions"] = floors({"all": (operations + others) * states}, rate)["all"]
        by_torch = floors({"all": operations * states}, products["torch"])["all"]
        bounds["larger_by_torch"] = {kind: max(moved[kind], by_torch[kind]) for kind in least}
        yield {
            "pass": name,
            "batch": batch,
            "length": length,
            "microseconds_per_token": times[name],
            "floors": bounds,
            "times": {
                bound: {kind: times[name][kind] / bounds[bound][kind] for kind in least}
                for bound in ("larger", "instructions", "larger_by_torch")
            },
            "copy_gigabytes_per_second": {kind: each / 1e9 for kind, each in bandwidth.items()},
            "matrix_gigaflops": {
                side: {kind: 2 * each / 1e9 for kind, each in spent.items()}
                for side, spent in products.items()
            },
        }


def decoding_rows(repeats: int, lengths: list[int]) -> Iterator[Row]:
    """Yield tokens per second of a Mamba of width 256 with two layers, one token at a time."""
    del lengths
    config = transformers.MambaConfig(
        vocab_size=256, hidden_size=256, state_size=16, num_hidden_layers=2
    )
    pair = [from_config(config).eval() for _ in range(2)]
    pair[1].load_state_dict(pair[0].state_dict())
    statespan.accelerate(pair[1])
    prompt = torch.randint(0, 256, (1, 16), generator=torch.Generator().manual_seed(0))

    def decode(model: Any) -> Callable[[], None]:
        def steps() -> None:
            with torch.inference_mode():
                output = model(prompt, use_cache=True)
                for _ in range(64):
                    token = output.logits[:, -1:].argmax(-1)
                    output = model(token, cache_params=output.cache_params, use_cache=True)

        return steps

    times = medians({"fallback": decode(pair[0]), "ours": decode(pair[1])}, repeats * 3, 64)
    yield {
        "tokens_per_second": {side: 1e6 / spent["wall"] for side, spent in times.items()},
        "ratios": ratios(times, "fallback"),
    }


def length_rows(repeats: int, lengths: list[int]) -> Iterator[Row]:
    """Yield the cost per token of training the Mamba from 512 to 131,072 tokens, batch 1."""
    del lengths
    generator = torch.Generator().manual_seed(0)
    config = MambaConfig(d_model=64, layers=3, d_state=16)
    ours = build_model(config, vocab_size=VOCAB, num_outputs=VOCAB, generator=generator)
    for length in (512, 2_048, 8_192, 32_768, 131_072):
        ids = torch.randint(0, VOCAB, (1, length), generator=generator)
        step = step_of(logits_of(ours), ours, ids)
        yield {
            "length": length,
            "microseconds_per_token": medians({"ours": step}, 3 * repeats, length)["ours"],
        }


PARTS: dict[str, Callable[[int, list[int]], Iterator[Row]]] = {
    "training": training_rows,
    "families": family_rows,
    "memory": memory_rows,
    "scan": scan_rows,
    "decoding": decoding_rows,
    "lengths": length_rows,
}


def main() -> None:
    """Measure, print each row and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 128, 512, 2_048])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    results: list[Row] = []
    for part in arguments.parts:
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            for row in PARTS[part](arguments.repeats, arguments.lengths):
                results.append({"part": part, "threads": threads, **row})
                print(json.dumps(results[-1]), flush=True)
                write(arguments.out, results)


def write(path: Path | None, rows: list[Row]) -> None:
    """Write what has been measured so far, with the machine."""
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        facts = {"machine": describe_machine() | {"kernels": kernel_level()}, "rows": rows}
        path.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
