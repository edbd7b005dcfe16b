"""Load a compiled checkpoint with `transformers` alone, and ask it what may follow.

Make a checkpoint first, then give its folder and a word:

    statespan compile d-2 --out d-2-mamba
    python examples/load_with_transformers.py d-2-mamba aabb
"""

# ruff: noqa: T201

from __future__ import annotations

import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed


def main(folder: str, word: str) -> None:
    """Print what may follow each prefix of `word`, then words that the model writes itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    print(f"{type(model).__name__}, {model.num_parameters():,} parameters")

    ids = tokenizer(word, return_tensors="pt").input_ids  # BOS comes first by itself
    with torch.inference_mode():
        logits = model(ids).logits[0]
    for length, row in enumerate(logits):
        prefix = tokenizer.decode(ids[0, : length + 1], skip_special_tokens=True)
        may_follow = [tokenizer.convert_ids_to_tokens(i) for i in range(3, len(row)) if row[i] > 0]
        if row[tokenizer.eos_token_id] > 0:
            may_follow.append("END")
        print(f"  after {prefix or '(start)'}: {' '.join(may_follow) or 'nothing'}")

    # All allowed tokens have one logit, and all others a probability of exactly 0.
    set_seed(0)
    start = tokenizer("", return_tensors="pt")
    written = model.generate(**start, max_new_tokens=200, num_return_sequences=20)
    ended = [row for row in written if tokenizer.eos_token_id in row]  # the others were cut off
    print("words that it writes:")
    for text in sorted({tokenizer.decode(row, skip_special_tokens=True) for row in ended}):
        print(f"  {text or '(the empty word)'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
