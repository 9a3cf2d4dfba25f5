"""Logs that a real API server does not have: pods that are gone leave nothing behind in the operator."""

import asyncio
from datetime import UTC, datetime

from tradingrelease.clock import ServerClock, monotonic
from tradingrelease.cluster.api import Api, WatchAges, session
from tradingrelease.cluster.credentials import load
from tradingrelease.cluster.measure.logs import LogReader
from tradingrelease.policy.measurements import LogSubject, Measurement, Verdict

from tests.builders import a_check, a_spec, parsed

CHECK = parsed(a_spec(checks=[a_check(logs={"component": "backend", "pattern": "PANIC"})])).checks[0]


def of_pods(*names):
    subject = LogSubject(frozenset((name, "app", 0) for name in names), datetime(2026, 3, 2, tzinfo=UTC))
    return Measurement("rev/1", CHECK, "Watch", subject, CHECK.initial_delay)


async def pods_come_and_go():
    clock = ServerClock()
    async with session(credentials := load(), clock, WatchAges()) as http:
        reader = LogReader(Api(credentials, http), clock.now, "default")
        for number in range(5):
            finding = await reader.measure(of_pods(f"gone-{number}"), CHECK.logs)
            assert finding.verdict is Verdict.INCONCLUSIVE
            assert f"pod gone-{number}, container app: " in finding.said
        deadline = monotonic() + 10
        while reader.followed:
            assert monotonic() < deadline, f"{reader.followed} logs of pods that are gone are kept"
            await asyncio.sleep(0.01)
            await reader.measure(of_pods(), CHECK.logs)
        reader.close()


def test_the_logs_of_pods_that_are_gone_are_forgotten(relayed, monkeypatch):
    _, kubeconfig = relayed("logs")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    asyncio.run(pods_come_and_go())
