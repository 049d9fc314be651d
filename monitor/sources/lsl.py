"""Samples from the Lab Streaming Layer (labstreaminglayer.org): outlets that match a query become streams.

liblsl finds outlets on the network, keeps what comes while nobody looks, and brings the sender's clock in line
with ours. What is pulled is handed over as blocks in the usual encoding, as if a sender had sent them.
Whoever is on the network can publish an outlet: LSL knows neither passwords nor encryption.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from monitor.config import Lsl
from monitor.core.blocks import NS, Block
from monitor.core.errors import ConfigError
from monitor.core.wire import encode_block
from monitor.sources import Delivery, Message

log = logging.getLogger(__name__)

POLL_S = 0.02
OPENING_S = 5.0
BUFFER_S = 60
"""What liblsl keeps for us while we are busy; beyond that it drops the oldest."""
MOST_OUTLETS = 256
CHUNK = 4096
_UNITS = {"microvolts": "uV", "microvolt": "uV", "millivolts": "mV", "millivolt": "mV", "volts": "V", "volt": "V"}


class LslSource:
    """Connects to every outlet that the query finds, also to those that come later; see Source."""

    def __init__(self, settings: Lsl) -> None:
        """Raises ConfigError where pylsl is not installed, or the query is none."""
        try:
            import pylsl  # noqa: PLC0415 an extra
        except (ImportError, RuntimeError) as error:  # RuntimeError: no liblsl for this machine
            raise ConfigError(f"lsl.query: needs pylsl: pip install 'foretrace[lsl]' ({error})") from error
        self._lsl, self._settings = pylsl, settings
        try:
            self._found = pylsl.ContinuousResolver(pred=settings.query)
        except RuntimeError as error:
            raise ConfigError(f"lsl.query: expected a query like type='ECG', got {settings.query!r}") from error
        self._inlets: dict[str, _Inlet] = {}
        self._passed_over: set[str] = set()

    @property
    def name(self) -> str:
        """See Source.name."""
        return f"lsl {self._settings.query}"

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """See Source.deliveries."""
        while True:
            for info in self._found.results():
                if info.uid() not in self._inlets and info.uid() not in self._passed_over:
                    await self._open(info)
            messages = [message for uid in list(self._inlets) for message in self._pull(uid)]
            if messages:
                yield Delivery(messages)
            await asyncio.sleep(POLL_S)

    async def _open(self, info: Any) -> None:
        """Connect to an outlet, or say why not; it is then passed over until it is started anew."""
        stream = f"{self._settings.level}/{re.sub(r'[^A-Za-z0-9_-]', '-', info.name()) or 'unnamed'}"
        why = ""
        if not info.nominal_srate() or info.channel_format() == self._lsl.cf_string:
            why = "only numbers at a regular rate are samples"
        elif any(inlet.stream == stream for inlet in self._inlets.values()):
            why = f"there is a stream {stream} already"
        elif len(self._inlets) >= MOST_OUTLETS:
            why = f"there are {MOST_OUTLETS} already"
        if not why:
            try:
                self._inlets[info.uid()] = await asyncio.to_thread(_Inlet, self._lsl, info, stream)
            except (self._lsl.util.TimeoutError, self._lsl.util.LostError, RuntimeError) as error:
                log.warning("lsl: outlet %s cannot be opened: %s; trying again", info.name(), error)
                return
            log.info("lsl: outlet %s of %s is stream %s", info.name(), info.hostname(), stream)
            return
        log.warning("lsl: outlet %s of %s is passed over: %s", info.name(), info.hostname(), why)
        if len(self._passed_over) < MOST_OUTLETS:
            self._passed_over.add(info.uid())

    def _pull(self, uid: str) -> list[Message]:
        inlet = self._inlets[uid]
        try:
            return inlet.pull()
        except self._lsl.util.LostError:
            log.warning("lsl: stream %s: its outlet has gone", inlet.stream)
            inlet.close()
            del self._inlets[uid]
            return []

    def close(self) -> None:
        """See Source.close."""
        for inlet in self._inlets.values():
            inlet.close()
        self._inlets.clear()


class _Inlet:
    """One outlet and how far it was read; every connection is a run of its own, counted from 0."""

    def __init__(self, lsl: Any, info: Any, stream: str) -> None:
        """Connect, which may take a while: not for the event loop."""
        flags = lsl.proc_clocksync | lsl.proc_dejitter
        self._inlet = lsl.StreamInlet(
            info, max_buflen=BUFFER_S, recover=False, processing_flags=flags, as_numpy=True
        )
        self._inlet.open_stream(OPENING_S)
        told = self._inlet.info(OPENING_S)
        labels, units = told.get_channel_labels() or [], set(told.get_channel_units() or [])
        count = told.channel_count()
        self.stream = stream
        self._rate_hz = float(told.nominal_srate())
        named = len(labels) == count and all(labels)
        self._channels = tuple(map(str, labels)) if named else tuple(str(i + 1) for i in range(count))
        unit = str(units.pop() or "") if len(units) == 1 else ""
        self._unit = _UNITS.get(unit.lower(), unit)
        self._run, self._seq = uuid.uuid4().hex[:12], 0
        self._epoch_s = time.time() - lsl.local_clock()

    def pull(self) -> list[Message]:
        """What has come; raises pylsl's LostError when the outlet has gone."""
        messages: list[Message] = []
        while True:
            values, at = self._inlet.pull_chunk(0.0, CHUNK)
            if not len(at):
                return messages
            t0_ns = round((float(at[0]) + self._epoch_s) * NS)
            block = Block(
                self.stream, np.asarray(values, np.float32), self._run, self._seq, t0_ns, self._rate_hz,
                self._channels, self._unit,
            )  # fmt: skip
            self._seq += len(at)
            messages.append(Message(encode_block(block), self.stream))
            if len(at) < CHUNK:
                return messages

    def close(self) -> None:
        """Let go of the outlet."""
        self._inlet.close_stream()
