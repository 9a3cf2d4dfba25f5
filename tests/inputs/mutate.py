"""Wrong values for every field of a schema, and how to write them into a manifest."""

import copy
from collections.abc import Mapping
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
