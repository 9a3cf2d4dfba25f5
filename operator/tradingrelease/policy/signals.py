"""Facts whose age matters.

The process notes when each became true. After a restart it counts anew, which is safe: every rule that asks for an age
waits longer by it, never shorter.
"""

from collections.abc import Iterator

from tradingrelease.policy import names
from tradingrelease.policy.acts import steered, unfinished
from tradingrelease.policy.blue import asks_blue
from tradingrelease.policy.model import Member, Service, Stack, World


def dead(service: str) -> str:
    """Name the signal "this live Service has no ready endpoint"."""
    return f"dead:{service}"


def read_back(act: int) -> str:
    """Name the signal "EndpointSlices show this act's pods and no other"."""
    return f"read-back:{act}"


def idle(deployment: str) -> str:
    """Name the signal "no Service of the release lists a pod of this Deployment any more"."""
    return f"idle:{deployment}"


def asking_blue(where: str) -> str:
    """Name the signal "live is asked under this scope whether a hook left it well"."""
    return f"asking-blue:{where}"


def ending(pod: str) -> str:
    """Name the signal "this pod of a hook was told to end, and has not"."""
    return f"ending:{pod}"


ROLLBACK_ASKED = "rollback-asked"
"""The spec asks for a retained revision."""


def signals(world: World) -> frozenset[str]:
    """Return every signal that is true now."""
    return frozenset(_signals(world))


def _signals(world: World) -> Iterator[str]:
    yield from (ending(pod.uid) for pod in world.pods if names.HOOK in pod.labels and pod.terminating and not pod.over)
    live = world.memory.live
    if live is None:
        return
    yield from deaths(world, live.stack)
    if where := asks_blue(world.memory):
        yield asking_blue(where)
    if unfinished(world) is None and not unread(world):
        yield read_back(live.act)
    listed = {uid for name in steered(world) if (e := world.endpoints.get(name)) for uid in e.every}
    selected = {service.selected for service in steered(world).values()}
    for deployment in world.deployments.values():
        pods = {pod.uid for pod in world.pods if pod.deployment_uid == deployment.uid}
        if deployment.revision not in selected and not pods & listed:
            yield idle(deployment.name)
    if world.wanted and any(r.stack.revision == world.wanted.revision for r in world.memory.retained):
        yield ROLLBACK_ASKED


def deaths(world: World, live: Stack) -> Iterator[str]:
    """Yield `dead` of each Service that selects its part of a live stack and has no ready endpoint now."""
    for member in live.members:
        deployment = world.deployment(member.name, member.revision)
        # A component that wants no replicas is not dead.
        if deployment is not None and deployment.replicas == 0:
            continue
        for name in member.services:
            service = world.services.get(name)
            if service and service.selected == member.revision and not serving(world, service):
                yield dead(name)


def serving(world: World, service: Service) -> frozenset[str]:
    """Return the uids of pods that get the Service's traffic on every port and are ready."""
    found = world.endpoints.get(service.name)
    if found is None:
        return frozenset()
    if service.publish_not_ready:
        # Such a Service lists every pod as ready: the pods themselves say whether they are.
        well = {pod.uid for pod in world.pods if pod.ready and not pod.terminating}
        return frozenset(found.serving(service.ports) & well)
    return found.serving(service.ports)


def unread(world: World) -> str:
    """Say which live Service's EndpointSlices do not yet show the live pods and no other; "" if all do."""
    live = world.memory.live
    if live is None:
        return "nothing is live"
    for member in live.stack.members:
        for name in member.services:
            if text := _unread(world, member, name):
                return text
    return ""


def _unread(world: World, member: Member, name: str) -> str:
    service = world.services.get(name)
    if service is None or service.selected != member.revision:
        return f"Service {name} does not select {member.revision}"
    deployment = world.deployments.get(names.deployment_name(world.key.name, member.name, member.revision))
    if deployment is None:
        return f"Service {name} selects {member.revision}, whose Deployment is gone"
    if deployment.replicas == 0:
        return ""
    ours = {pod.uid for pod in world.pods if pod.deployment_uid == deployment.uid}
    found = world.endpoints.get(name)
    strangers = (found.every if found else frozenset()) - ours
    if strangers:
        return f"Service {name} still lists {len(strangers)} endpoint(s) of other pods"
    return "" if serving(world, service) else f"Service {name} has no ready endpoint"
