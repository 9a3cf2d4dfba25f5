"""What pods say of themselves: what is fatal, what may cure itself, and which pods stand."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tradingrelease.policy import names
from tradingrelease.policy.model import Container, Deployment, Pod, Stack, World

LONGEST_WORDS: Final = 300
"""The end of what a container said is what it died of."""

_FATAL_WAITS: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
# Waiting reasons of the kubelet that an outside change can cure: a registry that returns, a ConfigMap that is made.
_CURABLE_WAITS: Final = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "CreateContainerConfigError",
        "CreateContainerError", "RunContainerError",
    }
)  # fmt: skip

LOST_WITH_THEIR_NODE: Final = frozenset({"Unknown", "ContainerStatusUnknown"})
"""What a kubelet reports for containers that it finds gone when it comes back: nobody saw them fail."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a Deployment's pods do not become ready, in the cluster's own words."""

    reason: str
    message: str
    fatal: bool
    since: datetime


def troubles(world: World, deployment: Deployment, restart_limit: int, attempt_start: datetime) -> list[Trouble]:
    """Return what keeps a Deployment from becoming available, the fatal first, then the oldest."""
    found = [trouble for pod in world.pods_of(deployment) for trouble in _of_pod(pod, restart_limit)]
    if deployment.replica_failure:
        since = deployment.replica_failure_since or deployment.created_at
        found.append(Trouble("PodsForbidden", deployment.replica_failure, fatal=False, since=since))
    # What began before the attempt counts from the attempt.
    bounded = [Trouble(t.reason, t.message, t.fatal, max(t.since, attempt_start)) for t in found]
    return sorted(bounded, key=lambda t: (not t.fatal, t.since, t.message))


def of_hook(pod: Pod) -> Trouble | None:
    """Return what keeps a hook's pod from starting. How often it crashes is its Job's affair."""
    return next(iter(_of_pod(pod, restart_limit=1_000_000)), None)


def _of_pod(pod: Pod, restart_limit: int) -> list[Trouble]:
    found = []
    if pod.unschedulable and not pod.ip:
        since = pod.unschedulable_since or pod.created_at
        found.append(Trouble("Unschedulable", f"pod {pod.name}: {pod.unschedulable}", fatal=False, since=since))
    for container in pod.containers:
        where = f"pod {pod.name}, container {container.name}"
        if container.crashes > restart_limit:
            found.append(
                Trouble(_crash_reason(container), f"{where}: {crash(container)}", fatal=True, since=pod.created_at)
            )
        elif container.waiting in _FATAL_WAITS | _CURABLE_WAITS:
            text = f"{where}: {container.waiting}" + (
                f": {container.waiting_message}" if container.waiting_message else ""
            )
            fatal = container.waiting in _FATAL_WAITS
            found.append(Trouble(container.waiting, text, fatal, pod.created_at))
    return found


def _crash_reason(container: Container) -> str:
    return "OOMKilled" if container.died == "OOMKilled" else "CrashLoop"


def crash(container: Container) -> str:
    """Say how a container died."""
    how = f"{container.died or 'died'}, exit code {container.exit_code}"
    if words := " ".join(container.last_words.split()):
        how = f"{how}: {words[-LONGEST_WORDS:]}"
    return f"crashed {container.crashes} times, last: {how}"


def ready(world: World, deployment: Deployment) -> tuple[Pod, ...]:
    """Return the pods of a Deployment that are Ready and not on their way out."""
    return tuple(pod for pod in world.pods_of(deployment) if pod.ready)


def not_standing(world: World, stack: Stack, skip: Stack | None = None) -> str:
    """Say what keeps a stack from taking traffic now; "" if each component has a Ready pod for each of its Services.

    Components that are the same in `skip` (the stack that serves now) need no second look.
    """
    for member in stack.members:
        if skip and skip.shares(member):
            continue
        deployment = world.deployment(member.name, member.revision)
        if deployment is None:
            return f"Deployment {names.deployment_name(world.key.name, member.name, member.revision)} is gone"
        if deployment.replicas == 0:
            return f"Deployment {deployment.name} has 0 replicas"
        standing = ready(world, deployment)
        for name in member.services:
            service = world.services.get(name)
            if service is None:
                continue
            own = names.own_selector(service.selector)
            if not any(all(pod.labels.get(k) == v for k, v in own.items()) for pod in standing):
                return f"Deployment {deployment.name} has no ready pod for Service {name}"
    return ""


def size(world: World, stack: Stack) -> tuple[int, int]:
    """Return how many pods of a stack are ready, and how many it should have."""
    here = wanted = 0
    for member in stack.members:
        deployment = world.deployment(member.name, member.revision)
        if deployment:
            here += min(len(ready(world, deployment)), deployment.replicas)
            wanted += deployment.replicas
    return here, wanted
