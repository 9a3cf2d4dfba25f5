"""Tells Prometheus the verdicts of a release's checks, and forgets those that judge nothing any more."""

from contextlib import suppress

from tradingrelease import telemetry
from tradingrelease.policy import checks
from tradingrelease.policy.model import Key, World

_told: dict[Key, set[tuple[str, str, str]]] = {}
"""Check, phase and verdict, by release."""


def tell(key: Key, world: World | None) -> None:
    """Show the verdicts of now. None: the release is gone."""
    now: set[tuple[str, str, str]] = set()
    if world:
        for judged in filter(None, (checks.candidate(world), checks.watched(world))):
            now |= {(shown.name, judged.during, str(shown.verdict)) for shown in checks.shown(world, judged)}
    before = _told.pop(key, set())
    for gone in before - now:
        telemetry.CHECK_VERDICT.remove(key.namespace, key.name, *gone)
    for name in {check for check, *_ in before} - {check for check, *_ in now}:
        with suppress(KeyError):  # it measured no number
            telemetry.CHECK_VALUE.remove(key.namespace, key.name, name)
    for fresh in now - before:
        telemetry.CHECK_VERDICT.labels(key.namespace, key.name, *fresh).set(1)
    if now:
        _told[key] = now


def forget() -> None:
    """Show nothing any more: another operator works now."""
    for key in list(_told):
        tell(key, None)
