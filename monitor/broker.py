"""What everyone who speaks to the MQTT broker needs: a client, its password, and patience."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiomqtt

from monitor.config import Mqtt
from monitor.core.errors import ConfigError


def open_client(
    settings: Mqtt, client_id: str, *, clean: bool, will: aiomqtt.Will | None = None
) -> aiomqtt.Client:
    """A client for the configured broker, not yet connected."""
    return aiomqtt.Client(
        settings.host,
        settings.port,
        username=settings.username or None,
        password=password_of(settings),
        identifier=client_id,
        clean_session=clean,
        will=will,
        keepalive=settings.keepalive_s,
        timeout=10,
    )


def password_of(settings: Mqtt) -> str | None:
    """The first line of the password file; raises ConfigError when there is none."""
    if not settings.password_file:
        return None
    try:
        return Path(settings.password_file).read_text().splitlines()[0]
    except (OSError, IndexError) as error:
        raise ConfigError(f"mqtt.password_file: cannot read a line from {settings.password_file}") from error


class Backoff:
    """Waits that double, with jitter, up to a maximum."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = 0.2

    def reset(self) -> None:
        """Things went well."""
        self._next_s = 0.2

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 jitter, not a secret
        self._next_s = min(2 * self._next_s, self._longest_s)
