"""What the daemon says of itself over HTTP: metrics, whether it lives, whether it does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from monitor.core.blocks import Alarm
from monitor.core.engine import Engine
from monitor.core.published import Status
from monitor.doors import Doors
from monitor.endpoint import Page, verdict
from monitor.metrics import CONTENT_TYPE, daemon_metrics, exposition, stream_metrics
from monitor.pipeline import Pipeline
from monitor.telemetry import Telemetry

STALLED_S = 30.0
"""A turn of the pipeline that takes longer is stuck."""


class Pages:
    """Makes each page when it is asked for."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline,
        doors: Doors,
        telemetry: Telemetry,
        *,
        status: Callable[[], Status],
        open_alarms: Callable[[], Sequence[Alarm]],
    ) -> None:
        self._engine, self._pipeline, self._doors, self._telemetry = engine, pipeline, doors, telemetry
        self._status, self._open_alarms = status, open_alarms
        self.is_ready = False
        """Whether the daemon has started, and is not about to stop."""

    def all(self) -> Mapping[str, Callable[[], Page]]:
        """By path."""
        return {
            "/metrics": self._metrics,
            "/healthz": lambda: verdict(self.problems()),
            "/readyz": lambda: verdict(self._hindrances()),
        }

    def problems(self) -> list[str]:
        """Why the daemon should be restarted."""
        stuck_s = self._pipeline.busy_s
        return [f"inference has been stuck for {stuck_s:.0f} s"] if stuck_s > STALLED_S else []

    def _hindrances(self) -> list[str]:
        """Why it does not do its work now."""
        source, found = self._doors.mqtt_source, self.problems()
        if not self.is_ready:
            found.append("starting or stopping")
        if source and not source.connected:
            found.append(f"no MQTT broker at {source.name.removeprefix('mqtt://')}")
        if self._pipeline.publisher.storage_alarm:
            found.append(self._pipeline.publisher.storage_alarm.detail)
        return found

    def _metrics(self) -> Page:
        source, mqtt = self._doors.mqtt_source, self._doors.mqtt
        metrics = daemon_metrics(
            self._status(),
            self._telemetry,
            self._open_alarms(),
            waiting=self._engine.waiting(),
            storage_ok=self._pipeline.publisher.storage_alarm is None,
            connected={"mqtt": source.connected} if source else {},
            dropped={"mqtt": mqtt.dropped} if mqtt else {},
            refused_connections=self._doors.gate.refused,
        )
        return Page(200, CONTENT_TYPE, exposition([*metrics, *stream_metrics(self._engine.states())]))
