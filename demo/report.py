"""What the load saw, as numbers. Pure: no clock, no cluster.

What each number is:

    switch_ms             per switch to a new version and Service: from the moment in which a watch saw the selector
                          patch stored to the first answer of the new version on a new connection. It contains what
                          kube-proxy takes, up to a second by default.
    rollback_ms           per rollback and Service: from its first evidence to the first answer of the restored
                          version on a new connection. The evidence is the bad version's first bad answer where the
                          operator rolls back by itself (then only Services that answered badly count), and the
                          order, as a watch saw it stored, where a person did.
    failed_by_bad_version requests that the bad version answered badly, or dropped on a connection that it had, from
                          its first bad answer on, and that were sent before the restored version serves new
                          connections again: what was under way in that moment was still the bad version's.
    bad_version_ms        that time; of several Services, the longest.
    failed                every other failed request.
    mixed_version_ms      for how long new connections to one Service were answered by two versions around one move
                          of its selector; the longest.
    refused_after_ms      from the apply of a version that cannot start to the status that says it is latched.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadgen import Record, Records
from loadgen.record import Mode

BEFORE = 1.0  # seconds before a move that count as around it
AFTER = 4.0  # and after it


@dataclass(frozen=True)
class Move:
    """A Service's selector was moved, as a watch of the Services saw it."""

    service: str
    at: float
    to: str  # the component revision that it names


def first_moves(moves: Iterable[Move]) -> list[Move]:
    """Keep the first move of each Service to each component revision: the later ones are ways back."""
    found: dict[tuple[str, str], Move] = {}
    for move in moves:
        found.setdefault((move.service, move.to), move)
    return list(found.values())


@dataclass(frozen=True)
class Outage:
    """One Service while a bad version served it."""

    service: str
    first_bad: float  # when the bad version first answered badly
    ended: float  # when the restored version first answered on a new connection again

    @property
    def ms(self) -> float:
        """How long it took from the first bad answer to good ones."""
        return (self.ended - self.first_bad) * 1000


def first_new_answer(records: Records, service: str, version: str, since: float) -> Record | None:
    """Find the first good answer of a version on a new connection to a Service."""
    return records.of(target=service, mode=Mode.NEW, version=version).between(since).succeeded().first_answer()


def switch_ms(records: Records, moves: Iterable[Move], version: str) -> list[float]:
    """Measure how long after each move users met the version."""
    found = []
    for move in moves:
        # A watch may bring its news after kube-proxy has acted on it: never less than nothing.
        answer = first_new_answer(records, move.service, version, move.at - BEFORE)
        if answer:
            found.append(max(0.0, answer.done - move.at) * 1000)
    return found


def ordered_rollback_ms(records: Records, services: Iterable[str], version: str, ordered: float) -> list[float]:
    """Measure how long after an order users met the restored version."""
    answers = (first_new_answer(records, service, version, ordered) for service in services)
    return [(answer.done - ordered) * 1000 for answer in answers if answer]


def outages(records: Records, bad: str, restored: str) -> list[Outage]:
    """Find the Services that a bad version answered badly, and for how long."""
    found = []
    for service in records.targets():
        first = records.of(target=service, version=bad).failed().first_answer()
        if first is None:
            continue
        back = first_new_answer(records, service, restored, first.sent)
        found.append(Outage(service, first.done, back.done if back else float("inf")))
    return found


def excused(records: Records, bad: str, found: Sequence[Outage]) -> Records:
    """Keep the failures that the bad version itself answers for."""
    return Records(
        tuple(
            record
            for outage in found
            for record in records.of(target=outage.service, version=bad).failed()
            if outage.first_bad <= record.done and record.sent <= outage.ended
        )
    )


def mixed_version_ms(records: Records, moves: Sequence[Move]) -> float:
    """Find the longest time in which one Service answered new connections with two versions around one move."""
    longest = 0.0
    for move in moves:
        others = [other.at for other in moves if other.service == move.service]
        since = max((at for at in others if at < move.at), default=0.0)
        until = min((at for at in others if at > move.at), default=float("inf"))
        around = records.of(target=move.service).between(
            max(since, move.at - BEFORE), min(until - BEFORE, move.at + AFTER)
        )
        longest = max(longest, around.mixed_version_ms())
    return longest
