"""What Home Assistant wants to know to show a daemon and its streams: MQTT discovery, one device each.

Device discovery, as Home Assistant 2024.12 and later read it (www.home-assistant.io/integrations/mqtt): a retained
message on PREFIX/device/ID/config names the entities, and how to read each from the state and status that are
published anyway. Nothing else is sent on account of it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from monitor import __version__
from monitor.core.published import StreamState

Message = tuple[str, bytes]
"""Topic and payload; to be published retained."""

EXPIRES_S = 60
"""States come every second: after so long without one, an entity is unavailable."""


def announce_daemon(discovery: str, prefix: str, name: str) -> Message:
    """The device of the daemon itself."""
    ident = f"foretrace-{name}"
    components = {
        "streams": _sensor(ident, "streams", "Streams", "{{ value_json.streams }}"),
        "events": _sensor(ident, "events", "Events", "{{ value_json.events }}", state_class="total_increasing"),
        "skipped": _sensor(
            ident, "skipped", "Hops left out", "{{ (100 * value_json.skipped_share) | round(1) }}",
            unit_of_measurement="%", entity_category="diagnostic",
        ),
        "latency": _sensor(
            ident, "latency", "Latency", "{{ value_json.latency_p99_ms }}",
            unit_of_measurement="ms", entity_category="diagnostic",
        ),
    }  # fmt: skip
    device = {"identifiers": [ident], "name": f"foretrace {name}", "manufacturer": "foretrace"}
    return _message(discovery, prefix, ident, device, f"{prefix}/monitor/status", components)


def announce_stream(discovery: str, prefix: str, name: str, state: StreamState) -> Message:
    """The device of a stream: whether an alarm is open, events, what is missing, heart rate where it has one."""
    daemon = f"foretrace-{name}"
    ident = f"{daemon}-{state.stream.replace('/', '--')}"
    components = {
        "alarm": {
            "platform": "binary_sensor",
            "name": "Alarm",
            "unique_id": f"{ident}-alarm",
            "device_class": "problem",
            "value_template": "{{ 'ON' if value_json.alarms else 'OFF' }}",
            "expire_after": EXPIRES_S,
        },
        "events": _sensor(ident, "events", "Events", "{{ value_json.events }}", state_class="total_increasing"),
        "missing": _sensor(
            ident, "missing", "Samples missing", "{{ value_json.ledger.missing }}",
            state_class="total_increasing", entity_category="diagnostic",
        ),
    }  # fmt: skip
    if has_heart_rate(state):
        components["heart_rate"] = _sensor(
            ident, "heart_rate", "Heart rate", "{{ value_json.heart_rate_bpm }}",
            unit_of_measurement="bpm", icon="mdi:heart-pulse", suggested_display_precision=0,
        )  # fmt: skip
    device = {
        "identifiers": [ident],
        "name": state.stream,
        "manufacturer": "foretrace",
        "model": ", ".join(state.models) or "no model",
        "via_device": daemon,
    }
    return _message(discovery, prefix, ident, device, f"{prefix}/{state.stream}/state", components)


def has_heart_rate(state: StreamState) -> bool:
    """Whether one was found so far."""
    return not math.isnan(state.heart_rate_bpm)


def _sensor(ident: str, key: str, name: str, template: str, **more: Any) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": name,
        "unique_id": f"{ident}-{key}",
        "value_template": template,
        "state_class": "measurement",
        "expire_after": EXPIRES_S,
        **more,
    }


def _message(
    discovery: str, prefix: str, ident: str, device: dict[str, Any], topic: str, components: dict[str, Any]
) -> Message:
    payload = {
        "device": {**device, "sw_version": __version__},
        "origin": {"name": "foretrace", "sw_version": __version__},
        "availability": [{"topic": f"{prefix}/monitor/status", "value_template": "{{ value_json.state }}"}],
        "state_topic": topic,
        "components": components,
    }
    return f"{discovery}/device/{ident}/config", msgspec.json.encode(payload)
