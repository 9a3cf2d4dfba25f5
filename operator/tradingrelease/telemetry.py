"""What Prometheus is told. Names end in their unit; labels are bounded in number."""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

READY_TO_SWITCH = Histogram(
    "tradingrelease_ready_to_switch_seconds",
    "From the event that made a candidate ready to its first Service patched",
    buckets=_FAST,
)
COMMAND_TO_ROLLBACK = Histogram(
    "tradingrelease_command_to_rollback_seconds",
    "From a Rollback order seen to the last Service patched",
    buckets=_FAST,
)
RELEASES = Gauge("tradingrelease_releases", "Releases by phase", ["phase"])
OUTCOMES = Counter("tradingrelease_outcomes_total", "Ended attempts by outcome", ["outcome"])
FREEZE_ACTIVE = Gauge("tradingrelease_freeze_active", "1 while a freeze holds", ["freeze_namespace", "freeze"])
CALENDAR_ENDS = Gauge(
    "tradingrelease_calendar_end_timestamp_seconds",
    "When the calendar of a freeze runs out; 0 where it cannot be read",
    ["freeze_namespace", "freeze", "calendar"],
)
RECONCILES = Histogram("tradingrelease_reconcile_seconds", "One look at one release, with its writes", buckets=_FAST)
ERRORS = Counter(
    "tradingrelease_reconcile_errors_total",
    "Looks that ended in an error, and steps that the API server refused, by kind",
    ["error"],
)
API_CALLS = Counter("tradingrelease_api_calls_total", "Requests to the API server", ["verb", "code"])
DECISIONS = Counter("tradingrelease_decisions_total", "Decisions by rule and step", ["rule", "step"])
QUEUE_DEPTH = Gauge("tradingrelease_queue_depth", "Releases that wait to be looked at")
WATCH_AGE = Gauge("tradingrelease_watch_age_seconds", "Time since a watch last said anything", ["resource"])
LOOP_LAG = Gauge("tradingrelease_loop_lag_seconds", "By how much the event loop is late")
LEADING = Gauge("tradingrelease_leading", "1 while this process holds the lease and works")
CHECKS = Counter("tradingrelease_check_measurements_total", "Measurements of checks by finding", ["kind", "verdict"])
CHECK_VALUE = Gauge(
    "tradingrelease_check_value", "What a check of a release measured last", ["release_namespace", "release", "check"]
)
CHECK_VERDICT = Gauge(
    "tradingrelease_check_verdict",
    "1 for the verdict of a check that judges a release now",
    ["release_namespace", "release", "check", "during", "verdict"],
)
NOTIFICATIONS_SENT = Counter("tradingrelease_notifications_sent_total", "Transitions told, by target", ["target"])
NOTIFICATIONS_FAILED = Counter(
    "tradingrelease_notifications_failed_total", "Attempts to tell a target that failed and are made again", ["target"]
)
NOTIFICATIONS_DROPPED = Counter(
    "tradingrelease_notifications_dropped_total",
    "Transitions that a target is never told of, by cause",
    ["target", "cause"],
)
NOTIFICATIONS_WAITING = Gauge(
    "tradingrelease_notifications_waiting", "Transitions that a target is yet to be told of", ["target"]
)
NOTIFICATIONS_OLDEST = Gauge(
    "tradingrelease_notification_oldest_seconds", "Age of the oldest transition that waits to be told", ["target"]
)
PROBES = Counter("tradingrelease_probes_total", "Health probes by verdict", ["verdict"])


def check_value(namespace: str, release: str, check: str, value: float | None) -> None:
    """Tell what a check measured last; nothing where it measured no number."""
    if value is not None:
        CHECK_VALUE.labels(namespace, release, check).set(value)
