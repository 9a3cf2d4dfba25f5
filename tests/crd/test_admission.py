"""Who it was is written by the API server, and cannot be forged: with real users, through real admission."""

import os

import pytest
import yaml

from devcluster.cluster import ControlPlane
from devcluster.crds import wait_until_established
from tests.crd.conftest import CRDS, ROOT, Server
from tests.inputs.mutate import put
from tests.waiting import eventually

pytestmark = pytest.mark.apiserver

ADMISSION = ROOT / "manifests" / "admission"
BY, FOR, STAMPED = "tradingplatform.io/applied-by", "tradingplatform.io/on-behalf-of", "tradingplatform.io/applied-for"
AT_BY = "metadata/annotations/tradingplatform.io~1applied-by"


def started(name, part):
    """Start an API server of its own with the CRDs and one part of the policies."""
    with ControlPlane.start(f"hok-{name}-{os.getpid()}", controller_manager=False) as plane:
        server = Server(plane)
        for crd in CRDS:
            server.kubectl("apply", "--server-side", "-f", str(crd))
        wait_until_established(server.kubectl)
        server.kubectl("apply", "--server-side", "--validate=strict", "-k", str(part))
        server.kubectl("create", "clusterrolebinding", "everybody", "--clusterrole=cluster-admin", "--group=people")
        in_force(server)
        yield server


def in_force(server):
    """Wait until all policies work: the API server takes a moment to load each, and to serve the new kinds."""
    minimal = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())
    forged = [order(issuedBy="somebody-else"), named(minimal, "probe", **{BY: "somebody-else"})]
    asked = ["create", "--dry-run=server", "-o", "json", "-f", "-", "--as=anna", "--as-group=people"]
    answers = []

    def work():
        answers[:] = [server.run(*asked, manifest=body) for body in forged]
        stamped = all(a.returncode == 0 and "somebody-else" not in a.stdout for a in answers)
        return stamped or all("names somebody else" in a.stderr for a in answers)

    eventually(work, lambda: [a.stdout + a.stderr for a in answers])


@pytest.fixture(scope="module")
def stamping():
    """Give the server of today: it stamps."""
    yield from started("stamps", ADMISSION)


@pytest.fixture(scope="module")
def refusing():
    """Give an older server: it only refuses."""
    yield from started("refuses", ADMISSION / "validating")


def order(**spec):
    body = {"release": "trading-platform", "action": "Approve", "revision": "k3v9d0q1zm", "attempt": 1}
    meta = {"generateName": "approve-", "namespace": "default"}
    return {
        "apiVersion": "tradingplatform.io/v1alpha1",
        "kind": "ReleaseCommand",
        "metadata": meta,
        "spec": body | spec,
    }


def named(release, name, **annotations):
    written = {"name": name, "namespace": "default"} | ({"annotations": annotations} if annotations else {})
    return release | {"metadata": written}


def by(server, who, *arguments, manifest=None):
    return server.read(*arguments, f"--as={who}", "--as-group=people", manifest=manifest)


def refused(server, who, *arguments, manifest=None):
    answer = server.run(*arguments, f"--as={who}", "--as-group=people", manifest=manifest)
    assert answer.returncode != 0, "it was taken"
    return answer.stderr


def annotations(body):
    return body["metadata"].get("annotations") or {}


def test_the_issuer_of_an_order_is_who_gave_it(stamping):
    assert by(stamping, "anna", "create", "-f", "-", manifest=order())["spec"]["issuedBy"] == "anna"
    assert by(stamping, "anna", "create", "-f", "-", manifest=order(issuedBy="bob"))["spec"]["issuedBy"] == "anna"


def test_a_service_account_is_named_whole(stamping):
    who = "system:serviceaccount:ci:deployer"
    assert by(stamping, who, "create", "-f", "-", manifest=order(onBehalfOf="anna"))["spec"]["issuedBy"] == who


def test_the_author_of_a_release_is_who_created_it(stamping, release):
    for name, claims in (("plain", {}), ("forged", {BY: "bob"})):
        assert (
            annotations(by(stamping, "anna", "create", "-f", "-", manifest=named(release, name, **claims)))[BY]
            == "anna"
        )


def test_the_author_changes_with_the_spec_and_with_nothing_else(stamping, release):
    by(stamping, "anna", "create", "-f", "-", manifest=named(release, "changes"))
    touched = ["tr", "changes", "-n", "default"]
    assert annotations(by(stamping, "bob", "annotate", *touched, "team=sre"))[BY] == "anna"
    assert annotations(by(stamping, "bob", "annotate", *touched, f"{BY}=carol", "--overwrite"))[BY] == "anna"
    assert annotations(by(stamping, "bob", "annotate", *touched, f"{BY}-"))[BY] == "anna"
    patch = ["--type=merge", "-p", '{"spec": {"version": "2.4.1"}}']
    assert annotations(by(stamping, "bob", "patch", *touched, *patch))[BY] == "bob"
    forged = [
        "--type=merge",
        "-p",
        '{"metadata": {"annotations": {"' + BY + '": "anna"}}, "spec": {"version": "2.4.2"}}',
    ]
    assert annotations(by(stamping, "bob", "patch", *touched, *forged))[BY] == "bob"
    gone = ["--type=json", "-p", '[{"op": "remove", "path": "/metadata/annotations"}]']
    assert annotations(by(stamping, "carol", "patch", *touched, *gone))[BY] == "bob"


def test_a_server_side_apply_by_force_is_stamped_too(stamping, release):
    apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"]
    by(stamping, "anna", *apply, manifest=named(release, "applied"))
    forged = put(named(release, "applied", **{BY: "anna"}), {"spec/version": "2.5.0"})
    assert annotations(by(stamping, "gitops", *apply, "--field-manager=gitops", manifest=forged))[BY] == "gitops"


def test_on_whose_behalf_is_said_together_with_the_spec_or_not_at_all(stamping, release):
    stored = by(stamping, "ci", "create", "-f", "-", manifest=named(release, "behalf", **{FOR: "anna"}))
    assert annotations(stored) == {BY: "ci", STAMPED: "anna"}
    for change in (f"{FOR}=bob", f"{FOR}-", f"{STAMPED}=bob", f"{STAMPED}-"):
        touched = by(stamping, "anna", "annotate", "tr", "behalf", "-n", "default", change, "--overwrite")
        assert annotations(touched) == {BY: "ci", STAMPED: "anna"}, change
    gone = ["--type=json", "-p", '[{"op": "remove", "path": "/metadata/annotations"}]']
    assert annotations(by(stamping, "anna", "patch", "tr", "behalf", "-n", "default", *gone)) == {
        BY: "ci",
        STAMPED: "anna",
    }


@pytest.mark.parametrize(
    "how", [["apply"], ["apply", "--server-side", "--field-manager=ci"]], ids=["by kubectl", "by the server"]
)
def test_a_manifest_that_says_on_whose_behalf_says_it_each_time(stamping, release, how):
    """The same words with another spec are said again: whoever applies whole manifests loses nothing."""
    name = f"manifest-{len(how)}"
    body = named(release, name, **{FOR: "anna"})
    for version in ("2.4.0", "2.4.1", "2.4.1", "2.4.2"):
        stored = by(stamping, "ci", *how, "-f", "-", manifest=put(body, {"spec/version": version}))
        kept = {k: v for k, v in annotations(stored).items() if k.startswith("tradingplatform.io")}
        assert kept == {BY: "ci", STAMPED: "anna"}, version


def test_who_changes_the_spec_without_saying_for_whom_does_it_for_nobody(stamping, release):
    by(stamping, "ci", "create", "-f", "-", manifest=named(release, "silent", **{FOR: "anna"}))
    patch = ["patch", "tr", "silent", "-n", "default", "--type=merge", "-p"]
    assert annotations(by(stamping, "ci", *patch, '{"spec": {"version": "2.4.1"}}')) == {BY: "ci"}
    said = '{"metadata": {"annotations": {"' + FOR + '": "anna"}}, "spec": {"version": "2.4.2"}}'
    assert annotations(by(stamping, "ci", *patch, said)) == {BY: "ci", STAMPED: "anna"}
    forged = '{"metadata": {"annotations": {"' + STAMPED + '": "bob"}}, "spec": {"version": "2.4.3"}}'
    assert annotations(by(stamping, "ci", *patch, forged)) == {BY: "ci"}


def test_what_an_installation_before_this_one_has_stored_is_not_taken_for_said_again(stamping, release):
    """It may have stayed. It is moved by the first write, and counts again where it is said once more."""

    def tried():
        create = ["create", "--dry-run=server", "-f", "-"]
        return annotations(by(stamping, "ci", *create, manifest=named(release, "tried", **{FOR: "anna"})))

    stamping.kubectl("delete", "mutatingadmissionpolicybinding/tradingrelease-behalf")
    eventually(lambda: FOR in tried())
    by(stamping, "ci", "create", "-f", "-", manifest=named(release, "old", **{FOR: "anna"}))
    stamping.kubectl("apply", "--server-side", "-k", str(ADMISSION))
    eventually(lambda: FOR not in tried())
    touch = ["annotate", "tr", "old", "-n", "default", "team=sre", "--dry-run=server"]
    assert annotations(by(stamping, "bob", *touch)) == {BY: "ci", STAMPED: "anna", "team": "sre"}
    patch = ["patch", "tr", "old", "-n", "default", "--type=merge", "-p"]
    assert annotations(by(stamping, "ci", *patch, '{"spec": {"version": "2.4.1"}}')) == {BY: "ci"}


def test_a_status_write_is_no_change_of_the_author(stamping, release):
    by(stamping, "anna", "create", "-f", "-", manifest=named(release, "status"))
    status = [
        "patch",
        "tr",
        "status",
        "-n",
        "default",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status": {"phase": "Ready"}}',
    ]
    assert annotations(by(stamping, "operator", *status)) == {BY: "anna"}


def test_an_older_server_refuses_whoever_names_somebody_else(refusing, release):
    assert "names somebody else" in refused(refusing, "anna", "create", "-f", "-", manifest=order(issuedBy="bob"))
    assert "names somebody else" in refused(
        refusing, "anna", "create", "-f", "-", manifest=named(release, "forged", **{BY: "bob"})
    )
    assert by(refusing, "anna", "create", "-f", "-", manifest=order(issuedBy="anna"))["spec"]["issuedBy"] == "anna"
    assert "issuedBy" not in by(refusing, "anna", "create", "-f", "-", manifest=order())["spec"]


def test_an_older_server_refuses_a_new_author_without_a_new_spec(refusing, release):
    by(refusing, "anna", "create", "-f", "-", manifest=named(release, "kept", **{BY: "anna"}))
    touched = ["tr", "kept", "-n", "default"]
    for change in (f"{BY}=bob", f"{BY}-", f"{FOR}=bob", f"{STAMPED}=bob"):
        assert "changes only together with the spec" in refused(
            refusing, "bob", "annotate", *touched, change, "--overwrite"
        )
    stale = ["--type=merge", "-p", '{"spec": {"version": "2.4.1"}}']
    assert "names somebody else" in refused(refusing, "bob", "patch", *touched, *stale), (
        "the old author is not the new one"
    )


def test_every_policy_is_bound_and_fails_closed():
    files = [ADMISSION / "mutating.yaml", ADMISSION / "validating" / "validating.yaml"]
    for file in files:
        found = [body for body in yaml.safe_load_all(file.read_text()) if body]
        policies = {b["metadata"]["name"]: b for b in found if b["kind"].endswith("Policy")}
        assert {b["spec"]["policyName"] for b in found if b["kind"].endswith("Binding")} == set(policies)
        assert {p["spec"]["failurePolicy"] for p in policies.values()} == {"Fail"}
