"""tradingrelease wait: apply a TradingRelease, if asked to, and tell by exit code whether it went live and is proven.

Runs where people and pipelines run, with any kubeconfig; never in the operator. It needs get, list and watch on one
TradingRelease, and patch for `--file`. What decides is `policy/result.py`.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from tradingrelease.clock import monotonic
from tradingrelease.policy import names
from tradingrelease.policy.fields import duration
from tradingrelease.policy.result import Result, Standing, Target, judge, target

Json = dict[str, Any]

KIND: Final = "TradingRelease"
WATCH_SPAN: Final = 60
"""Seconds of one watch. A connection whose peer vanished is noticed after as many."""
ANSWER: Final = 10.0
"""Seconds in which the API server has to answer a request that is no watch."""
PAUSE: Final = 1.0
"""Seconds from one list to the next, at least: a server that is down is not asked in a loop."""
_NO: Final = frozenset({400, 401, 403, 404, 409, 413, 415, 422})
"""Answers that another try does not change."""

_NO_SUCH_FIELD: Final = "failed to create typed patch object"
"""So begins what a kube-apiserver says with status 500 of an applied field that the CRD does not know."""


class RefusedError(Exception):
    """Nothing was applied, or nothing can be waited for. Says what to write instead."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the waiting ended, and why."""

    result: Result
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the release is."""

    api: client.CustomObjectsApi
    namespace: str
    name: str

    @property
    def path(self) -> Json:
        """The arguments that every request has."""
        return {
            "group": names.GROUP, "version": names.VERSION, "namespace": self.namespace, "plural": "tradingreleases",
        }  # fmt: skip


def perform(chosen: argparse.Namespace) -> int:
    """Apply, wait, print, and write the job summary. Returns the exit code (see `Result`)."""
    began = monotonic()
    story = Story(began)
    try:
        manifest = _manifest(chosen.file, chosen.name) if chosen.file else None
        place = _place(chosen, manifest)
        ending = _ended(place, manifest, chosen, began + _seconds(chosen.timeout), story)
    except RefusedError as error:
        ending = Ending(Result.REFUSED, "Refused", str(error))
    story.end(ending)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(story.summary(ending))
    return int(ending.result)


def _seconds(text: str) -> float:
    try:
        return duration(text).total_seconds()
    except ValueError as error:
        raise RefusedError(f"--timeout: {error}") from error


# --- what is applied ------------------------------------------------------------------------------------------------


def _manifest(file: str, name: str | None) -> Json:
    """Read the one TradingRelease of a file. Raises RefusedError for anything else."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RefusedError(f"{file} cannot be read: {error}") from error
    kinds = [d.get("kind") if isinstance(d, dict) else type(d).__name__ for d in documents]
    if kinds != [KIND]:
        found = ", ".join(map(str, kinds)) or "nothing"
        raise RefusedError(f"{file} holds {found}: give a file with one {KIND}, and apply the rest with kubectl")
    manifest: Json = documents[0]
    if manifest.get("apiVersion") != names.API_VERSION:
        raise RefusedError(f"{file}: apiVersion is {manifest.get('apiVersion')!r}: write {names.API_VERSION}")
    written = (manifest.get("metadata") or {}).get("name")
    if not isinstance(written, str) or not written:
        raise RefusedError(f"{file}: metadata.name is missing: name the release")
    if name not in {None, written}:
        raise RefusedError(f"{file} is release {written!r}, not {name!r}: leave the name out, it is read from the file")
    return manifest


def _apply(place: Place, manifest: Json, chosen: argparse.Namespace, deadline: float, story: "Story") -> Json:
    """Apply by server-side apply: twice is the same as once, so a lost answer is asked for again.

    Raises RefusedError where the API server says no, TimeoutError at the deadline.
    """
    while True:
        began = monotonic()
        try:
            answer: Any = place.api.patch_namespaced_custom_object(
                **place.path, name=place.name, body=manifest, field_manager=chosen.field_manager,
                field_validation="Strict", force=chosen.force_conflicts,
                _content_type="application/apply-patch+yaml", _request_timeout=ANSWER,
                _preload_content=False,
            )  # fmt: skip
            applied: Json = json.loads(answer.data)  # the client's own reading takes nothing from a 201
        except ApiException as error:
            said = _words(error)
            if error.status in _NO or said.startswith(_NO_SUCH_FIELD):
                advice = ": --force-conflicts takes these fields over" if error.status == 409 else ""
                raise RefusedError(said + advice) from error
            story.tell(Standing("", "Unreachable", said))
        except (HTTPError, ValueError) as error:
            story.tell(Standing("", "Unreachable", str(error)))
        else:
            return applied
        _pause(began, deadline)


# --- what is waited for ---------------------------------------------------------------------------------------------


def _place(chosen: argparse.Namespace, manifest: Json | None) -> Place:
    """Load the kubeconfig and find out which release is meant. Raises RefusedError."""
    settings = client.Configuration()
    file, context = chosen.kubeconfig, chosen.context
    try:
        _load(file, context, settings)
    except (ConfigException, OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise RefusedError(f"no usable kubeconfig: {error}: give --kubeconfig, or set KUBECONFIG") from error
    written = (manifest["metadata"].get("namespace") if manifest else None) or chosen.namespace
    if chosen.namespace not in {None, written}:
        raise RefusedError(f"the file is for namespace {written!r}, not {chosen.namespace!r}: leave --namespace out")
    name = manifest["metadata"]["name"] if manifest else chosen.name
    if not name:
        raise RefusedError("which release? Write its name, or --file and its manifest")
    api = client.CustomObjectsApi(client.ApiClient(settings))
    return Place(api, written or _own_namespace(file, context), name)


def _load(file: str | None, context: str | None, settings: client.Configuration) -> None:
    """Load the kubeconfig; the pod's own credentials only where nobody names another and there is none."""
    try:
        config.load_kube_config(config_file=file, context=context, client_configuration=settings)  # type: ignore[no-untyped-call] # its package is untyped
    except ConfigException:
        if file or context or os.environ.get("KUBECONFIG"):
            raise
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call] # its package is untyped


def _own_namespace(file: str | None, context: str | None) -> str:
    """Return the namespace that kubectl would take."""
    try:
        contexts, active = config.list_kube_config_contexts(config_file=file)  # type: ignore[no-untyped-call] # its package is untyped
    except ConfigException:
        inside = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        return inside.read_text(encoding="utf-8").strip() if inside.exists() else "default"
    found = next((c for c in contexts if c["name"] == context), active)
    return str(found["context"].get("namespace") or "default")


def _ended(place: Place, manifest: Json | None, chosen: argparse.Namespace, deadline: float, story: "Story") -> Ending:
    """Apply, if there is something to apply, and wait. Raises RefusedError."""
    wanted: Target | None = None
    try:
        if manifest is not None:
            wanted = target(_apply(place, manifest, chosen, deadline, story))
            story.begin(place, wanted)
        for release in _changes(place, deadline, story):
            if release is None and wanted is None:
                text = f"there is no TradingRelease {place.name} in namespace {place.namespace}: give --file to apply"
                raise RefusedError(text)
            if release is None:
                return Ending(Result.FAILED, "Deleted", f"TradingRelease {place.name} was deleted meanwhile")
            if wanted is None:
                wanted = target(release)
                story.begin(place, wanted)
            standing = judge(release, wanted)
            story.tell(standing)
            if standing.result is not None:
                return Ending(standing.result, standing.reason, standing.message)
    except TimeoutError:
        pass
    text = f"not live and proven after {chosen.timeout}; the release goes on; {story.last}"
    return Ending(Result.TIMEOUT, "Timeout", text)


def _changes(place: Place, deadline: float, story: "Story") -> Iterator[Json | None]:
    """Yield the release, and again whenever it changes; None where there is none. Ends by TimeoutError.

    A watch that breaks is begun anew from a list: nothing that is true then can be missed.
    """
    query: dict[str, Any] = {**place.path, "field_selector": f"metadata.name={place.name}"}
    while True:
        began = monotonic()
        try:
            found: Any = place.api.list_namespaced_custom_object(**query, _request_timeout=ANSWER)
            yield next(iter(found["items"]), None)
            _in_time(deadline)
            span = max(1, min(WATCH_SPAN, math.ceil(deadline - monotonic())))
            following = watch.Watch()  # type: ignore[no-untyped-call] # its package is untyped
            events = following.stream(  # type: ignore[no-untyped-call] # its package is untyped
                place.api.list_namespaced_custom_object, **query,
                resource_version=found["metadata"]["resourceVersion"], timeout_seconds=span,
                _request_timeout=(ANSWER, span + ANSWER),
            )  # fmt: skip
            for event in events:
                if event is None:
                    break  # half a line: the connection broke
                yield None if event["type"] == "DELETED" else event["object"]
                _in_time(deadline)
        except ApiException as error:
            if error.status in _NO:
                raise RefusedError(_words(error)) from error
            story.tell(Standing("", "Unreachable", _words(error)))
        except HTTPError as error:
            story.tell(Standing("", "Unreachable", str(error)))
        _pause(began, deadline)


def _in_time(deadline: float) -> None:
    if monotonic() >= deadline:
        raise TimeoutError


def _pause(began: float, deadline: float) -> None:
    """Begin no two rounds within a second. A watch that ran its time has waited already."""
    _in_time(deadline)
    time.sleep(max(0.0, min(began + PAUSE, deadline) - monotonic()))
    _in_time(deadline)


def _words(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, TypeError, KeyError):
        return f"the API server says {error.status} {error.reason}"


# --- what is told ---------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Return text of the cluster as one harmless line.

    It may hold what a container said: no newline, colour or invisible sign, and nothing that a GitHub runner takes for
    a command (`::` at the start of a line, `##[` anywhere in it).
    """
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line.replace("##[", "# #[").strip().removeprefix("::")


class Story:
    """Prints each change as it comes, and keeps it for the summary."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._lines: list[tuple[str, Standing]] = []
        self._where = ""

    def begin(self, place: Place, wanted: Target) -> None:
        """Say what is waited for."""
        self._where = f"{place.namespace}/{place.name}, version {wanted.version} ({wanted.revision})"
        self._print(f"TradingRelease {self._where}")

    def tell(self, standing: Standing) -> None:
        """Print where the release stands, if that is news."""
        if self._lines and self._lines[-1][1] == standing:
            return
        seconds = int(monotonic() - self._began)
        at = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        self._lines.append((at, standing))
        self._print(f"{at}  {standing.phase:<10}  {standing.reason}: {standing.message}")

    @property
    def last(self) -> str:
        """Where the release stood last, in words."""
        if not self._lines:
            return "nothing was heard of it"
        standing = self._lines[-1][1]
        return f"last: {standing.reason}: {standing.message}"

    def end(self, ending: Ending) -> None:
        """Print how it ended: to stderr unless it is live and proven."""
        text = f"tradingrelease: {_HEADLINES[ending.result]}: {ending.reason}: {ending.message}"
        print(plain(text), file=sys.stdout if ending.result is Result.READY else sys.stderr, flush=True)

    def summary(self, ending: Ending) -> str:
        """Return the job summary (GitHub's markdown)."""
        rows = "".join(
            f"| {at} | {_cell(s.phase)} | {_cell(s.reason)} | {_cell(s.message)} |\n" for at, s in self._lines
        )
        table = f"| after | phase | reason | message |\n|---|---|---|---|\n{rows}\n" if rows else ""
        head = f"### {_cell(self._where or 'TradingRelease')}: {_HEADLINES[ending.result]}\n\n"
        return f"{head}{_cell(ending.reason)}: {_cell(ending.message)}\n\n{table}"

    @staticmethod
    def _print(text: str) -> None:
        print(plain(text), flush=True)  # noqa: T201 - what the command is for


_HEADLINES: Final = {
    Result.READY: "live and proven", Result.FAILED: "failed", Result.REFUSED: "refused", Result.TIMEOUT: "timeout",
}  # fmt: skip
_MARKDOWN: Final = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]<>|#!~&@:"}


def _cell(text: str) -> str:
    """Return text as plain words of a markdown table: nothing in it is a cell, a link, an image, a name or HTML."""
    return plain(text).translate(_MARKDOWN)
