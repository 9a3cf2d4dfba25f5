"""`tradingrelease wait` against a real API server; what the operator would write is written by the tests."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from tradingrelease.policy.spec import parse

from tests.relay import Mode
from tests.wait.conftest import ROOT
from tests.waiting import eventually

NOON = "2030-01-01T12:00:00Z"
NAME = "trading-platform"
JOB = {"template": {"spec": {"containers": [{"name": "migrate", "image": "x"}]}}}
HOOKED = {"hooks": [{"name": "migrate", "at": "BeforeGreen", "job": JOB}]}


@pytest.fixture
def manifest():
    return yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())


@pytest.fixture
def revision(manifest):
    """Return the revision as the operator computes it from what its author wrote."""
    return parse(manifest["spec"], NAME).revision


@pytest.fixture
def written(manifest, tmp_path):
    """Write the manifest, changed by what is given, to a file."""

    def write(spec=None, metadata=None):
        changed = manifest | {
            "spec": manifest["spec"] | (spec or {}), "metadata": manifest["metadata"] | (metadata or {}),
        }  # fmt: skip
        file = tmp_path / "release.yaml"
        file.write_text(yaml.safe_dump(changed))
        return file

    return write


@pytest.fixture
def say(server, namespace):
    """Write a status about the newest generation, or about one that is so much older."""

    def write(phase, reason, message="words", *, ready="False", stalled="False", accepted="True", older=0, **more):
        stored = server.read("get", "tr", NAME, "-n", namespace)
        generation = stored["metadata"]["generation"] - older
        about = {"lastTransitionTime": NOON, "observedGeneration": generation}
        conditions = [
            {"type": "Accepted", "status": accepted, "reason": reason, "message": message, **about},
            {"type": "Ready", "status": ready, "reason": reason, "message": message, **about},
            {"type": "Stalled", "status": stalled, "reason": reason, "message": message, **about},
        ]
        status = {"observedGeneration": generation, "phase": phase, "conditions": conditions, **more}
        path = f"/apis/tradingplatform.io/v1alpha1/namespaces/{namespace}/tradingreleases/{NAME}/status"
        server.kubectl("replace", "--raw", path, "-f", "-", manifest=stored | {"status": status})

    return write


def live(revision, **more):
    return {"revision": revision, "version": "2.4.0", "since": NOON, "watchSince": NOON, "components": [], **more}


def test_what_is_applied_goes_live_and_is_proven(wait, written, namespace, say, revision, tmp_path, server):
    summary = tmp_path / "summary.md"
    waiting = wait("--file", str(written()), "-n", namespace, GITHUB_STEP_SUMMARY=str(summary))
    waiting.until("Unseen: the operator has not looked at generation 1 yet")
    say("Verifying", "HealthPending", "health passed on 0 of 3 pods")
    waiting.until("Verifying   HealthPending: health passed on 0 of 3 pods")
    say("Watching", "Watching", live=live(revision))
    waiting.until("Watching")
    say("Ready", "Proven", "version 2.4.0 is live and proven", ready="True", live=live(revision, provenAt=NOON))
    code, told, errors = waiting.end()

    assert (code, errors) == (0, "")
    assert told.startswith(f"TradingRelease {namespace}/{NAME}, version 2.4.0 ({revision})")
    assert told.endswith("tradingrelease: live and proven: Proven: version 2.4.0 is live and proven")
    page = summary.read_text()
    assert page.startswith(f"### {namespace}/{NAME}, version 2.4.0 ({revision}): live and proven\n")
    assert [row.split(" | ")[2] for row in page.splitlines() if row.startswith("| 0:")] == [
        "Unseen", "HealthPending", "Watching", "Proven",
    ]  # fmt: skip
    managers = server.read("get", "tr", NAME, "-n", namespace, "--show-managed-fields")["metadata"]["managedFields"]
    assert {"manager": "tradingrelease-wait", "operation": "Apply"}.items() <= managers[0].items()


def test_a_status_that_is_older_than_the_spec_is_not_believed(wait, written, namespace, say, revision, server):
    """The classic race: kubectl wait sees the True of the release before."""
    server.kubectl("apply", "-n", namespace, "-f", str(written()))
    say("Ready", "Proven", ready="True", live=live(revision, provenAt=NOON))
    waiting = wait("--file", str(written({"version": "2.5.0"})), "-n", namespace, "--force-conflicts")
    waiting.until("Unseen: the operator has not looked at generation 2 yet")
    say("Ready", "Proven", ready="True", older=1, live=live(revision, provenAt=NOON), act=2)
    say("Ready", "Proven", ready="True", live=live(revision, provenAt=NOON))
    waiting.until("OtherRevision")
    newer = parse(yaml.safe_load(written({"version": "2.5.0"}).read_text())["spec"], NAME).revision
    say("Ready", "Proven", ready="True", live=live(newer, provenAt=NOON))
    code, told, _ = waiting.end()
    assert code == 0
    assert [line.split()[2] for line in told.splitlines()[1:-1]] == ["Unseen:", "OtherRevision:", "Proven:"]


def test_a_rollback_is_exit_1_with_its_reason(wait, written, namespace, say, revision):
    waiting = wait("--file", str(written()), "-n", namespace)
    waiting.until("Unseen")
    latch = {
        "revision": revision,
        "version": "2.4.0",
        "reason": "HealthFailed",
        "message": "503",
        "at": NOON,
        "components": [],
    }
    say("RolledBack", "HealthFailed", "not tried again: 503", stalled="True", latched=[latch])
    code, _, errors = waiting.end()
    assert (code, errors) == (1, "tradingrelease: failed: HealthFailed: not tried again: 503\n")

    again = wait("--file", str(written()), "-n", namespace).end()
    assert again[0] == 1, "the same spec again does nothing, and says so at once"


def test_what_the_operator_refuses_is_exit_2_with_its_advice(wait, written, namespace, say):
    waiting = wait("--file", str(written()), "-n", namespace)
    waiting.until("Unseen")
    say("Rejected", "UnlistedService", "add it to services", accepted="False", stalled="True")
    code, _, errors = waiting.end()
    assert (code, errors) == (2, "tradingrelease: refused: UnlistedService: add it to services\n")


@pytest.mark.parametrize(
    ("spec", "words"),
    [({"colour": "green"}, "field not declared in schema"), ({"version": ""}, "spec.version")],
)  # fmt: skip
def test_what_the_api_server_refuses_is_exit_2_with_its_words(wait, written, namespace, server, spec, words):
    code, _, errors = wait("--file", str(written(spec)), "-n", namespace).end()
    assert code == 2
    assert words in errors
    assert server.read("get", "tr", "-n", namespace)["items"] == []


def test_time_runs_out_with_the_last_word(wait, written, namespace, tmp_path):
    summary = tmp_path / "summary.md"
    waiting = wait("--file", str(written()), "-n", namespace, "--timeout", "2s", GITHUB_STEP_SUMMARY=str(summary))
    code, _, errors = waiting.end()
    assert code == 3
    assert errors.startswith("tradingrelease: timeout: Timeout: not live and proven after 2s; the release goes on; ")
    assert errors.endswith("last: Unseen: the operator has not looked at generation 1 yet\n")
    assert summary.read_text().startswith(f"### {namespace}/{NAME}, version 2.4.0")


def test_who_replaces_the_spec_ends_the_waiting_for_it(wait, written, namespace, server):
    waiting = wait("--file", str(written()), "-n", namespace)
    waiting.until("Unseen")
    server.kubectl("patch", "tr", NAME, "-n", namespace, "--type=merge", "-p", '{"spec": {"version": "3"}}')
    code, _, errors = waiting.end()
    assert code == 1
    assert "Superseded: version 2.4.0 was replaced by another spec (version 3)" in errors


def test_a_size_written_by_an_autoscaler_does_not(wait, written, namespace, server, say, revision):
    waiting = wait("--file", str(written()), "-n", namespace)
    waiting.until("generation 1")
    resize = '[{"op": "add", "path": "/spec/components/0/replicas", "value": 4}]'
    server.kubectl("patch", "tr", NAME, "-n", namespace, "--type=json", "-p", resize)
    waiting.until("generation 2")
    say("Ready", "Proven", ready="True", live=live(revision, provenAt=NOON))
    assert waiting.end()[0] == 0


def test_a_release_deleted_meanwhile_has_failed(wait, written, namespace, server):
    waiting = wait("--file", str(written()), "-n", namespace)
    waiting.until("Unseen")
    server.kubectl("delete", "tr", NAME, "-n", namespace)
    code, _, errors = waiting.end()
    assert (code, errors) == (1, f"tradingrelease: failed: Deleted: TradingRelease {NAME} was deleted meanwhile\n")


def test_without_a_file_nothing_is_applied(wait, written, namespace, server, say, revision):
    code, _, errors = wait(NAME, "-n", namespace).end()
    assert (code, errors) == (
        2, f"tradingrelease: refused: Refused: there is no TradingRelease {NAME} in namespace {namespace}: give --file to apply\n",
    )  # fmt: skip
    server.kubectl("apply", "-n", namespace, "-f", str(written()))
    before = server.read("get", "tr", NAME, "-n", namespace)["metadata"]["resourceVersion"]
    waiting = wait(NAME, "-n", namespace)
    waiting.until("Unseen")
    assert server.read("get", "tr", NAME, "-n", namespace)["metadata"]["resourceVersion"] == before
    say("Ready", "Proven", ready="True", live=live(revision, provenAt=NOON))
    assert waiting.end()[0] == 0


def test_fields_of_another_manager_are_not_taken_unasked(wait, written, namespace, server):
    server.kubectl("apply", "--server-side", "--field-manager=jane", "-n", namespace, "-f", str(written()))
    changed = str(written({"version": "9"}))
    code, _, errors = wait("--file", changed, "-n", namespace).end()
    assert code == 2
    assert 'conflict with "jane": .spec.version: --force-conflicts takes these fields over' in errors
    assert wait("--file", changed, "-n", namespace, "--force-conflicts", "--timeout", "1s").end()[0] == 3
    assert server.read("get", "tr", NAME, "-n", namespace)["spec"]["version"] == "9"


def test_a_connection_that_breaks_costs_no_news(wait, written, namespace, say, revision, relayed):
    relay, kubeconfig = relayed
    waiting = wait("--file", str(written()), "-n", namespace, kubeconfig=kubeconfig)
    waiting.until("Unseen")
    relay.set(Mode.REFUSING)
    waiting.until("Unreachable")
    say("Ready", "Proven", ready="True", live=live(revision, provenAt=NOON))
    relay.set(Mode.OPEN)
    assert waiting.end()[0] == 0


def test_no_more_rights_are_needed_than_the_docs_say(wait, written, namespace, server, plane, tmp_path):
    rules = yaml.safe_load((ROOT / "docs" / "gitops" / "deployer.yaml").read_text())["rules"]
    own = [rule for rule in rules if rule["apiGroups"] == ["tradingplatform.io"]]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "ci"}, "rules": own}
    server.create(namespace, role)
    server.kubectl("create", "serviceaccount", "ci", "-n", namespace)
    server.kubectl("create", "rolebinding", "ci", "--role=ci", f"--serviceaccount={namespace}:ci", "-n", namespace)
    user = f"--as=system:serviceaccount:{namespace}:ci"
    asked = ("create", "--dry-run=server", "-n", namespace, user, "-f", str(written(HOOKED)))
    server.kubectl("apply", "--server-side", "-f", str(ROOT / "manifests" / "admission.yaml"))
    eventually(lambda: "only who may create deployments.apps" in server.run(*asked).stderr)
    server.kubectl("replace", "-n", namespace, "-f", "-", manifest=role | {"rules": rules})
    eventually(lambda: server.run(*asked).returncode == 0, lambda: server.run(*asked).stderr)
    token = server.kubectl("create", "token", "ci", "-n", namespace).strip()
    settings = yaml.safe_load(plane.kubeconfig.read_text())
    settings["users"][0]["user"] = {"token": token}
    settings["contexts"][0]["context"]["namespace"] = namespace
    file = tmp_path / "ci.kubeconfig"
    file.write_text(json.dumps(settings))

    waiting = wait("--file", str(written(HOOKED)), "--timeout", "3s", "--kubeconfig", str(file))
    code, told, errors = waiting.end()
    assert code == 3, f"it has applied and watched: {errors}"
    assert told.startswith(f"TradingRelease {namespace}/{NAME}"), "the namespace is that of the context"
    elsewhere = wait("--file", str(written()), "-n", "default", "--kubeconfig", str(file)).end()
    assert elsewhere[0] == 2
    assert "is forbidden" in elsewhere[2]


def test_words_of_a_container_command_nothing_in_log_and_summary(wait, written, namespace, say, tmp_path):
    """A pod says what it likes, and its words reach the pipeline's log: they are words there."""
    summary = tmp_path / "summary.md"
    waiting = wait("--file", str(written()), "-n", namespace, GITHUB_STEP_SUMMARY=str(summary))
    waiting.until("Unseen")
    evil = "::x\n::add-mask::a\r\n\x1b[31mred ##[add-path]/tmp | <img src=x> [l](http://e) @all \u202e"
    say("Verifying", "HealthFailing", evil)
    waiting.until("HealthFailing")
    say("Rejected", "InvalidSpec", evil, accepted="False")
    code, told, errors = waiting.end()
    assert (code, "InvalidSpec" in errors) == (2, True)
    lines = [line for line in told.splitlines() if "HealthFailing" in line]
    assert len(lines) == 1, "one line stays one line"
    for text in (told, errors):
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
        assert "##[" not in text
        assert all(letter == "\n" or letter.isprintable() for letter in text)
    row = next(row for row in summary.read_text().splitlines() if row.startswith("| 0:") and "HealthFailing" in row)
    assert row.count("|") == 5, "four cells"
    assert not set("<>[]@") & set(row)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--timeout", "soon", "x"], "'soon' is no duration: write a number and a unit"),
        ([], "which release? Write its name, or --file and its manifest"),
        (["x", "--kubeconfig", "/nowhere"], "no usable kubeconfig"),
        (["x", "--context", "nobody"], "no usable kubeconfig"),
        (["--file", "/nowhere"], "/nowhere cannot be read"),
        (["--file", str(ROOT / "examples" / "freezes.yaml")], "give a file with one TradingRelease"),
        (["other", "--file", str(ROOT / "examples" / "minimal.yaml")], "is release 'trading-platform', not 'other'"),
    ],
)
def test_a_mistake_is_refused_and_named(wait, arguments, advice):
    code, told, errors = wait(*arguments).end()
    assert (code, told) == (2, "")
    assert advice in errors


def test_a_namespace_that_contradicts_the_file_is_refused(wait, written, namespace):
    file = written(metadata={"namespace": "production"})
    code, _, errors = wait("--file", str(file), "-n", namespace).end()
    assert code == 2
    assert f"the file is for namespace 'production', not {namespace!r}" in errors


def test_the_deploy_action_ends_as_wait_does_and_says_so_in_its_output(written, namespace, plane, tmp_path):
    """What action.yml runs, with the inputs as it passes them."""
    output = tmp_path / "output"
    environment = {
        "PATH": os.environ["PATH"], "KUBECONFIG": str(plane.kubeconfig), "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(output), "FILE": str(written()), "NAME": "", "NAMESPACE": namespace, "SPAN": "2s",
        "CONFIG": "", "FORCE": "false", "PYTHON": sys.executable,
    }  # fmt: skip
    # Packages come from outside the network of the control plane: it has none. They are those of this environment.
    environment["DEPENDENCIES"] = next(path for path in sys.path if path.endswith("site-packages"))
    answer = subprocess.run([ROOT / "tools" / "deploy"], env=environment, capture_output=True, text=True, check=False)
    assert (answer.returncode, output.read_text()) == (3, "result=timeout\n"), answer.stderr
    assert "Unseen" in answer.stdout

    environment |= {"FILE": "", "NAME": "--help"}
    answer = subprocess.run([ROOT / "tools" / "deploy"], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 2, "a name is no option"
    assert output.read_text().endswith("result=refused\n")
