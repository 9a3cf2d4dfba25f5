"""CloudEvents 1.0 in JSON, as a body of its own (structured) or as headers and a body (binary)."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from tradingrelease.policy import names
from tradingrelease.policy.model import Key

Json = dict[str, Any]

STRUCTURED: Final = "application/cloudevents+json; charset=utf-8"
_PRINTABLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""What a header holds as it is (HTTP binding 1.0.2, 3.1.3.2): the rest is percent-encoded."""


def event(key: Key, *, kind: str, identity: str, subject: str, time: str, data: Mapping[str, Any]) -> Json:
    """Return an event about a release. `time` is RFC 3339; `kind` follows our group in its type."""
    return {
        "specversion": "1.0",
        "id": identity,
        "type": f"{names.GROUP}.{kind}",
        "source": f"/namespaces/{key.namespace}/tradingreleases/{key.name}",
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": dict(data),
    }


def structured(body: Json) -> tuple[dict[str, str], str]:
    """Return headers and body of an event in structured mode; the same event is always the same bytes."""
    return {"Content-Type": STRUCTURED}, dumped(body)


def binary(body: Json) -> tuple[dict[str, str], str]:
    """Return headers and body of an event in binary mode."""
    attributes = {key: value for key, value in body.items() if key not in {"data", "datacontenttype"}}
    headers = {f"ce-{key}": quote(str(value), safe=_PRINTABLE) for key, value in attributes.items()}
    return headers | {"Content-Type": str(body["datacontenttype"])}, dumped(body["data"])


def dumped(value: Any) -> str:  # noqa: ANN401 - JSON
    """Return JSON in its shortest form, keys in order."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
