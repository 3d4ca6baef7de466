"""What is done for every record, in C.

Avro (reader.c, writer.c), Kafka's batches (kafka.c), an agent's state (state.c, changes.c), its outputs (emit.c), and a
batch's way through its step (entry.c). It stands below everything else, and knows no topic, no agent and no setting.
What its types are for is said where they are used: schemas/codec.py and runtime/.

`python native/build.py` makes the library (``make setup`` does), with the compiler that the package ziglang brings, so
that a machine needs nothing but Python. Why C, and what else was considered: docs/decisions/native.md.
"""

try:
    from native._native import (
        Batch,
        DecodeError,
        Emit,
        Entry,
        Filter,
        OriginError,
        Outbox,
        Reader,
        Record,
        State,
        TooLarge,
        Writer,
        apply_changes,
        packed_changes,
        packed_coordinates,
        partition_of,
        records,
    )
except ImportError as error:  # said here, since every command of Sluice ends with it
    raise ImportError(f"Sluice's part in C is not there, or is an old one: run `make setup` ({error})") from error

__all__ = [
    "Batch",
    "DecodeError",
    "Emit",
    "Entry",
    "Filter",
    "OriginError",
    "Outbox",
    "Reader",
    "Record",
    "State",
    "TooLarge",
    "Writer",
    "apply_changes",
    "packed_changes",
    "packed_coordinates",
    "partition_of",
    "records",
]
