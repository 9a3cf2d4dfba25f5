"""Objects that no reader of ours expects: one of them harms nobody else, and least of all the start of the operator."""

import copy
import json

import pytest

from tests.e2e.api import Api
from tests.e2e.builders import deployment, service
from tests.e2e.process import Operator
from tests.inputs.mutate import put
from tests.inputs.place import release, template

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tradingreleases.tradingplatform.io"
PART = "spec/components/0"
OURS = {
    "tradingplatform.io/release": "shop",
    "tradingplatform.io/component": "backend",
    "tradingplatform.io/revision": "x",
}
STRANGERS = [
    *[
        put(deployment("stranger", template("0"), replicas=0), {"metadata/labels": OURS, "metadata/annotations": {"claim.tradingplatform.io/backend": claim}})
        for claim in ("\u00b2", "9" * 5000)
    ],
    *[
        {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "stranger", "labels": OURS}, "revision": 1, "data": data}
        for data in ({"spec": []}, {"spec": {"version": 1, "components": [{}]}}, {"spec": "x"})
    ],
    put(service("stranger", {"app": "x"}), {"metadata/labels": OURS, "metadata/annotations": {"tradingplatform.io/switch": "[]"}}),
    put(service("stranger", {"app": "x"}), {"metadata/labels": OURS, "metadata/annotations": {"tradingplatform.io/switch": '{"act": {}}'}}),
]  # fmt: skip


@pytest.mark.parametrize("depth", [150, 300, 1500, 5000])
def test_row_72_a_template_nested_without_sense(place, depth):
    """JSON of any depth is stored in a template. Reading one must not end the reader, and with him everybody's releases."""
    place.go_live("1", name="good")
    text = json.dumps(put(release("1", name="deep"), {f"{PART}/template/deep": "DEEP"}))
    text = text.replace('"DEEP"', '{"a":' * depth + "1" + "}" * depth)
    url = f"{place.api.access.server}{place.api.path('TradingRelease')}"
    pool = place.api.access.pool
    assert pool.request("POST", url, body=text, headers={"Content-Type": "application/json"}).status == 201
    place.poll(lambda: b"levels deep" in pool.request("GET", f"{url}/deep").data, "it is refused with advice", 20)
    assert pool.request("DELETE", f"{url}/deep").status == 200
    place.apply(release("2", name="good"))
    place.poll(lambda: place.api.get("TradingRelease", "good")["status"]["live"]["version"] == "2", "others go on", 20)


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda body: body["kind"])
def test_row_72_an_object_with_our_labels_that_we_did_not_write(place, operator_kubeconfig, tmp_path, stranger):
    """It is read at the start of an operator, too; that must not end there."""
    place.api.create(stranger)
    place.go_live("1")
    second = Operator(place.namespace, operator_kubeconfig, tmp_path / "second.log", lambda _: None)
    second.start()
    try:
        place.apply(release("2"))
        place.until(lambda s: s.ready("2"), "version 2 is live", 30)
        assert second.runs
    finally:
        second.kill()


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"spec": {}}, "spec.version: Field required"),
        ({"spec/version": 2}, "spec.version"),
        ({"spec/components": []}, "at least 1 item"),
        ({"spec/components": "backend"}, "spec.components"),
        ({f"{PART}/replicas": "many"}, "replicas"),
        ({f"{PART}/progressDeadline": "soon"}, "'soon' is no duration: write a number and a unit, such as 30s"),
        ({f"{PART}/services": [""]}, ""),
        ({f"{PART}/services": [None]}, "services"),
        ({f"{PART}/template": None}, "template"),
        ({f"{PART}/template": {}}, ""),
        ({f"{PART}/template/metadata": "x"}, ""),
        ({f"{PART}/template/metadata/labels": ["x"]}, ""),
        ({"spec/watch": {"for": "9" * 400 + "h"}}, "watch.for"),
        ({"spec/retain": {"for": []}}, "retain.for"),
        ({"spec/onDelete": "Perhaps"}, "onDelete"),
        ({f"{PART}/name": "Back End"}, ""),
        ({f"{PART}/name": "b" * 60}, "is too long"),
        ({f"{PART}/health": {"httpGet": {"path": "http://169.254.169.254/", "port": 80}}}, "path"),
        ({f"{PART}/health": {"httpGet": {"path": "/", "port": 0}}}, "port"),
    ],
    ids=str,
)
def test_row_24_what_an_older_crd_let_in(place, older_crd, changes, advice):
    """What the CRD of now would refuse is refused by the operator, before anything is done for it."""
    place.poll(lambda: not place.refuses(put(release("0"), changes)), "the older CRD is in force", 20)
    place.api.create(put(release("1"), changes))
    place.apply(service())
    state = place.until(
        lambda s: s.condition("Accepted")["status"] == "False" and s.seen_generation(), "it is refused", 20
    )
    assert advice in state.condition("Accepted")["message"]
    place.untouched(0.3)


@pytest.fixture(scope="module")
def older_crd(access):
    """Let the API server take everything for a while, as an older version of the CRD may have done."""
    whole_api = Api(access, "")
    whole = whole_api._call("GET", CRD)["spec"]["versions"]
    wide = copy.deepcopy(whole)
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    wide[0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = anything
    wide[0]["schema"]["openAPIV3Schema"].pop("x-kubernetes-validations")

    def install(versions):
        whole_api._call("PATCH", CRD, {"spec": {"versions": versions}}, content_type="application/merge-patch+json")

    install(wide)
    yield
    install(whole)
