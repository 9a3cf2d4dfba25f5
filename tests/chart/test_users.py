"""Who may order what: real users, the real authorizer, the chart's own roles and policies."""

import pytest
import yaml

from tests.chart.helm import ROOT
from tests.waiting import eventually

OPERATOR = "system:serviceaccount:tradingrelease-system:tradingrelease-operator"
TEAM = {
    "viewer": "tradingrelease-viewer", "deployer": "tradingrelease-deployer",
    "oncall": "tradingrelease-operator-oncall", "approver": "tradingrelease-approver",
    "view": "view", "edit": "edit", "admin": "admin",
}  # fmt: skip
STEERING = {"Rollback", "Abort", "Retry", "Pause", "Resume"}
GATES = {"Approve", "Override"}
MAY_ORDER = {
    "viewer": set(), "deployer": set(), "oncall": STEERING, "approver": GATES,
    "view": set(), "edit": STEERING, "admin": STEERING | GATES,
}  # fmt: skip


class Namespace:
    """A namespace of the team's, and what people do in it."""

    def __init__(self, server):
        self.server = server
        self.name = server.new_namespace()

    def let(self, user, role, kind="clusterrole"):
        """Bind a user to a role here."""
        self.server.kubectl("create", "rolebinding", user, f"--{kind}={role}", f"--user={user}", "-n", self.name)

    def let_do(self, user, *rules):
        """Give a user exactly these rights here."""
        body = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": user},
            "rules": [
                {"apiGroups": [group], "resources": [resource], "verbs": verbs, "resourceNames": names}
                for group, resource, verbs, names in rules
            ],
        }
        self.server.create(self.name, body)
        self.let(user, user, kind="role")
        group, resource, (verb, *_), names = rules[-1]
        target = f"{resource}.{group}/{names[0]}" if names else f"{resource}.{group}"
        eventually(lambda: self.may(user, verb, target))

    def may(self, user, verb, what, *more):
        """Ask the authorizer."""
        answer = self.server.run("auth", "can-i", verb, what, *more, f"--as={user}", "-n", self.name)
        return answer.stdout.strip() == "yes"

    def does(self, user, command, *arguments, manifest=None):
        """Do something as a user; return what the server answers."""
        given = ["-f", "-"] if manifest else []
        answer = self.server.run(
            command, *arguments, *given, "-n", self.name, f"--as={user}", "-o", "name", manifest=manifest
        )
        return "done" if answer.returncode == 0 else answer.stderr

    def orders(self, user, action, release="shop"):
        """Order something; the order is not kept."""
        body = {
            "apiVersion": "tradingplatform.io/v1alpha1", "kind": "ReleaseCommand", "metadata": {"generateName": "order-"},
            "spec": {"release": release, "action": action, "revision": "k3v9d0q1zm", "attempt": 0, "freeze": "close", "reason": "the fix"},
        }  # fmt: skip
        return self.does(user, "create", "--dry-run=server", manifest=body)


@pytest.fixture(scope="module")
def installed(server):
    """Install everything as `kubectl apply -k manifests` does, and wait until both policies are in force."""
    server.kubectl("apply", "--server-side", "--validate=strict", "-k", "manifests")
    server.settle()
    clerk = Namespace(server)
    clerk.let_do(
        "clerk",
        ("tradingplatform.io", "tradingreleases", ["create"], []),
        ("tradingplatform.io", "releasecommands", ["create"], []),
    )
    eventually(lambda: "you may not order" in clerk.orders("clerk", "Approve"))
    eventually(lambda: "only who may create" in clerk.does("clerk", "create", "--dry-run=server", manifest=release()))
    return server


def release():
    return yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())


@pytest.fixture(scope="module")
def team(installed):
    """Bind one person to each role, in one namespace."""
    team = Namespace(installed)
    for person, role in TEAM.items():
        team.let(person, role)
    for person in TEAM:
        eventually(lambda person=person: team.may(person, "list", "tradingreleases.tradingplatform.io"))
    return team


@pytest.mark.parametrize("person", TEAM)
def test_a_person_may_order_what_the_role_says_and_nothing_else(team, person):
    may = {action for action in sorted(STEERING | GATES) if team.orders(person, action) == "done"}

    assert may == MAY_ORDER[person]


def test_a_refused_order_names_the_verb_that_is_missing(team):
    told = team.orders("oncall", "Approve")

    assert (
        f"you may not order Approve: it needs the verb approve on tradingreleases/shop in namespace {team.name}" in told
    )
    assert "tradingrelease-approver" in told


def test_who_may_create_orders_may_not_thereby_order_anything(installed):
    """Without the policy this is what RBAC alone would let through."""
    place = Namespace(installed)
    place.let_do("temp", ("tradingplatform.io", "releasecommands", ["create"], []))

    told = {action: place.orders("temp", action) for action in STEERING | GATES}

    assert [action for action, answer in told.items() if "you may not order" not in answer] == []


def test_a_right_for_one_release_is_none_for_another(installed):
    place = Namespace(installed)
    place.let_do(
        "keeper",
        ("tradingplatform.io", "releasecommands", ["create"], []),
        ("tradingplatform.io", "tradingreleases", ["rollback"], ["shop"]),
    )

    assert place.orders("keeper", "Rollback", "shop") == "done"
    assert "tradingreleases/payments" in place.orders("keeper", "Rollback", "payments")
    assert "the verb pause" in place.orders("keeper", "Pause", "shop")


def test_a_right_in_one_namespace_is_none_in_another(team, installed):
    elsewhere = Namespace(installed)
    elsewhere.let_do("oncall", ("tradingplatform.io", "releasecommands", ["create"], []))

    assert f"in namespace {elsewhere.name}" in elsewhere.orders("oncall", "Rollback")


def test_an_order_may_be_labelled_by_who_could_not_have_given_it(installed):
    """Backups and policy engines mark objects: no order comes of it."""
    place = Namespace(installed)
    place.let_do("marker", ("tradingplatform.io", "releasecommands", ["get", "patch"], []))
    order = {
        "apiVersion": "tradingplatform.io/v1alpha1", "kind": "ReleaseCommand", "metadata": {"name": "hold"},
        "spec": {"release": "shop", "action": "Pause"},
    }  # fmt: skip
    installed.create(place.name, order)

    assert place.does("marker", "label", "releasecommand", "hold", "seen=true") == "done"
    changed = place.does("marker", "patch", "releasecommand", "hold", "--type=merge", '-p={"spec":{"action":"Resume"}}')
    assert changed != "done"


@pytest.mark.parametrize("person", TEAM)
def test_only_the_operator_writes_a_status_and_nobody_changes_or_deletes_an_order(team, person):
    forged = [
        what
        for what in (
            "patch tradingreleases.tradingplatform.io --subresource=status",
            "update tradingreleases.tradingplatform.io --subresource=status",
            "patch releasecommands.tradingplatform.io --subresource=status",
            "patch releasecommands.tradingplatform.io",
            "update releasecommands.tradingplatform.io",
            "delete releasecommands.tradingplatform.io",
        )
        if team.may(person, *what.split())
    ]

    assert forged == []


def test_only_a_deployer_writes_releases(team):
    """Who approves or goes back cannot make what is approved."""
    writers = {
        person for person in TEAM if team.does(person, "create", "--dry-run=server", manifest=release()) == "done"
    }

    assert writers == {"deployer", "edit", "admin"}


def test_everybody_of_the_team_sees_releases_and_orders(team):
    kinds = ("tradingreleases", "releasecommands", "releasefreezes")

    assert [p for p in TEAM for kind in kinds if team.does(p, "get", kind) != "done"] == []


def test_who_deploys_declares_and_lifts_no_freeze_by_its_object(team):
    """A freeze that a deployer may delete would not hold him."""
    team.let("freezer", "tradingrelease-freezer")
    eventually(lambda: team.may("freezer", "create", "releasefreezes.tradingplatform.io"))
    verbs = ("create", "update", "patch", "delete")
    writers = {
        person
        for person in [*TEAM, "freezer"]
        for verb in verbs
        if team.may(person, verb, "releasefreezes.tradingplatform.io")
    }

    assert writers == {"freezer", "admin"}
    assert not team.may("freezer", "create", "tradingreleases.tradingplatform.io")


def test_a_release_needs_the_right_to_create_deployments(installed):
    """Else the operator would lend its own rights to whoever has none."""
    place = Namespace(installed)
    place.let_do("sly", ("tradingplatform.io", "tradingreleases", ["create", "get", "patch"], []))
    installed.create(place.name, release())
    spec = '-p={"spec":{"version":"2.4.1"}}'

    assert "only who may create deployments.apps" in place.does("sly", "create", "--dry-run=server", manifest=release())
    assert "only who may create" in place.does(
        "sly", "patch", "tradingrelease", "trading-platform", "--type=merge", spec
    )
    assert place.does("sly", "annotate", "tradingrelease", "trading-platform", "seen=true") == "done"


def test_a_hook_needs_the_right_to_create_jobs(installed, team):
    """A Job runs with the rights of its ServiceAccount: the operator makes none for whoever could not."""
    place = Namespace(installed)
    place.let_do(
        "sly", ("apps", "deployments", ["create"], []), ("tradingplatform.io", "tradingreleases", ["create"], [])
    )
    bare = release()
    template = {"spec": {"containers": [{"name": "migrate", "image": "x"}]}}
    job = {"name": "migrate", "at": "BeforeGreen", "job": {"template": template}}
    call = {"name": "smoke", "at": "BeforeSwitch", "webhook": {"url": "https://hooks.example.com/smoke"}}

    def asked(user, where, *hooks):
        body = bare | {"spec": bare["spec"] | {"hooks": list(hooks)}}
        return where.does(user, "create", "--dry-run=server", manifest=body)

    assert "only who may create jobs.batch" in asked("sly", place, call, job)
    assert asked("sly", place, call) == "done"
    assert asked("deployer", team, call, job) == "done"


def test_the_operator_needs_no_right_to_report(installed):
    """Its status writes pass both policies, though it may not write a release."""
    place = Namespace(installed)
    installed.create(place.name, release())
    # kubectl reads before it patches; the operator does not.
    reads = ["reads-status", "-n", place.name]
    installed.kubectl("create", "role", *reads, "--verb=get", "--resource=tradingreleases.tradingplatform.io/status")
    installed.kubectl("create", "rolebinding", *reads, "--role=reads-status", f"--user={OPERATOR}")
    status = ["--subresource=status", "--type=merge", '-p={"status":{"phase":"Pending"}}']

    patched = lambda: place.does(OPERATOR, "patch", "tradingrelease", "trading-platform", *status)  # noqa: E731 - once
    eventually(lambda: patched() == "done", patched)
