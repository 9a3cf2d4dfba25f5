"""An open-loop HTTP load generator: what users notice of a release, one record per request.

Requests are sent when they are due, whatever became of those before, and latency counts from that moment: a
server that stalls cannot make the load wait for it and so hide the stall ("coordinated omission").

    record      one request and what became of it; one JSON line
    records     questions about many: what failed, who answered when, was there a mixture
    client      one HTTP/1.1 connection, and a client that keeps connections as a correct one does
    generator   the schedule
    load        runs it as a child process, here or behind `kubectl exec`, and asks while it runs

Standard library only: the same code runs in the example application's image.
"""

from loadgen.load import IncompleteError, Load, Target
from loadgen.record import Record
from loadgen.records import Records

__all__ = ["IncompleteError", "Load", "Record", "Records", "Target"]
