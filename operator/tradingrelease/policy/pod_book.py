"""What pods did to themselves: crashes, OOM kills and lost readiness, each with its time.

Kubernetes tells of the last crash of a container and of their number only, so what happens is written down as it is
seen. After a restart of the operator the book begins anew: of what was not seen it keeps what pods still tell, and a
crash of before the switch is never taken for one after it.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from tradingrelease.policy.measurements import Incident, Kind, Page
from tradingrelease.policy.model import Container, Pod
from tradingrelease.policy.pods import LOST_WITH_THEIR_NODE, crash

MOST = 100
"""Incidents of one pod that are kept: more than any limit that an author may write."""


Book = Mapping[str, Page]
"""By uid of the pod."""


def noted(book: Book, pods: Iterable[Pod]) -> Book:
    """Return the book with what the pods show now. Pods that are gone are forgotten."""
    return {pod.uid: _noted(book.get(pod.uid), pod) for pod in pods if not pod.terminating}


def _noted(page: Page | None, pod: Pod) -> Page:
    found = [i for c in pod.containers for i in _crashes(page.crashes.get(c.name, 0) if page else None, pod, c)]
    if page and page.ready and pod.ready_since and pod.ready_since != page.ready_since:
        found.append(Incident(Kind.FLAP, pod.ready_since, f"pod {pod.name} lost its readiness"))
    return Page(
        {c.name: c.crashes for c in pod.containers},
        pod.ready,
        pod.ready_since,
        (*(page.incidents if page else ()), *found)[-MOST:],
    )


def _crashes(known: int | None, pod: Pod, container: Container) -> Iterator[Incident]:
    more = container.crashes - (known or 0)
    if more <= 0 or container.died_at is None or container.exit_code == 0 or container.died in LOST_WITH_THEIR_NODE:
        return
    kind = Kind.OOM_KILL if container.died == "OOMKilled" else Kind.CRASH
    text = f"pod {pod.name}, container {container.name}: {crash(container)}"
    # Of a pod that was not seen before, only the time of the last crash is known; the others came after its birth.
    earlier = container.died_at if known is not None else pod.created_at
    for _ in range(min(more, MOST) - 1):
        yield Incident(Kind.CRASH, earlier, text)
    yield Incident(kind, container.died_at, text)


def since(book: Book, pods: Iterable[Pod], moment: datetime) -> list[Incident]:
    """Return what happened to these pods after a moment, oldest first.

    A kubelet tells whole seconds: what happened in the second of the moment counts, since missing a crash in the watch
    is worse than taking one right before the switch for bad.
    """
    second = moment.replace(microsecond=0)
    found = [i for pod in pods if (page := book.get(pod.uid)) for i in page.incidents if i.at >= second]
    return sorted(found, key=lambda incident: incident.at)
