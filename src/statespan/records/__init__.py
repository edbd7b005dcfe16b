"""What happened: typed records, run directories, provenance, configs."""

from statespan.records.config import read_toml, to_struct, write_toml
from statespan.records.records import (
    BinRecord,
    EndRecord,
    LengthRecord,
    MemberRecord,
    RecognitionRecord,
    Record,
    RunRecord,
    TrainingRecord,
)
from statespan.records.run_directory import RunDirectory
from statespan.records.storage import read_bytes, write_atomically

__all__ = [
    "BinRecord",
    "EndRecord",
    "LengthRecord",
    "MemberRecord",
    "RecognitionRecord",
    "Record",
    "RunDirectory",
    "RunRecord",
    "TrainingRecord",
    "read_bytes",
    "read_toml",
    "to_struct",
    "write_atomically",
    "write_toml",
]
