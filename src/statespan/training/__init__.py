"""One training loop: its batches, its random streams, its losses, its checkpoints."""

from statespan.training.checkpoint import (
    Checkpoint,
    checkpoint_step,
    load_checkpoint,
    save_checkpoint,
)
from statespan.training.data import DataConfig, LanguageData, build_data
from statespan.training.examples import Batch, Example, batch_examples
from statespan.training.fleet import train_fleet
from statespan.training.loop import TrainingConfig, TrainingRun, train, train_alone
from statespan.training.readouts import (
    READOUTS,
    ChoiceReadout,
    Readout,
    SetReadout,
    ValueReadout,
    build_readout,
)
from statespan.training.streams import python_stream, torch_stream
from statespan.training.vocabulary import BOS, EOS, PAD, Vocabulary

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "READOUTS",
    "Batch",
    "Checkpoint",
    "ChoiceReadout",
    "DataConfig",
    "Example",
    "LanguageData",
    "Readout",
    "SetReadout",
    "TrainingConfig",
    "TrainingRun",
    "ValueReadout",
    "Vocabulary",
    "batch_examples",
    "build_data",
    "build_readout",
    "checkpoint_step",
    "load_checkpoint",
    "python_stream",
    "save_checkpoint",
    "torch_stream",
    "train",
    "train_alone",
    "train_fleet",
]
