"""The three pages of a role without an API, and the metrics behind one of them."""

import asyncio

import httpx

from runtime import metrics
from runtime.monitor import Monitor


def test_pages() -> None:
    reason = ""

    async def ready() -> str:
        return reason

    async def run() -> None:
        nonlocal reason
        monitor = Monitor("127.0.0.1", 0, ready)
        await monitor.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{monitor.port}", timeout=30) as client:
                assert (await client.get("/health")).status_code == 200
                assert (await client.get("/ready")).status_code == 200
                reason = "Kafka is away"
                refused = await client.get("/ready")
                assert (refused.status_code, refused.json()["detail"]) == (503, reason)
                assert "sluice_gateway_keys" in (await client.get("/metrics")).text
        finally:
            await monitor.stop()

    asyncio.run(run())


def test_requests_are_counted_and_timed() -> None:
    requests = metrics.Requests()
    for seconds in (0.0005, 0.004, 0.004, 60):
        requests.add("d", "POST /x", 200, seconds)
    requests.add_events("d", 7)
    samples = {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in requests.collect()
        for sample in family.samples
    }
    assert samples["sluice_gateway_requests_total", ""] == 4
    assert samples["sluice_gateway_events_total", ""] == 7
    assert samples["sluice_gateway_request_seconds_bucket", "0.001"] == 1
    assert samples["sluice_gateway_request_seconds_bucket", "0.005"] == 3
    assert samples["sluice_gateway_request_seconds_bucket", "+Inf"] == 4
    assert samples["sluice_gateway_request_seconds_sum", ""] == 60.0085
