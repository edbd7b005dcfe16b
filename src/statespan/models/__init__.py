"""Language models: layers and whole models, each an architecture of the field in one file."""

from statespan.models import (  # noqa: F401  (register themselves)
    deltanet,
    deltaproduct,
    dense,
    diagonal,
    gated_deltanet,
    gla,
    hgrn2,
    hybrid,
    longhorn,
    lstm,
    mamba,
    mamba2,
    mamba3,
    mlstm,
    retnet,
    rg_lru,
    rwkv6,
    s4d,
    signed_mamba,
    slstm,
    transformer,
)
from statespan.models.model import (
    MODELS,
    ModelConfig,
    Output,
    SequenceModel,
    architecture,
    build_model,
)

__all__ = ["MODELS", "ModelConfig", "Output", "SequenceModel", "architecture", "build_model"]
