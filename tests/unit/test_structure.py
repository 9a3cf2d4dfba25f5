"""What the folders promise: one writer, one clock, a policy that is pure."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "operator" / "tradingrelease"
WRITES = {"create", "merge", "patch", "delete"}


def calls(file):
    """Yield every call of a file as the dotted name that is called."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def who(matches):
    """Return the files of the operator with a call that matches."""
    found = {file for file in OPERATOR.rglob("*.py") if any(matches(call) for call in calls(file))}
    return {str(file.relative_to(OPERATOR)) for file in found}


def test_operator_is_a_source_root_and_no_package():
    """Else `import operator` finds it instead of the standard library's."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_only_act_and_report_write_to_the_api_server_the_elector_its_lease_and_freezes_their_status():
    def writes(call):
        *owner, verb = call.split(".")
        return verb in WRITES and bool(owner) and owner[-1].lstrip("_") == "api"

    assert who(writes) == {"cluster/act.py", "cluster/freezes.py", "cluster/lease.py", "cluster/report.py"}


def test_only_the_clock_reads_a_clock():
    read = {"datetime.now", "datetime.datetime.now", "datetime.utcnow", "time.time", "time.monotonic"}
    assert who(lambda call: call in read) <= {"clock.py", "logs.py"}


def test_the_policy_waits_for_nothing():
    policy = OPERATOR / "policy"
    asynchronous = [
        file.name
        for file in policy.rglob("*.py")
        if any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(ast.parse(file.read_text())))
    ]
    assert asynchronous == []
