"""The cyclic garbage collector, tuned for roles that make millions of short-lived records and few cycles."""

import gc


def settle() -> None:
    """What is loaded by now stays; looking through it at every full collection costs a fifth of the throughput."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
