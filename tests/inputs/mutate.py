"""Wrong values for every field of a schema, and how to write them into a manifest."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

DELETED: Any = ...
"""In place of a value: the field is taken away."""


def put(manifest: Json, changes: Mapping[str, Any]) -> Json:
    """Copy a manifest and change it: path with slashes -> value. ~1 stands for a slash in a key."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *way, last = (int(step) if step.isdigit() else step.replace("~1", "/") for step in path.split("/"))
        place: Any = result
        for step in way:
            place = place[step]
        if value is DELETED:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return result


@dataclass(frozen=True)
class Mutation:
    """One wrong value at one field of a manifest."""

    path: str
    kind: str
    value: Any

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}"


HOSTILE = {
    "newline": "a\nb", "ansi": "\x1b[31mred", "nul": "a\x00b", "10 kB": "a" * 10_240, "unicode": "\u202e\u200b\U0001f600",
    "template": "{{ .Values }} {x} %s", "traversal": "../../etc/passwd", "yaml": "a: b\n- c: &d *d", "json": '"}],"x":[{"',
}  # fmt: skip
WRONG_TYPES = {"string": "x", "integer": 7, "number": 1.5, "boolean": True, "array": [1], "object": {"a": 1}}


def fields(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Yield each field of a schema with its path; of a list its first item stands for all."""
    for name, below in schema.get("properties", {}).items():
        here = f"{path}/{name}"
        yield here, below
        yield from fields(below, here)
        if "items" in below:
            yield f"{here}/0", below["items"]
            yield from fields(below["items"], f"{here}/0")


def mutations(path: str, schema: Json) -> Iterator[Mutation]:
    """Yield wrong and odd values for one field."""
    kind = schema.get("type")
    yield Mutation(path, "deleted", DELETED)
    yield Mutation(path, "null", None)
    yield Mutation(path, "empty", {"string": "", "array": [], "object": {}}.get(str(kind), ""))
    yield from (Mutation(path, f"is {name}", value) for name, value in WRONG_TYPES.items() if name != kind)
    if kind == "integer":
        limits = {"below": schema.get("minimum", 0) - 1, "above": schema.get("maximum", 2**31) + 1, "huge": 10**30}
        yield from (Mutation(path, name, value) for name, value in limits.items())
        at = {"lowest": schema.get("minimum"), "highest": schema.get("maximum")}
        yield from (Mutation(path, name, value) for name, value in at.items() if value is not None)
    if kind == "string":
        yield from (Mutation(path, name, value) for name, value in HOSTILE.items())
        yield from (Mutation(path, f"value {value}", value) for value in schema.get("enum", ()))
        if "maxLength" in schema:
            yield Mutation(path, "longest", "a" * schema["maxLength"])
            yield Mutation(path, "too long", "a" * (schema["maxLength"] + 1))
        if "ms|s|m|h" in schema.get("pattern", ""):
            yield from (Mutation(path, text, text) for text in ("0s", "1ms", "1s", "24h", "720h", "9" * 31 + "h"))


def applied(manifest: Json, mutation: Mutation) -> Json | None:
    """Return the manifest with the mutation; None where it has no such place."""
    try:
        return put(manifest, {mutation.path: mutation.value})
    except (KeyError, IndexError, TypeError):
        return None
