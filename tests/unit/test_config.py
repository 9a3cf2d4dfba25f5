"""Settings that cannot be used are found out at the start, by name."""

import json

import pytest
from tradingrelease.config import Config


def test_a_prometheus_and_its_queries_are_read(tmp_path):
    file = tmp_path / "queries.json"
    file.write_text(json.dumps({"errors": 'up{revision="$(revision)"}'}))
    env = {
        "TRADINGRELEASE_PROMETHEUS_URL": "http://prometheus.monitoring:9090/",
        "TRADINGRELEASE_PROMETHEUS_TEMPLATES": str(file),
    }
    config = Config.from_environment(env)
    assert config.prometheus_url == "http://prometheus.monitoring:9090"
    assert config.prometheus_templates == {"errors": 'up{revision="$(revision)"}'}
    assert not Config.from_environment({}).prometheus_url


@pytest.mark.parametrize("url", ["prometheus:9090", "file:///etc/passwd", "http://"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="TRADINGRELEASE_PROMETHEUS_URL"):
        Config.from_environment({"TRADINGRELEASE_PROMETHEUS_URL": url})


@pytest.mark.parametrize("text", ["", "[]x", "7", '{"errors": 7}', '{"errors": "$(revision)"}'])
def test_queries_that_cannot_be_used_are_refused(tmp_path, text):
    file = tmp_path / "queries.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="TRADINGRELEASE_PROMETHEUS_TEMPLATES"):
        Config.from_environment({"TRADINGRELEASE_PROMETHEUS_TEMPLATES": str(file)})


def test_who_is_told_is_read(tmp_path):
    file = tmp_path / "notifications.yaml"
    file.write_text("targets: {team: {batch: 30s}}\nroutes: [{to: [team]}]\n")
    env = {"TRADINGRELEASE_NOTIFICATIONS": str(file), "TRADINGRELEASE_NOTIFICATION_SECRETS": "/run/urls"}
    config = Config.from_environment(env)
    assert config.notifications.names() == ("team",)
    assert str(config.notification_secrets) == "/run/urls"
    assert Config.from_environment({}).notifications.names() == ()


@pytest.mark.parametrize("text", ["", "[]", "targets: {team: {}}", "routes: [", "cloudEvents: {url: 'http://x'}", None])
def test_who_is_told_is_refused_where_it_cannot_be_used(tmp_path, text):
    file = tmp_path / "notifications.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match="TRADINGRELEASE_NOTIFICATIONS="):
        Config.from_environment({"TRADINGRELEASE_NOTIFICATIONS": str(file)})
