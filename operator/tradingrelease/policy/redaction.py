"""What people read of foreign text (a log line, the last words of a container) without what looks like a secret."""

from typing import Final

import re2

_SECRETS: Final = (
    (re2.compile(r"(?i)([a-z]+://)[^/\s:@]*:[^/\s@]*@"), r"\1***@"),
    (re2.compile(r"(?i)\b(bearer|basic)\s+\S+"), r"\1 ***"),
    (
        re2.compile(r"(?i)([\w-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|credential|authorization|cookie|session)[\w-]*[\"']?\s*[=:]\s*)(?:\"[^\"]*\"?|'[^']*'?|[^\s,;&]+)"),
        r"\1***",
    ),
    (re2.compile(r"\beyJ[\w-]{5,}\.[\w-]+\.?[\w-]*"), "***"),
    (re2.compile(r"\b[A-Za-z0-9+/_=-]{32,}"), "***"),
    (re2.compile(r"\b(?:\d[ -]?){13,19}\b"), "***"),
)  # fmt: skip
"""What looks like a secret, and what stands in its place. RE2: the time is linear in the line, whoever wrote it."""


def redacted(text: str) -> str:
    """Return a text without what looks like a secret, and without what would break a line."""
    words = "".join(char if char.isprintable() else " " for char in text)
    for pattern, instead in _SECRETS:
        words = pattern.sub(instead, words)
    return words
