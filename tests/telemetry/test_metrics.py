"""What is exposed is what is declared."""

from prometheus_client.parser import text_string_to_metric_families

from sealgate.telemetry.metrics import Metrics
from sealgate.telemetry.registry import METRICS


def exposed(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = (value for name, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[tuple(labels)] = sample.value
    return found


def used() -> Metrics:
    metrics = Metrics()
    metrics.http_request("POST", "/v1/chat/completions", 200, 0.02)
    metrics.http_request("POST", "/v1/chat/completions", 200, 400)
    metrics.inference("chat", "acme", "eu/acme/m", "ok", 0.3)
    metrics.answered("chat", "acme", "eu/acme/m", 0.1, 17, 4)
    metrics.attempt("acme", "ok")
    metrics.attempt("acme", "ok")
    metrics.failover("acme", "timeout")
    metrics.ejection("acme")
    metrics.longest_gap("acme", "eu/acme/m", 0.4)
    metrics.watch_routes(lambda: {"eu/acme/m": False, "eu/other/m": True}, lambda: {"acme": 4})
    metrics.edge_refusal("request_timeout")
    metrics.limited("concurrency")
    metrics.watch_limits(lambda: False)
    metrics.watch_load(lambda: {"in_flight": 5, "memory": 0}, lambda: 0.3, lambda: 0.5)
    metrics.watch_ledger(lambda: 3, lambda: 2)
    metrics.watch_log(lambda: (False, {"published": 3, "witnessed": 2}))
    metrics.watch_issuers(lambda: {("corp", "ok"): 1})
    metrics.in_flight += 1
    metrics.client_retries += 6
    return metrics


def test_every_declared_metric_is_exposed_with_its_labels_and_help_and_no_other() -> None:
    families = {family.name: family for family in text_string_to_metric_families(used().render().decode())}
    declared = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert families.keys() == declared.keys()
    for name, metric in declared.items():
        labels = {tuple(key for key in sample.labels if key != "le") for sample in families[name].samples}
        assert labels == {metric.labels}, name
        assert families[name].documentation == metric.help
        assert families[name].type == metric.kind


def test_numbers_are_those_that_were_counted() -> None:
    found = exposed(used())
    http = ("POST", "200", "/v1/chat/completions")
    assert found["http_server_request_duration_seconds_count"][http] == 2
    assert found["http_server_request_duration_seconds_sum"][http] == 400.02
    buckets = found["http_server_request_duration_seconds_bucket"]
    assert buckets[(*http, "0.01")] == 0
    assert buckets[(*http, "0.025")] == 1
    assert buckets[(*http, "300.0")] == 1
    assert buckets[(*http, "+Inf")] == 2
    assert found["sealgate_upstream_attempts_total"] == {("acme", "ok"): 2}
    assert found["sealgate_failovers_total"] == {("acme", "timeout"): 1}
    assert found["sealgate_ejections_total"] == {("acme",): 1}
    assert found["sealgate_route_up"] == {("eu/acme/m",): 0, ("eu/other/m",): 1}
    assert found["sealgate_upstream_in_flight"] == {("acme",): 4}
    assert found["sealgate_stream_longest_gap_seconds_sum"] == {("acme", "eu/acme/m"): 0.4}
    assert found["sealgate_client_retries_total"] == {(): 6}
    assert found["sealgate_requests_limited_total"] == {("concurrency",): 1}
    assert found["sealgate_limits_shared"] == {(): 0}
    assert found["sealgate_ledger_pending"] == {(): 3}
    assert found["sealgate_ledger_lost_total"] == {(): 2}
    assert found["sealgate_requests_in_flight"] == {(): 1}
    assert found["gen_ai_client_token_usage_sum"][("chat", "acme", "eu/acme/m", "input")] == 17


def test_a_value_on_a_border_belongs_to_its_bucket() -> None:
    metrics = Metrics()
    metrics.answered("chat", "p", "m", 0.1, 1, 1)
    assert exposed(metrics)["gen_ai_server_time_to_first_token_seconds_bucket"][("chat", "p", "m", "0.1")] == 1
