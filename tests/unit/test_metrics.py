"""Histograms that are counted by the block."""

from hypothesis import given
from hypothesis import strategies as st

from runtime.metrics import _FAST, Freshness

NOW = 1_790_000_000_000
DELAYS = st.integers(-5, 400_000) | st.sampled_from([int(bound * 1000) for bound in _FAST])
"""Milliseconds, some of them at a bucket's bound."""


@given(st.lists(st.lists(DELAYS, max_size=30), max_size=4))
def test_freshness_counts_each_event_in_every_bucket_that_holds_it(blocks: list[list[int]]) -> None:
    found = Freshness()
    for delays in blocks:
        found.add([NOW - delay for delay in delays], float(NOW))
    (metric,) = found.collect()
    every = [delay for delays in blocks for delay in delays]
    for sample in metric.samples:
        if sample.name.endswith("_bucket"):
            assert sample.value == sum(delay <= float(sample.labels["le"]) * 1000 for delay in every), sample.labels
        elif sample.name.endswith("_sum"):
            assert abs(sample.value - sum(every) / 1000) < 1e-3
        else:
            assert sample.value == len(every)
