"""The vocabulary of conditions, reasons, phases and outcomes. Reasons are one CamelCase word (API conventions)."""

from enum import StrEnum


class Condition(StrEnum):
    """Types of `status.conditions`; each says in its value's name what True means."""

    ACCEPTED = "Accepted"
    SERVING = "Serving"
    CANDIDATE_AVAILABLE = "CandidateAvailable"
    CANDIDATE_VERIFIED = "CandidateVerified"
    PROMOTED = "Promoted"
    ROLLBACK_READY = "RollbackReady"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Cause(StrEnum):
    """Why a Service's selector was moved."""

    ADOPT = "Adopt"
    PROMOTE = "Promote"
    ROLLBACK = "Rollback"
    UNDO = "Undo"
    REPAIR = "Repair"


class Outcome(StrEnum):
    """How a revision's attempt ended, in `status.history`."""

    PROMOTED = "Promoted"
    PROVEN = "Proven"
    FAILED = "Failed"
    ABORTED = "Aborted"
    SUPERSEDED = "Superseded"
    ROLLED_BACK = "RolledBack"
    ADOPTED = "Adopted"
    TAKEN_OVER = "TakenOver"
    SETTINGS_ONLY = "SettingsOnly"
    RESTORED = "Restored"


class Action(StrEnum):
    """What a ReleaseCommand orders."""

    ROLLBACK = "Rollback"
    ABORT = "Abort"
    RETRY = "Retry"
    PAUSE = "Pause"
    RESUME = "Resume"
    OVERRIDE = "Override"
    APPROVE = "Approve"


class Moment(StrEnum):
    """When in the life of a revision something is done or asked for."""

    BEFORE_GREEN = "BeforeGreen"
    BEFORE_SWITCH = "BeforeSwitch"
    AFTER_SWITCH = "AfterSwitch"
    AFTER_ROLLBACK = "AfterRollback"


class Progress(StrEnum):
    """How far the run of a hook is."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class Consent(StrEnum):
    """How far the approvals of one moment are."""

    PENDING = "Pending"
    WAITING = "Waiting"
    APPROVED = "Approved"
    TIMED_OUT = "TimedOut"


class Severity(StrEnum):
    """How much a transition matters to people, least first."""

    INFO = "Info"
    WARNING = "Warning"
    CRITICAL = "Critical"
    """Nothing goes on, or nothing serves, without a person."""


class Role(StrEnum):
    """What a Deployment is to its release, strongest first."""

    LIVE = "live"
    RETAINED = "retained"
    CANDIDATE = "candidate"
    FAILED = "failed"
    LEFTOVER = "leftover"


class Phase(StrEnum):
    """One word for people, derived from the conditions."""

    PENDING = "Pending"
    REJECTED = "Rejected"
    ADOPTING = "Adopting"
    DEPLOYING = "Deploying"
    VERIFYING = "Verifying"
    SWITCHING = "Switching"
    WATCHING = "Watching"
    READY = "Ready"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"
    PAUSED = "Paused"
    FROZEN = "Frozen"
    STALLED = "Stalled"
    DEGRADED = "Degraded"
    """Live and proven, and a Service of it has no ready endpoint."""
