"""Prometheus and Grafana: every name they use is one that a daemon exports, and promtool agrees where it is."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest
import yaml

from monitor.core.published import LedgerCounts, Status, StreamState
from monitor.metrics import daemon_metrics, exposition, stream_metrics
from monitor.telemetry import Telemetry
from tests.conftest import free_port, wait_until
from tests.documents import ROOT, daemon, run, surroundings

PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
RULES = [
    rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*.json")}


def exported() -> str:
    """What a daemon with a stream, alarms and a broker shows on /metrics."""
    telemetry = Telemetry()
    status = Status("m", "1", "online", 0, 0, models=("a@1",))
    state = StreamState("ecg/1", 360.0, ("I",), "mV", ("a@1",), 1, warming=False, ledger=LedgerCounts())
    doors = {"connected": {"mqtt": True}, "dropped": {"mqtt": 0}, "refused_connections": 0}
    metrics = daemon_metrics(status, telemetry, [], waiting=0, storage_ok=True, **doors)
    return exposition([*metrics, *stream_metrics([state])])


NAMES = set(re.findall(r"^# TYPE (\S+)", exported(), re.MULTILINE))
LABELS = set(re.findall(r'(\w+)="', exported())) | {"quantile", "job", "instance", "severity", "alertname"}
COUNTERS = set(re.findall(r"^# TYPE (\S+) counter", exported(), re.MULTILINE))


def panels():
    return [panel for dashboard in DASHBOARDS.values() for panel in dashboard["panels"]]


def expressions() -> list[str]:
    """Every PromQL there is."""
    targets = [target["expr"] for panel in panels() for target in panel["targets"]]
    variables = [v["definition"] for d in DASHBOARDS.values() for v in d["templating"]["list"]]
    return [*(rule["expr"] for rule in RULES), *targets, *variables]


@pytest.mark.parametrize("expression", expressions())
def test_names_and_labels_are_exported(expression):
    used = set(re.findall(r"\bforetrace_\w+", expression))
    assert used <= NAMES, used - NAMES
    assert used or expression.startswith("up{")
    assert set(re.findall(r"(\w+)=~?\"", expression)) <= LABELS


@pytest.mark.parametrize("expression", expressions())
def test_counters_are_asked_for_their_growth(expression):
    if "label_values" in expression:
        return
    for name in set(re.findall(r"\bforetrace_\w+", expression)) & COUNTERS:
        in_growth = re.search(rf"(rate|increase)\({name}\{{?[^)]*\[", expression)
        assert in_growth or expression.startswith(name), "the table shows totals, all else growth"


def test_every_rule_says_what_is_wrong():
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 8
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_dashboard_is_one_that_grafana_takes():
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][0]
    for dashboard in DASHBOARDS.values():
        assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= set(dashboard)
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in dashboard["panels"]:
            assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert panel["title"]
            assert panel["description"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        used = set(re.findall(r"\$(\w+)", json.dumps([p["targets"] for p in dashboard["panels"]])))
        known = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert used <= known | {"__rate_interval"}


def test_no_panel_lies_on_another():
    for dashboard in DASHBOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            rows, columns = (range(place[a], place[a] + place[b]) for a, b in (("y", "h"), ("x", "w")))
            cells = {(x, y) for y in rows for x in columns}
            assert not cells & taken, panel["title"]
            taken |= cells


def promtool(*arguments, cwd=PROMETHEUS):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus): names are checked, PromQL is not")
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments):
    promtool(*arguments)


def test_promtool_reads_what_the_panels_ask(tmp_path):
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    asked = [
        e.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$stream", ".*") for e in asked
    ]
    rules = [{"record": f"panel_{i}", "expr": expr} for i, expr in enumerate(asked)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "panels.yml", cwd=tmp_path)


def asked_of(port: int, query: str) -> list[dict]:
    """What Prometheus answers."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=5) as page:
        return json.load(page)["data"]["result"]


@pytest.mark.slow
def test_a_real_prometheus_scrapes_a_real_daemon_and_every_panel_has_something_to_show(tmp_path):
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: no scrape is tried")
    http, port = free_port(), free_port()
    for name in ("prometheus.yml", "rules.yml"):
        text = (PROMETHEUS / name).read_text().replace("monitor:9464", f"127.0.0.1:{http}")
        text = text.replace("127.0.0.1:9090", f"127.0.0.1:{port}").replace("interval: 10s", "interval: 500ms")
        (tmp_path / name).write_text(text)
    command = [
        "prometheus",
        "--config.file",
        tmp_path / "prometheus.yml",
        "--storage.tsdb.path",
        tmp_path / "tsdb",
    ]
    environment = surroundings(tmp_path, HTTP__LISTEN=f"127.0.0.1:{http}")
    with daemon(environment), (tmp_path / "log").open("wb") as log:
        address = ["--web.listen-address", f"127.0.0.1:{port}"]
        prometheus = subprocess.Popen([*command, *address], stdout=log, stderr=log)
        try:
            run("monitor simulate noisy-sine --spikes 60 --for 120 --speed 0", environment)

            def is_scraped():
                with contextlib.suppress(OSError, ValueError):
                    (series, *_) = asked_of(port, 'foretrace_samples_received_total{stream="sine/1"}[10s]')
                    return len(series["values"]) > 3
                return False

            wait_until(is_scraped, "a few scrapes")
            for panel in panels():
                for target in panel["targets"]:
                    query = target["expr"].replace("$__rate_interval", "10s")
                    query = query.replace("$instance", ".*").replace("$stream", ".*")
                    if "feed_dropped" not in query:  # of MQTT, which this daemon has none of
                        assert asked_of(port, query), (panel["title"], query)
            assert asked_of(port, 'ALERTS{alertname="ForetraceDown"}') == []
        finally:
            prometheus.terminate()
            prometheus.wait(10)
