"""One release that can never succeed, beside many that can."""

import time

from tests.faults.faults import Hands, Nothing
from tests.faults.plan import Learned, Plan, Write
from tests.faults.proxy import Answer, Asked, Send
from tests.faults.scenarios import CROWD, POISONED, crowd_is_ready
from tests.oracle import State


class Poisoned(Nothing):
    """Whatever is created for one release is refused with 500, for ever; the others must not wait for it."""

    scenarios = ("crowd",)
    compares = "ends"
    ends = staticmethod(crowd_is_ready)

    OFTEN = 12
    """Refusals in a run: a back-off that doubles and more up to 30 s makes fewer."""

    def __init__(self, plan: Plan, hands: Hands) -> None:
        super().__init__(plan, hands)
        self._began = time.monotonic()
        self._refused: list[float] = []
        self._newest = 0.0
        """When anything was last written for the others."""

    async def write(self, write: Write, request: Asked, send: Send) -> Answer:
        """Refuse what is created for the one."""
        if not self._refused and not self._newest:
            self._began = time.monotonic()
        if f"deployments/{POISONED}" in write.what:
            self.struck.set()
            self._refused.append(time.monotonic())
            return Answer.refusal(500, "InternalError", "it is a test: poisoned")
        if POISONED not in write.what:
            self._newest = time.monotonic()
        return await send()

    def verdict(self, state: State, learned: Learned) -> list[str]:
        """See that the others were as quick as without it, and that it says what it is at, calmly."""
        said = []
        if (took := self._newest - self._began) > (most := 2 * learned.seconds + 10):
            said.append(f"{len(CROWD)} good releases took {took:.0f} s, {most:.0f} s are enough")
        if len(self._refused) > self.OFTEN:
            said.append(f"the poisoned release was tried {len(self._refused)} times, {self.OFTEN} are enough")
        if not state.seen_generation(POISONED) or not state.is_true("Reconciling", POISONED):
            said.append(f"the poisoned release does not say that it is worked at: {state.status(POISONED)}")
        if state.condition("Ready", POISONED)["status"] != "False":
            said.append(f"the poisoned release is called Ready: {state.condition('Ready', POISONED)}")
        return said
