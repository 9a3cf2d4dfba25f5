"""Breadth-first search of everything that may happen, so that the first trace found is a shortest one.

A state is expanded once (see `world.key_of`). From every state the faults are also imagined to stop: then what is left
to do must come to an end that Ready or Stalled has a word for.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from time import monotonic
from typing import Any

from tradingrelease.policy.decide import decide
from tradingrelease.policy.writes import Resource

from tests.model import invariants, moves
from tests.model.moves import Move, Play
from tests.model.words import told
from tests.model.world import Operator, State, key_of, noticed, observe

MOST_CALM = 1000
"""Moves that a release may take to its end once faults have stopped; a watch and a retention are a few of them."""


RESTS = 3
"""How often time passes at an end before it is taken for one."""


@dataclass(frozen=True)
class Violation:
    """What does not hold, and the shortest way there."""

    text: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"{i:>3}. {line}" for i, line in enumerate(self.trace, 1))
        return f"{steps}\n  => {told(self.text)}"


@dataclass
class Search:
    """What a search found."""

    states: int = 0
    moves: int = 0
    depth: int = 0
    seconds: float = 0.0
    frontier: int = 0
    exhausted: bool = False
    violation: Violation | None = None
    ends: set[str] = field(default_factory=set)

    @property
    def outcome(self) -> str:
        """In a word."""
        return "VIOLATION" if self.violation else "exhausted" if self.exhausted else "no violation so far"


@dataclass(frozen=True)
class Limits:
    """Where a search stops."""

    states: int = 1_000_000
    seconds: float = 3600.0
    depth: int = 1_000
    calm: bool = True
    """Whether liveness is judged, too."""


Progress = Callable[[Search], None]


def silent(_: Search) -> None:
    """Say nothing of a search while it goes on."""


def search(start: State, play: Play, limits: Limits = Limits(), progress: Progress = silent, seed: int = 0) -> Search:
    """Search everything that may happen from a state on. A seed changes only in which order, level by level."""
    found, began = Search(), monotonic()
    order = Random(seed)  # noqa: S311 - no secret
    calm = Calm(play, found)
    seen = {key_of(start)}
    came: list[tuple[int, str]] = [(-1, "")]
    queue = deque([(start, 0, 0)])
    while queue:
        state, depth, index = queue.popleft()
        found.states, found.depth, found.frontier = len(seen), depth, len(queue)
        found.seconds = monotonic() - began
        progress(found)
        if found.seconds > limits.seconds or len(seen) > limits.states or depth >= limits.depth:
            return found
        for move in shuffled(moves.moves(state, play), order if seed else None):
            found.moves += 1
            if move.broken:
                found.violation = Violation(move.broken[0], (*_trace(came, index), move.text))
                return found
            key = key_of(move.state)
            if key in seen:
                continue
            seen.add(key)
            came.append((index, move.text))
            if limits.calm and (stuck := calm.stuck(move.state)):
                found.violation = Violation(stuck[0], (*_trace(came, len(came) - 1), *stuck[1]))
                return found
            queue.append((move.state, depth + 1, len(came) - 1))
    found.states, found.frontier, found.exhausted = len(seen), 0, True
    found.seconds = monotonic() - began
    return found


def shuffled(found: list[Move], order: Random | None) -> list[Move]:
    """Return moves in another order."""
    if order:
        order.shuffle(found)
    return found


def walk(start: State, play: Play, seconds: float, length: int, seed: int, progress: Progress = silent) -> Search:
    """Take random ways from a state on: they reach depths that a breadth-first search does not see in its time."""
    found, began, order = Search(), monotonic(), Random(seed)  # noqa: S311 - no secret
    calm, seen = Calm(play, found), set()
    while not found.violation and found.seconds < seconds:
        state, lines = start, []
        for depth in range(length):
            if not (possible := moves.moves(state, play)):
                break
            move = order.choice(possible)
            lines.append(move.text)
            found.moves, found.depth = found.moves + 1, max(found.depth, depth)
            state = move.state
            if move.broken:
                found.violation = Violation(move.broken[0], tuple(lines))
                break
            seen.add(hash(key_of(state)))
        else:
            if stuck := calm.stuck(state):
                found.violation = Violation(stuck[0], (*lines, *stuck[1]))
        found.states, found.seconds = len(seen), monotonic() - began
        progress(found)
    return found


def _trace(came: list[tuple[int, str]], index: int) -> tuple[str, ...]:
    lines = []
    while index > 0:
        index, text = came[index]
        lines.append(text)
    return tuple(reversed(lines))


class Calm:
    """Liveness: follows the one way on from a state in which no fault happens any more."""

    def __init__(self, play: Play, found: Search) -> None:
        self._play = replace(play, edits=(), orders=(), catches_up=True, recovers=True)
        self._good: set[tuple[Any, ...]] = set()
        self._found = found

    def stuck(self, state: State) -> tuple[str, tuple[str, ...]] | None:
        """Return why a state comes to no end, and the way there; None where it comes to one."""
        state = noticed(replace(state, left=()))
        visited: list[tuple[Any, ...]] = []
        lines = ["--- from here on no fault happens ---"]
        waits, rests = False, 0
        for _ in range(MOST_CALM):
            key = key_of(state)
            if key in self._good:
                self._good.update(visited)
                return None
            if key in visited and not waits:
                return f"liveness: the same state again and again ({lines[-1]})", tuple(lines[:40])
            visited.append(key)
            move = following(state, self._play, waits=waits)
            if move is None and rests < RESTS:
                # What is due only later goes then, and the end stays one.
                rests += 1
                move = moves.tick(state, self._play, [])
            if move is None:
                self._good.update(visited)
                end = end_of(state)
                self._found.ends.add(end)
                broken = tuple(invariants.of_end(state, end))
                return (broken[0], tuple(lines)) if broken else None
            lines.append(move.text)
            if move.broken:
                return move.broken[0], tuple(lines)
            # A step that was given up is tried again in a while: what else can happen happens first.
            waits = move.text.endswith(moves.LATER)
            state = move.state
        return f"liveness: no end after {MOST_CALM} moves, nobody says what is waited for", tuple(lines[:40])


def following(state: State, play: Play, *, waits: bool = False) -> Move | None:
    """Return the next move where no fault happens: all that can be done, then time; None at an end.

    Where operators wait, because a step of theirs was given up, time passes before they try again.
    """
    if (move := next(_busy(state, play, waits=waits), None)) is not None:
        return move
    if not waits and end_of(state):
        return None
    return moves.tick(state, play, [])


def _busy(state: State, play: Play, *, waits: bool) -> Iterator[Move]:
    yield from moves._arrivals(state)
    yield from moves._watches(state, play)
    for operator in state.operators if not waits else ():
        yield from (m for m in moves._operator(state, operator, play)[0] if m.state is not state)
    yield from moves._pods(state, play)
    yield from moves._jobs(state)
    yield from moves._probes(state, play)
    for name in moves.service_names(state):
        if name not in state.kinds[Resource.SERVICES]:
            yield Move(f"somebody creates Service {name} again", moves.recreated(state, name))


def end_of(state: State) -> str:
    """Say what Ready or Stalled say in a state at rest; "" where neither does."""
    operator: Operator = state.operators[0]
    world = observe(state, operator)
    return invariants.ended(state, world, decide(world, state.clock))
