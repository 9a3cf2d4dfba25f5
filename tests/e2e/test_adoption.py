"""What serves today is brought under a release without a moment in which an unverified pod serves."""

from tests.e2e.builders import component, deployment, release, service, template
from tests.oracle import label


def test_plain_deployments_are_adopted_and_version_2_goes_live_without_a_failed_request(arena):
    names = ("backend", "frontend")
    arena.apply(*(service(n) for n in names))
    arena.apply(*(deployment(n, template(n, "1", drain=True), replicas=2) for n in names))
    arena.until(lambda s: all(len(s.endpoints(n)) == 2 for n in names), "version 1 serves on both Services")
    parts = [component(n, pods=template(n, "2", drain=True)) for n in names]
    with arena.load(*names) as load:
        arena.apply(release("2", *parts))
        state = arena.until(lambda s: s.ready("2"), "version 2 is live and proven", 120)
        load.wait_for(lambda r: r.versions() == ["1", "2"] and len(r.of(version="2")) > 40, 20)
    records = load.records()
    assert not records.failed(), records.by_outcome()
    assert state.retained() == ["adopted"]
    for name in names:
        mine = state.get("Deployment", name)
        assert mine["spec"]["replicas"] == 2, "the user's own Deployment is left alone"
        assert len(state.pods(state.selected(name))) == 2, "as many as were live"
        assert not any(label(state.get("Pod", p), "tradingplatform.io/release") == "" for p in state.endpoints(name))
