"""Keeps every stored state of a namespace: one watch a kind, from the moment before anything is in it."""

import threading
import time
from collections.abc import Callable

import urllib3

from tests.e2e.api import Access, Api, ApiError
from tests.oracle import Recorded, State, ordered, states

KINDS = (
    "TradingRelease", "ReleaseCommand", "Service", "Deployment", "Pod", "EndpointSlice", "ControllerRevision", "Event",
    "Job",
)  # fmt: skip
WATCH_FOR = 60
"""Seconds after which a watch begins anew where it ended."""


class Recorder:
    """Watches a namespace in the background."""

    def __init__(self, access: Access, namespace: str, *, gaps: bool = False):
        """Begin with nothing. With `gaps`, states may be missed where the API server itself forgot them: it restarts."""
        self._gaps = gaps
        self._api = Api(access, namespace)
        self._news = threading.Condition()
        self._heard: list[Recorded] = []
        self._now = State()
        self._told: dict[tuple[str, str], int] = {}
        self._trouble = ""
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._keep, args=(kind,), daemon=True) for kind in KINDS]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Record nothing more. The watches end by themselves, soon."""
        self._stopped.set()

    def allow_gaps(self) -> None:
        """Go on where the API server itself forgets states: it does so for kinds whose CRD changes."""
        self._gaps = True

    def note(self, change: str) -> None:
        """Record something that is no object: that the operator was STARTED or STOPPED, its writes BLOCKED or the way OPEN."""
        self._take("Operator", change, {"metadata": {"name": "operator", "resourceVersion": str(self.version)}})

    @property
    def version(self) -> int:
        """The newest version that was told of."""
        with self._news:
            return self._now.version

    def hear(self, wanted: list[dict], seconds: float) -> bool:
        """Wait until the watches have told of objects as they were answered, or of something later."""

        def told() -> bool:
            places = (((b["kind"], b["metadata"]["name"]), int(b["metadata"]["resourceVersion"])) for b in wanted)
            return all(self._told.get(place, 0) >= version for place, version in places)

        with self._news:
            return self._news.wait_for(told, seconds)

    def catch_up(self, seconds: float) -> bool:
        """Wait until the watches have told of all that is stored now, which a LIST says."""
        steered = ("TradingRelease", "Service", "Deployment", "ReleaseCommand")
        return all(self.hear(self.stored(kind), seconds) for kind in steered)

    def stored(self, kind: str) -> list[dict]:
        """Return what is stored of a kind now; nothing where the kind is not installed."""
        try:
            return [body | {"kind": kind} for body in self._api.list(kind)["items"]]
        except ApiError as error:
            if error.status == 404:
                return []
            raise

    def history(self) -> list[Recorded]:
        """Return everything recorded so far."""
        with self._news:
            if self._trouble:
                raise AssertionError(f"the recorder lost states: {self._trouble}")
            return list(self._heard)

    def state(self) -> State:
        """Return the state of now, as far as the watches told."""
        with self._news:
            return self._now.copy()

    def state_at(self, version: int) -> State:
        """Return the state after the last change up to a version."""
        state = State()
        for event in ordered(self.history()):
            if event.version <= version:
                state.take(event)
        return state

    def ever(self, holds: Callable[[State], object]) -> bool:
        """Tell whether something held in any recorded state."""
        return any(holds(state) for state in states(self.history()))

    def until(self, holds: Callable[[State], object], seconds: float) -> State | None:
        """Wait until something holds, looking at every state from now on; None when the time is over."""
        deadline = time.monotonic() + seconds
        with self._news:
            state, at = self._now.copy(), len(self._heard)
        while True:
            if holds(state):
                return state
            with self._news:
                while at >= len(self._heard):
                    left = deadline - time.monotonic()
                    if left <= 0 or self._trouble:
                        return None
                    self._news.wait(min(left, 1.0))
                event = self._heard[at]
            at += 1
            state.take(event)

    # --- the watches ---------------------------------------------------------------------------------------------

    def _keep(self, kind: str) -> None:
        version = ""
        while not self._stopped.is_set():
            try:
                version = self._follow(kind, version or self._begin(kind))
            except ApiError as error:
                if error.status in {403, 404}:  # there is no such kind now; whoever uninstalls may install again
                    version = ""
                elif error.status != 429 and error.status < 500:
                    self._fail(f"{kind}: {error}")
                    return
                self._stopped.wait(0.2)
            except urllib3.exceptions.HTTPError:
                self._stopped.wait(0.2)

    def _follow(self, kind: str, version: str) -> str:
        """Take in one watch; the version that the next one goes on from."""
        try:
            for change, body in self._api.watch(kind, version, WATCH_FOR):
                if self._stopped.is_set():
                    break
                if change == "ERROR" and self._gaps:
                    return ""
                if change == "ERROR":
                    self._fail(f"{kind}: {body.get('message')}")
                    self._stopped.set()
                    break
                version = body["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    self._take(kind, change, body)
        except urllib3.exceptions.HTTPError:
            self._stopped.wait(0.2)  # the connection ended; the next watch goes on from here, so nothing is lost
        return version

    def _fail(self, trouble: str) -> None:
        with self._news:
            self._trouble = trouble
            self._news.notify_all()

    def _begin(self, kind: str) -> str:
        listed = self._api.list(kind)
        version = str(listed["metadata"]["resourceVersion"])
        with self._news:
            known = {body["metadata"]["name"]: body for body in self._now.all(kind)}
        for body in listed["items"]:
            before = known.pop(body["metadata"]["name"], None)
            if before is None or before["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
                self._take(kind, "MODIFIED" if before else "ADDED", body | {"kind": kind})
        for body in known.values():
            metadata = body["metadata"] | {"resourceVersion": version}
            self._take(kind, "DELETED", body | {"metadata": metadata})
        return version

    def _take(self, kind: str, change: str, body: dict) -> None:
        version = int(body["metadata"]["resourceVersion"])
        event = Recorded(version, change, kind, body["metadata"]["name"], body, time.monotonic())
        with self._news:
            self._heard.append(event)
            self._now.take(event)
            self._told[kind, event.name] = version
            self._news.notify_all()
