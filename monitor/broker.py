"""What everyone who speaks to the MQTT broker needs: a client, its password, and patience."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.config import Mqtt
from monitor.core.errors import ConfigError

if TYPE_CHECKING:
    import aiomqtt

log = logging.getLogger(__name__)


def open_client(
    settings: Mqtt, client_id: str, *, clean: bool, will: aiomqtt.Will | None = None
) -> aiomqtt.Client:
    """A client for the configured broker, not yet connected."""
    import aiomqtt  # noqa: PLC0415 3 MiB, which a daemon without a broker does not need

    return aiomqtt.Client(
        settings.host,
        settings.port,
        username=settings.username or None,
        password=password_of(settings),
        identifier=client_id,
        clean_session=clean,
        will=will,
        tls_context=_tls_of(settings),
        keepalive=settings.keepalive_s,
        timeout=10,
    )


def check_settings(settings: Mqtt) -> None:
    """Raises ConfigError for a file that cannot be used: that is not a lost connection, to be tried again."""
    password_of(settings)
    _tls_of(settings)


def _tls_of(settings: Mqtt) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"mqtt.ca_file: expected certificates (PEM) in {settings.ca_file}: {error}") from error
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"mqtt.cert_file, mqtt.key_file: expected a certificate and its key (PEM) in "
                f"{settings.cert_file} and {settings.key_file}: {error}"
            ) from error
    return context


def password_of(settings: Mqtt) -> str | None:
    """The first line of the password file; raises ConfigError when there is none."""
    if not settings.password_file:
        return settings.password or None
    try:
        return Path(settings.password_file).read_text().splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(f"mqtt.password_file: cannot read a line from {settings.password_file}") from error


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the event loop makes of an error that nobody waits for: of a lost connection a line, no traceback.

    aiomqtt leaves such behind where a machine slept, or a broker died, in the middle of a handshake; it connects
    again all the same.
    """
    import aiomqtt  # noqa: PLC0415 see open_client

    error = context.get("exception")
    if isinstance(error, OSError | aiomqtt.MqttError):
        log.warning("a connection was lost: %s", error)
    else:
        loop.default_exception_handler(context)


class Backoff:
    """Waits that double, with jitter, up to a maximum."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = 0.2
        self._said = ""

    def reset(self) -> None:
        """Things went well."""
        self._next_s = 0.2
        self._said = ""

    def level_of(self, trouble: str) -> int:
        """How loud to log what stood in the way: the same again need not be read at every attempt."""
        level = logging.DEBUG if trouble == self._said else logging.WARNING
        self._said = trouble
        return level

    async def wait(self) -> None:
        """Wait before the next attempt."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311 jitter, not a secret
        self._next_s = min(2 * self._next_s, self._longest_s)
