"""Whom to ask for health: only pods of our own Deployments, by address of the pod itself."""

from typing import Final

from tradingrelease.policy.blue import asks_blue
from tradingrelease.policy.model import Deployment, Pod, Stack, Target, World, scope
from tradingrelease.policy.spec import Health


def wanted(world: World) -> frozenset[Target]:
    """Return every pod that is to be probed again and again now."""
    found: list[Target] = []
    memory = world.memory
    if memory.candidate:
        found += _stack(world, memory.candidate.stack, scope(memory.candidate.stack.revision, memory.candidate.attempt))
    if memory.live and memory.live.proven_at is None:
        found += _stack(world, memory.live.stack, scope(memory.live.stack.revision, None))
    if memory.live and (where := asks_blue(memory)):
        found += _stack(world, memory.live.stack, where)
    return frozenset(found)


def _stack(world: World, stack: Stack, where: str) -> list[Target]:
    found: list[Target] = []
    for member in stack.members:
        deployment = world.deployment(member.name, member.revision)
        health = world.health_of(stack.revision, member.name)
        if deployment and health:
            found += pod_targets(world, where, deployment, health)
    return found


def pod_targets(world: World, where: str, deployment: Deployment, health: Health) -> list[Target]:
    """Return the pods of a Deployment as targets: those with an address, Ready or not."""
    return [
        Target(where, pod.uid, pod.name, pod.ip, pod.host_ip, port, health, deployment.created_version)
        for pod in world.pods_of(deployment)
        if pod.ip and not pod.host_network and (port := _port(pod, health)) is not None
    ]


def _port(pod: Pod, health: Health) -> int | None:
    port = health.http_get.port
    return port if isinstance(port, int) else pod.ports.get(port)


UNPROBEABLE: Final = "pods on the node's own network are not probed, since their address is the node's"


def unprobeable(pod: Pod, health: Health) -> str:
    """Say why a pod cannot be asked for its health; "" if it can."""
    if pod.host_network:
        return UNPROBEABLE
    if pod.ip and _port(pod, health) is None:
        return f"no container port of pod {pod.name} is named {health.http_get.port!r}"
    return ""
