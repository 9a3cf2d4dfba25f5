"""What an irreversible hook did is found again where status has lost it: on its Job, and on Deployments.

The Job says from its creation what its success means, so nothing has to be written between the two. From there the mark
goes into status, and from status onto the Deployments of what is older: these stay when the release goes (ADR 19).
"""

import json
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from tradingrelease.policy import names
from tradingrelease.policy.model import Deployment, Job, Live, Memory, Retained, Stack, World

Role = TypeVar("Role", Live, Retained)

MARKS: Final = 10
"""Revisions of which a Deployment says that they are unsafe: as many as history has."""


def words(hook: str, version: str, revision: str) -> str:
    """Say why nobody goes back across a hook."""
    return f"hook {hook} of version {version} ({revision}) cannot be undone"


def found_again(world: World, memory: Memory) -> Memory:
    """Return the memory with every mark that a Deployment or a Job still tells of. None is ever taken away here."""
    retained = tuple(marked(r, _told(world, r.stack, r.forced_at)) for r in memory.retained)
    live = memory.live and marked(memory.live, _told(world, memory.live.stack, memory.live.forced_at))
    return replace(memory, retained=retained, live=live)


def marked(role: Role, why: str) -> Role:
    """Return live, or what is retained, as one that nobody goes back to; as it was where there is no reason, or one."""
    return replace(role, unsafe=why, forced_at=None) if why and not role.unsafe else role


def forced(role: Role, at: datetime) -> Role:
    """Return live as a person made it by force: they know what lies before it, and say that it can live with that."""
    return replace(role, unsafe="", forced_at=at)


def _told(world: World, stack: Stack, forced_at: datetime | None) -> str:
    """Say what a stack's Deployments, or Jobs that succeeded after these were made, tell of it.

    Where a person has gone back to it by force, only what a Job has done since; a second that is the same may be after.
    """
    names_of = (names.deployment_name(world.key.name, m.name, m.revision) for m in stack.members)
    behind = [found for name in names_of if (found := world.deployments.get(name))]
    said = "" if forced_at else next((why for d in behind if (why := d.unsafe.get(stack.revision))), "")
    since = [job for job in world.jobs.values() if forced_at is None or (job.ended_at and job.ended_at >= forced_at)]
    return said or next((job.irreversible for job in since if _older(behind, stack, job)), "")


def _older(behind: list[Deployment], stack: Stack, job: Job) -> bool:
    """Tell whether a stack is older than what a Job did: made before its end, and not for the Job's own revision."""
    if not job.irreversible or job.failed or job.ended_at is None or stack.revision == job.revision or not behind:
        return False
    return all(d.created_at < job.ended_at and d.created_for != job.revision for d in behind)


def note(deployment: Deployment, stack: Stack, why: str) -> dict[str, str]:
    """Return an annotation with one more revision that nobody goes back to; without it, where no reason is given."""
    kept = {revision: said for revision, said in deployment.unsafe.items() if revision != stack.revision}
    kept = dict(list(kept.items())[1 - MARKS :]) | ({stack.revision: why} if why else {})
    return {names.UNSAFE: json.dumps(kept, separators=(",", ":"))}
