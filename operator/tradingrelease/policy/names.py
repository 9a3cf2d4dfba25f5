"""Names, labels and annotations: every string by which the operator finds its own things again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

GROUP: Final = "tradingplatform.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

RELEASE: Final = f"{GROUP}/release"
"""Label on everything of ours and on marked Services: the name of the release."""
COMPONENT: Final = f"{GROUP}/component"
"""Label on Deployments and pods: the name of the component."""
REVISION: Final = f"{GROUP}/revision"
"""Label on Deployments and pods, key in Service selectors: the component revision."""
PREVIEW_OF: Final = f"{GROUP}/preview-of"
"""Label on a preview Service: the Service that it previews."""

RELEASE_UID: Final = f"{GROUP}/release-uid"
"""Annotation on Services (the mark) and Deployments: uid of the release that steers or made them."""
SWITCH: Final = f"{GROUP}/switch"
"""Annotation on Services: the record of the last switch, JSON (see model.Record)."""
FENCE: Final = f"{GROUP}/fence"
"""Annotation on Services: a unique value; writing it makes every earlier claim stale."""
BREAK_GLASS: Final = f"{GROUP}/break-glass"
"""Annotation on Services, set by people to "true": the operator does not repair the selector."""
CLAIM_DOMAIN: Final = f"claim.{GROUP}"
"""Annotations on Deployments, `<domain>/<service>`: the Service version that it may be switched at."""
CREATED_FOR: Final = f"{GROUP}/created-for"
"""Annotation on Deployments: the revision for which it was first made."""
VERSION_LABEL: Final = f"{GROUP}/version"
"""Annotation on Deployments: the version under which its component revision was first deployed."""
SERVED: Final = f"{GROUP}/served"
"""Annotation on Deployments, "true": it has had traffic."""
PROVEN: Final = f"{GROUP}/proven"
"""Annotation on Deployments: the revisions that were proven on it, comma-separated."""
ADOPTED_FROM: Final = f"{GROUP}/adopted-from"
"""Annotation on a clone: the user's Deployment whose template it carries."""
HOOK: Final = f"{GROUP}/hook"
"""Label on the Jobs of hooks and their pods: the name of the hook."""
ATTEMPT: Final = f"{GROUP}/attempt"
"""Annotation on the Jobs of hooks: the attempt of the revision that they belong to."""
IRREVERSIBLE: Final = f"{GROUP}/irreversible"
"""Annotation on the Jobs of irreversible hooks: why nobody goes back once it succeeded."""
UNSAFE: Final = f"{GROUP}/unsafe"
"""Annotation on Deployments: why nobody goes back to a revision on it but by force, by revision; JSON."""
APPLIED_BY: Final = f"{GROUP}/applied-by"
"""Annotation on releases, stamped by admission: who changed the spec last."""
ON_BEHALF_OF: Final = f"{GROUP}/on-behalf-of"
"""Annotation that is given with a changed spec: for whom a trusted account (CI) changes it. Admission takes it out."""
APPLIED_FOR: Final = f"{GROUP}/applied-for"
"""Annotation on releases, stamped by admission: what on-behalf-of said when the spec changed last."""
APPLIED_TEMPLATE: Final = f"{GROUP}/template"
"""Key in the data of a stored spec."""

NOTHING: Final = "none"
"""Value of the selector key of a Service that selects no pod yet."""
FIELD_MANAGER: Final = "tradingrelease-operator"

# The alphabet of Kubernetes' own rand.SafeEncodeString: no vowels, so no words.
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
DIGEST_LENGTH: Final = 10
LONGEST_NAME: Final = 63


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return 10 lower-case characters that stand for a JSON value (sha256 of its canonical form)."""
    number = int.from_bytes(hashlib.sha256(canonical(value)).digest(), "big")
    letters = []
    for _ in range(DIGEST_LENGTH):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)


def deployment_name(release: str, component: str, revision: str) -> str:
    """Return the name of the Deployment of one component revision."""
    return f"{release}-{component}-{revision}"


def job_name(release: str, hook: str, revision: str, attempt: str) -> str:
    """Return the name of a hook's Job: the same for one run, another for every other, at most 63 characters."""
    whose, run = f"{release}-{hook}", f"-{revision}-{attempt}"
    if len(whose) + len(run) > LONGEST_NAME:
        mark = f"-{digest(whose)}"
        whose = whose[: LONGEST_NAME - len(run) - len(mark)] + mark
    return whose + run


def stored_spec_name(release: str, revision: str) -> str:
    """Return the name of the ControllerRevision that keeps an accepted spec."""
    return f"{release}-{revision}"


def preview_name(service: str) -> str:
    """Return the name of a Service's preview."""
    return f"{service}-preview"


def claim_key(service: str) -> str:
    """Return the annotation by which a Deployment claims a version of a Service."""
    return f"{CLAIM_DOMAIN}/{service}"


def own_selector(selector: Mapping[str, str]) -> dict[str, str]:
    """Return a Service's selector as its author wrote it: without our key."""
    return {key: value for key, value in selector.items() if key != REVISION}


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether labels satisfy an equality selector. An empty selector selects nothing (as for Services)."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())
