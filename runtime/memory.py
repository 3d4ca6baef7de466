"""The cyclic garbage collector, tuned for roles that make millions of short-lived records and few cycles."""

import gc

BATCHES = 500_000
"""Where records come in batches: more objects than a worker keeps of them at a time. At 100,000 every second batch was
looked through for cycles, 50 ms each, and had none."""


def settle(young: int = 100_000) -> None:
    """What is loaded by now stays; looking through it at every full collection costs a fifth of the throughput.

    The young objects are looked through once ``young`` more were made than freed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, 50, 100)
