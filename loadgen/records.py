"""Questions about many requests. Pure: no clock, no process, no network."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loadgen.record import Mode, Record


@dataclass(frozen=True)
class Records:
    """An immutable collection of requests; filters return a smaller one, so that questions read as sentences.

    `load.records().of(target="backend", mode=Mode.NEW).between(switched, now).mixed_version_ms()`
    """

    all: tuple[Record, ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "Records":
        """Read what the generator wrote; its closing line is no request."""
        return cls(tuple(Record.from_json(line) for line in lines if line.startswith('{"t"')))

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.all)

    # Filters

    def of(self, *, target: str | None = None, mode: Mode | None = None, version: str | None = None) -> "Records":
        """Keep those that match everything given."""
        return Records(
            tuple(
                record
                for record in self.all
                if (target is None or record.target == target)
                and (mode is None or record.mode is mode)
                and (version is None or record.version == version)
            )
        )

    def between(self, since: float = 0.0, until: float = float("inf")) -> "Records":
        """Keep those sent in [since, until)."""
        return Records(tuple(record for record in self.all if since <= record.sent < until))

    def failed(self) -> "Records":
        """Keep those that a user would have seen fail."""
        return Records(tuple(record for record in self.all if record.failed))

    def succeeded(self) -> "Records":
        """Keep those that went well."""
        return Records(tuple(record for record in self.all if not record.failed))

    def answered(self) -> "Records":
        """Keep those that got any answer, good or bad."""
        return Records(tuple(record for record in self.all if record.status))

    def retried(self) -> "Records":
        """Keep those that met a closed connection and were sent again."""
        return Records(tuple(record for record in self.all if record.retried))

    # Answers

    def targets(self) -> list[str]:
        """Name the targets, in order."""
        return sorted({record.target for record in self.all})

    def versions(self) -> list[str]:
        """Name the versions that answered, by their first answer."""
        return list(dict.fromkeys(r.version for r in sorted(self.answered(), key=lambda r: r.done) if r.version))

    def first_answer(self, version: str | None = None) -> Record | None:
        """Return the earliest complete answer, from one version if named; None if there is none yet."""
        return min(self.of(version=version).answered(), key=lambda record: record.done, default=None)

    def last_answer(self, version: str | None = None) -> Record | None:
        """Return the latest complete answer, from one version if named; None if there is none yet."""
        return max(self.of(version=version).answered(), key=lambda record: record.done, default=None)

    def by_version(self, step: float = 1.0) -> list[tuple[float, Counter[str]]]:
        """Count answers by version for each `step` seconds in which anything was sent, oldest first."""
        slices: dict[float, Counter[str]] = {}
        for record in sorted(self.all, key=lambda record: record.sent):
            start = record.sent // step * step
            slices.setdefault(start, Counter())[record.version or "no answer"] += 1
        return list(slices.items())

    def by_outcome(self) -> Counter[str]:
        """Count outcomes in words: statuses, and errors by kind."""
        return Counter(str(record.status) if record.status else record.error for record in self.all)

    def mixed_version_ms(self) -> float:
        """Say for how long new connections to one target were answered by both sides of one switch.

        From the first connection that the final version got to the last that any other got, by the time at
        which each was opened. Ask it of one target and of a window with one switch in it: a switch and its
        way back would look like one long mixture.
        """
        opened = sorted((r for r in self.all if r.mode is Mode.NEW and r.version), key=lambda r: r.sent)
        if not opened:
            return 0.0
        final = opened[-1].version
        first_new = next(record.sent for record in opened if record.version == final)
        last_old = max((record.sent for record in opened if record.version != final), default=first_new)
        return max(0.0, last_old - first_new) * 1000

    def latency_ms(self, share: float) -> float:
        """Return the latency within which `share` (0..1) of the answered requests were done; 0 for none."""
        return _quantile([record.latency_ms for record in self.answered()], share)

    def lag_ms(self, share: float) -> float:
        """Return how late the generator was, the same way: above some ms, do not trust the latencies."""
        return _quantile([record.lag_ms for record in self.all], share)

    def rate(self) -> float:
        """Return the requests per second that were due, from the first to the last."""
        if len(self.all) < 2:
            return 0.0
        due = [record.due for record in self.all]
        return (len(due) - 1) / (max(due) - min(due))


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
