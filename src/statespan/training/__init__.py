"""One training loop: its batches, its random streams, its losses, its checkpoints."""

from statespan.training.checkpoint import (
    Checkpoint,
    checkpoint_step,
    load_checkpoint,
    save_checkpoint,
)
from statespan.training.data import (
    AnswerData,
    DataConfig,
    ExampleData,
    LanguageData,
    TaskData,
    build_data,
    build_task_data,
)
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
from statespan.training.value_data import ValueData, build_value_data
from statespan.training.vocabulary import BOS, EOS, PAD, Vocabulary

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "READOUTS",
    "AnswerData",
    "Batch",
    "Checkpoint",
    "ChoiceReadout",
    "DataConfig",
    "Example",
    "ExampleData",
    "LanguageData",
    "Readout",
    "SetReadout",
    "TaskData",
    "TrainingConfig",
    "TrainingRun",
    "ValueData",
    "ValueReadout",
    "Vocabulary",
    "batch_examples",
    "build_data",
    "build_readout",
    "build_task_data",
    "build_value_data",
    "checkpoint_step",
    "load_checkpoint",
    "python_stream",
    "save_checkpoint",
    "torch_stream",
    "train",
    "train_alone",
    "train_fleet",
]
