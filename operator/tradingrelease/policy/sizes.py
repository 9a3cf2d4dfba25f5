"""How many replicas each Deployment is to have. Scaling is not a release."""

from tradingrelease.policy.model import Deployment, Member, World
from tradingrelease.policy.reasons import Role
from tradingrelease.policy.spec import Spec


def live_size(world: World, component: str) -> int | None:
    """Return how many replicas a component has live now; None where nothing of it is live."""
    live = world.memory.live
    member = live.stack.member(component) if live else None
    deployment = world.deployment(member.name, member.revision) if member else None
    return deployment.replicas if deployment else None


def wanted_replicas(world: World, spec: Spec, component: str) -> int:
    """Return a candidate's size: what its author wrote, or as many as are live; never below live before the switch."""
    found = spec.component(component)
    return _size(found.replicas if found else None, live_size(world, component))


def _size(written: int | None, live: int | None) -> int:
    if written is None:
        return 1 if live is None else live
    return written if written == 0 else max(written, live or 0)


def grown(world: World, member: Member, deployment: Deployment, role: Role) -> int | None:
    """Return the size that a Deployment is to be given, or None where it may stay as it is."""
    if role is Role.LIVE:
        return _live(world, member, deployment)
    wanted = candidate_size(world, member) if role is Role.CANDIDATE else live_size(world, member.name)
    if wanted is None or wanted <= deployment.replicas:
        return None
    return wanted


def candidate_size(world: World, member: Member) -> int:
    """Return a candidate's size by the newest accepted number, not the stored one: scaling is not a release."""
    return _size(world.memory.settings.replicas.get(member.name), live_size(world, member.name))


def _live(world: World, member: Member, deployment: Deployment) -> int | None:
    # While a release is under way the author's number is meant for the candidate.
    if world.memory.candidate is not None:
        return None
    live, written = world.memory.live, world.memory.settings.replicas.get(member.name)
    asked = world.wanted
    if live is None or asked is None or asked.revision != live.stack.revision:
        return None
    if written is None or written == deployment.replicas:
        return None
    return written
