"""Sends one message through Apprise, and ends: a process of its own, for each message.

So nothing that a plugin of Apprise does, or hangs in, concerns the operator; it is killed when its time is up, and
takes no memory while nothing is sent. It alone reads the URL of a target. Standard input: an order as JSON, with `file`
(the target's, of the mounted Secret), `cluster` and `transitions` (as `messages.data` writes them). Standard output:
`sent`, `said` and `retryAfter` (seconds), in words of ours only: those of Apprise may hold the URL.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import requests
from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType, PersistentStoreMode

from tradingrelease.errors import seconds_of
from tradingrelease.policy import messages
from tradingrelease.policy.messages import News
from tradingrelease.policy.reasons import Severity

NICE: Final = 10
"""Releases come first."""
_KIND: Final = {
    Severity.INFO: NotifyType.INFO,
    Severity.WARNING: NotifyType.WARNING,
    Severity.CRITICAL: NotifyType.FAILURE,
}
_STYLES: Final = {NotifyFormat.HTML: "html", NotifyFormat.MARKDOWN: "markdown", NotifyFormat.TEXT: "text"}
"""In the order in which they are chosen, where a service takes several."""
_SHOW_MARKDOWN: Final = frozenset({"Mattermost", "Discord"})
"""Services that show Markdown whatever Apprise says that it sends them."""


class Listener:
    """What receivers answered. Apprise tells only whether all went well, not when to come again."""

    def __init__(self) -> None:
        self.status = 0
        self.retry_after = 0.0
        self._send = requests.Session.send

    def attach(self) -> None:
        """Hear every answer from now on. Every plugin that speaks HTTP does it through requests."""
        listener = self

        def send(self: requests.Session, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401
            response = listener._send(self, request, **kwargs)
            listener.heard(response)
            return response

        requests.Session.send = send  # type: ignore[method-assign]

    def heard(self, response: requests.Response) -> None:
        """Keep the worst answer."""
        self.status = max(self.status, response.status_code)
        if response.status_code >= 400:
            self.retry_after = max(self.retry_after, seconds_of(response.headers.get("Retry-After")))


def main() -> int:
    """Carry out the order on standard input."""
    logging.disable(logging.CRITICAL)  # Apprise tells addresses
    os.nice(NICE)
    listener = Listener()
    listener.attach()
    order = json.load(sys.stdin)
    batch = [messages.from_data(raw) for raw in order["transitions"]]
    said = send(Path(order["file"]), order["cluster"], batch, listener)
    json.dump({"sent": not said, "said": said, "retryAfter": listener.retry_after}, sys.stdout)
    return 0


def send(file: Path, cluster: str, batch: list[News], listener: Listener) -> str:
    """Send a batch to the one URL of a file. Returns "" or why it was not sent."""
    where = f"file {file.name} of the Secret"
    try:
        urls = file.read_text().split()
    except (OSError, ValueError) as error:
        return f"{where} cannot be read ({type(error).__name__})"
    if len(urls) != 1:
        # One that failed of several would be told again with those that did not.
        return f"{where} holds {len(urls)} URLs: write one, and one target for each"
    asset = AppriseAsset(
        app_id="tradingrelease",
        app_desc="tradingrelease",
        storage_mode=PersistentStoreMode.MEMORY,
        http_redirects=False,
    )
    service = Apprise.instantiate(urls[0], asset=asset, suppress_exceptions=True)
    if service is None:
        return f"{where} holds no URL that Apprise understands"
    formats = service.notify_format if isinstance(service.notify_format, tuple) else (service.notify_format,)
    chosen = next((known for known in _STYLES if known in formats), NotifyFormat.TEXT)
    style = "markdown" if service.service_name in _SHOW_MARKDOWN else _STYLES[chosen]
    worst = max((news.what.severity for news in batch), key=list(Severity).index)
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        title=messages.title(cluster, batch),
        body=messages.body(batch, messages.STYLES[style]),
        body_format=chosen,
        notify_type=_KIND[worst],
        interpret_escapes=False,
    )
    if result:
        return ""
    return f"HTTP {listener.status}" if listener.status else "no answer"


if __name__ == "__main__":
    sys.exit(main())
