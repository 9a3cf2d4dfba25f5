"""Transitions in words, for people: what, why, who, how long, and the command that goes back.

Whatever somebody else wrote is escaped for where it is shown: it must neither hide a line, nor make a link, nor call
everybody of a channel. Commands are made of names that the API server has checked, and are left out where they are not.
"""

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from tradingrelease.policy import names, transitions
from tradingrelease.policy.memory import stamp
from tradingrelease.policy.model import Key
from tradingrelease.policy.reasons import Severity
from tradingrelease.policy.transitions import Transition

Json = dict[str, Any]

MOST: Final = 10
"""Transitions in one message: the rest is told in the next one."""


@dataclass(frozen=True, slots=True)
class News:
    """One transition of one release."""

    key: Key
    what: Transition


@dataclass(frozen=True, slots=True)
class Style:
    """How text is shown somewhere."""

    escape: Callable[[str], str]
    bold: Callable[[str], str]
    code: Callable[[str], str]
    """Of a line that needs no escape."""
    line: str
    """What ends a line."""


_SPACE: Final = re.compile(r"\s+")
_INVISIBLE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_CALLS: Final = re.compile(r"(?<!\w)@(?=\w)")
_MARKS: Final = re.compile(r"[\\`*\[\]<>~]|(?<!\w)_|_(?!\w)")


def plain(text: str) -> str:
    """Return a text on one line, without what nobody can see, and calling nobody (as @channel does)."""
    seen = _INVISIBLE.sub("", _SPACE.sub(" ", text)).strip()
    return _CALLS.sub("@\u200b", seen)


def commonmark(text: str) -> str:
    """Return a text that CommonMark, and what Apprise makes of it for Slack and others, shows as it is.

    No more than that is escaped, since Slack shows the backslash. Never begins a line.
    """
    return _MARKS.sub(lambda found: f"\\{found.group()}", plain(text))


def markup(text: str) -> str:
    """Return a text that HTML shows as it is."""
    return html.escape(plain(text))


STYLES: Final[Mapping[str, Style]] = {
    "markdown": Style(commonmark, lambda t: f"**{t}**", lambda t: f"\n```\n{t}\n```", "\n"),
    "html": Style(markup, lambda t: f"<b>{t}</b>", lambda t: f"<pre>{html.escape(t)}</pre>", "<br>\n"),
    "text": Style(plain, lambda t: t, lambda t: f"\n  {t}", "\n"),
}


def title(cluster: str, batch: Sequence[News]) -> str:
    """Return one line about a batch. It is plain text: every Apprise target escapes a title by itself."""
    where = f"{cluster}: " if cluster else ""
    first = batch[0]
    if len(batch) == 1:
        version = f" {first.what.version}" if first.what.version else ""
        return plain(f"{where}{first.key}{version}: {first.what.reason}")[:200]
    keys = sorted({str(news.key) for news in batch})
    about = keys[0] if len(keys) == 1 else f"{len(keys)} releases"
    worst = next(s for s in reversed(Severity) if any(news.what.severity is s for news in batch))
    return plain(f"{where}{about}: {len(batch)} transitions, the gravest {worst}")[:200]


def body(batch: Sequence[News], style: Style) -> str:
    """Return all of a batch, oldest first."""
    return f"{style.line}{style.line}".join(_told(news, style) for news in batch)


def _told(news: News, style: Style) -> str:
    what = news.what
    said = style.escape
    version = f", version {said(what.version)}" if what.version else ""
    attempt = f", attempt {what.attempt}" if what.attempt else ""
    revision = f" ({said(what.revision)}{attempt})" if what.revision else ""
    outcome = f" ({what.outcome})" if what.outcome and what.outcome != what.reason else ""
    lines = [
        f"{style.bold(said(what.reason) + outcome)} {said(str(news.key))}{version}{revision}",
        f"{what.severity}: {said(what.message)}",
    ]
    if what.by:
        lines.append(f"Who: {said(what.by)}" + (f", because: {said(what.why)}" if what.why else ""))
    if what.since:
        lines.append(f"How long: {span(what.at - what.since)}, from {stamp(what.since)} to {stamp(what.at)}")
    else:
        lines.append(f"When: {stamp(what.at)}")
    text = style.line.join(lines)
    for advice, command in commands(news):
        text += f"{style.line}{said(advice)}" + (style.code(command) if command else "")
    return text


def span(how_long: timedelta) -> str:
    """Return a time in two units at most."""
    seconds = max(int(how_long.total_seconds()), 0)
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    first = next((i for i, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or unit == "s")


# --- the way back -----------------------------------------------------------------------------------------------------

_OBJECT: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_REVISION: Final = re.compile(r"[a-z0-9]{1,63}")


def commands(news: News) -> list[tuple[str, str]]:
    """Return what a person may do about it, and the command: end what is on its way, or go back from what is live."""
    what, found = news.what, []
    revision, _, attempt = what.candidate.partition("/")
    if what.unsafe:
        found.append((f"No way back but a Rollback with force: true and a reason: {what.unsafe}", ""))
    elif what.target and what.live and (text := command(news.key, "Rollback", what.live)):
        found.append((f"To roll back to version {what.target}:", text))
    if revision and (text := command(news.key, "Abort", revision)):
        found.append((f"To end attempt {attempt} of {revision}:", text))
    return found


def command(key: Key, action: str, revision: str) -> str:
    """Return a line for a shell that orders something; "" where a name in it is none that the API server takes.

    Nothing in it needs quoting beyond the quotes that are there: names hold letters, digits, dots and dashes.
    """
    if not (_OBJECT.fullmatch(key.namespace) and _OBJECT.fullmatch(key.name) and _REVISION.fullmatch(revision)):
        return ""
    order = {
        "apiVersion": names.API_VERSION,
        "kind": "ReleaseCommand",
        "metadata": {"generateName": f"{action.lower()}-"},
        "spec": {"release": key.name, "action": action, "revision": revision, "reason": "as a notification said"},
    }
    return f"echo '{json.dumps(order, separators=(',', ':'))}' | kubectl -n {key.namespace} create -f -"


# --- programs ---------------------------------------------------------------------------------------------------------


def data(news: News, cluster: str) -> Json:
    """Return a transition as programs read it: what status says of it, whose it is, and how long it took."""
    what = news.what
    told = {"namespace": news.key.namespace, "release": news.key.name, **transitions.to_json(what)}
    if cluster:
        told["cluster"] = cluster
    if what.since:
        told["seconds"] = (what.at - what.since).total_seconds()
    return told


def from_data(raw: Json) -> News:
    """Read back what `data` wrote. Raises KeyError, TypeError or ValueError for what it cannot have written."""
    return News(Key(raw["namespace"], raw["release"]), transitions.from_json(raw))
