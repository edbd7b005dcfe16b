"""See what a model looks back at: extend its attention, generate, draw what was retrieved.

With a folder of any causal language model of `transformers` and a text of a few thousand words:

    python examples/look_back.py model/ book.txt

Without, with a small hybrid of random weights and a text of random tokens:

    python examples/look_back.py
"""

# ruff: noqa: T201

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BambaConfig,
    BambaForCausalLM,
    set_seed,
)

import statespan
from statespan.report import draw_retrievals


def small_hybrid() -> BambaForCausalLM:
    """Return a Bamba of five blocks, the third and the last of them attention."""
    config = BambaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=5,
        attn_layer_indices=[2, 4],
        num_attention_heads=4,
        num_key_value_heads=2,
        mamba_n_heads=8,
        mamba_d_head=16,
        mamba_d_state=16,
        mamba_n_groups=1,
        pad_token_id=0,
    )
    set_seed(0)
    return BambaForCausalLM(config).eval()


def main(folder: str | None = None, text: str | None = None, picture: str = "seen.png") -> None:
    """Print what each layer retrieved while 40 tokens were generated, and draw it."""
    if folder is None or text is None:
        model = small_hybrid()
        ids = torch.randint(3, 256, (1, 600), generator=torch.Generator().manual_seed(0))
        config = statespan.SpanAttention(chunk=128, block=16, top_k=4, selection="running")
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
        words = Path(text).read_text("utf-8")
        ids = AutoTokenizer.from_pretrained(folder)(words, return_tensors="pt").input_ids
        config = statespan.SpanAttention(chunk=512, selection="running", summary="key")

    print(statespan.enable(model, config))
    with statespan.watch(model) as seen:
        made = model.generate(ids, max_new_tokens=40, do_sample=False)
    print(f"{ids.shape[1]} tokens were read and {made.shape[1] - ids.shape[1]} written")
    for layer in sorted({record.layer for record in seen}):
        blocks = Counter(key for record in seen if record.layer == layer for key in record.keys)
        told = ", ".join(
            f"{first}–{last} ({n} times)" for (first, last), n in blocks.most_common(3)
        )
        print(f"  layer {layer} looked back most at {told}")
    if not seen:
        print("nothing was retrieved: the text is no longer than a chunk")
        return
    Path(picture).write_bytes(draw_retrievals(seen))
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
