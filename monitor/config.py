"""The configuration: frozen structs with a default for every key, checked as they are made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec

from monitor.addresses import Address, Host, HostPort, Name, StreamPattern, is_exposed
from monitor.core.rules import Rule
from monitor.core.stream import Plan
from monitor.logs import Format, Level

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Mode = Literal["window", "leapfrog"]


class ZeroMQ(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples in over ZeroMQ."""

    listen: Address = "tcp://127.0.0.1:5555"
    """Address to bind for PUB sockets of senders: fast, and what is lost is counted; empty turns it off."""
    listen_reliable: Address = ""
    """Address to bind for DEALER sockets of senders that keep what is not acknowledged; empty turns it off."""
    credit: Count = 256
    """Messages that such a sender may have under way."""
    queue: Count = 100_000
    """Messages that may wait in the socket."""


class Mqtt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples in, and events, states and status out, over an MQTT broker."""

    host: Host = ""
    """The broker; empty turns it off."""
    port: Port = 1883
    qos: Annotated[int, msgspec.Meta(ge=0, le=1)] = 1
    tls: bool = False
    """Encrypt, and check the broker's certificate and name; brokers listen for that on 8883."""
    ca_file: str = ""
    """Certificates (PEM) that may sign the broker's; empty takes those of the system."""
    cert_file: str = ""
    """Our own certificate (PEM), where the broker asks for one."""
    key_file: str = ""
    username: str = ""
    password_file: str = ""
    """File whose first line is the password."""
    password: str = ""
    """The password itself, for the environment (MONITOR_MQTT__PASSWORD); the file wins."""
    keepalive_s: Count = 15
    reconnect_max_s: Positive = 30.0
    """Longest wait between two attempts to connect."""
    alternatives: tuple[str, ...] = ()
    """HOST:PORT of other listeners of the same broker, where it is a cluster: tried in turn when one is lost."""
    redelivery_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 5.0
    """At QoS 1 a block that comes too early waits so long for those before it: after a restart some brokers go on
    with what is new, and deliver again only later what was not acknowledged."""
    home_assistant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,40}$")] = ""
    """Discovery prefix of a Home Assistant on the same broker ("homeassistant" there unless changed); empty tells
    it nothing."""

    def __post_init__(self) -> None:
        """What does not go together."""
        if (self.ca_file or self.cert_file or self.key_file) and not self.tls:
            raise ValueError("ca_file, cert_file and key_file count with `tls = true` only")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file go together")
        for other in self.alternatives:
            if not (other.rpartition(":")[0] and other.rpartition(":")[2].isdecimal()):
                raise ValueError(f"alternatives: expected HOST:PORT, got {other!r}")

    def listeners(self) -> Iterator[Mqtt]:
        """The same settings for the broker's listeners, one after the other, round and round."""
        places = [(self.host, self.port)]
        places += [(other.rpartition(":")[0], int(other.rpartition(":")[2])) for other in self.alternatives]
        return (msgspec.structs.replace(self, host=host, port=port) for host, port in itertools.cycle(places))

    def __repr__(self) -> str:
        """Without the password: a repr ends up in logs."""
        return f"Mqtt(host={self.host!r}, port={self.port}, tls={self.tls}, username={self.username!r})"


class Lsl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples in from the Lab Streaming Layer."""

    query: str = ""
    """Which outlets to take in, as liblsl asks for them: type='ECG'; empty turns it off."""
    level: Name = "lsl"
    """First level of their names: LEVEL/NAME-OF-THE-OUTLET."""


class Keys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Encryption of, and admission to, the ZeroMQ sockets."""

    secret_file: str = ""
    """The daemon's key, as `monitor keys` makes it; empty leaves the sockets to whoever reaches them."""
    allowed_file: str = ""
    """Who may connect: a line `PUBLIC-KEY NAME MAY` for each client. The daemon's own key always may."""


class Feed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the daemon publishes, and where it answers commands."""

    publish: Address = "tcp://127.0.0.1:5556"
    control: Address = "tcp://127.0.0.1:5557"
    queue: Count = 10_000
    """Messages that may wait for a slow client; then the oldest are dropped for that client."""
    history_s: Positive = 30.0
    """Seconds of samples that late-comers are given."""


class Inference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How windows become batches."""

    max_batch: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    max_wait_ms: Annotated[float, msgspec.Meta(ge=0)] = 30.0
    """A batch that is not full waits so long for company."""
    max_waiting: Count = 65_536
    """Windows that may wait for each model; beyond that the oldest hops are skipped."""
    mode: Mode = "window"
    """How recurrent models run: "window" reads the whole window at every hop, "leapfrog" carries states from step
    to step, for a twentieth of the price, and answers on half a window or more."""
    modes: dict[str, Mode] = {}
    """The same for single models, by name."""
    states: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    """leapfrog: states carried for each stream; 0 takes two where beats are found, else three."""

    def leapfrog(self, models: Iterable[str]) -> dict[str, int]:
        """Those of `models` that leapfrog, with the states to carry."""
        return {name: self.states for name in models if self.modes.get(name, self.mode) == "leapfrog"}


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """/metrics for Prometheus, /healthz and /readyz."""

    listen: HostPort = ""
    """HOST:PORT; empty turns it off."""


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the daemon says on stderr."""

    level: Level = "info"
    format: Format = "text"
    """Lines for people, or "json": one object a line."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What no sender may exceed."""

    streams: Count = 4096
    block_samples: Count = 65_536


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `monitor record --on`, and the dashboard's key, record into."""

    folder: str = "recordings"
    """Made when it is needed."""
    format: Literal["wfdb", "edf", "csv"] = "wfdb"


class AlarmLog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The alarm log."""

    path: str = "foretrace.db"
    """SQLite file; its folder must exist. A lock beside it keeps a second daemon away."""
    keep_events: Count = 100_000
    """Events, and alarms that are over, that are kept at most; the oldest go first."""
    keep_windows: Count = 10_000
    """Alarms that can still say why, with the window that raised them and its forecast: some KiB each."""
    keep_days: Positive = 90.0
    """And for how long."""


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a restart, also after a crash, finds again; it lies in the alarm log's file."""

    checkpoint_s: Positive = 5.0
    """Ledgers, calibration and samples are written so often."""
    forget_days: Positive = 7.0
    """A stream that has been silent for so long is no longer known after a restart."""
    history: bool = True
    """Keep the newest samples, too: as many seconds as `feed.history_s`."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Beyond one machine: what workers, bridge and gateway need to know; `monitor run` does not look at it."""

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    """NATS servers with JetStream; one that answers tells of the others."""
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    """Into which streams are divided; settled when the first worker makes the streams of the cluster."""
    partition_streams: Count = 512
    """Streams that one partition takes at most."""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 3
    """Servers that hold a copy of everything; 1 where there is one server."""
    retention_s: Positive = 3600.0
    """For how long samples are kept for workers that are behind, and to look back at."""
    snapshot_s: Positive = 1.0
    """A partition's whole state is stored so often; who takes over lives through what came since then."""
    username: str = ""
    password_file: str = ""
    """File whose first line is the password."""
    ca_file: str = ""
    """Certificates (PEM) that may sign the servers'; for servers named tls://."""


class StreamRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do with the streams whose names match; the first entry that matches counts."""

    name: StreamPattern
    """Stream name; shell patterns allowed."""
    models: tuple[str, ...] = ()
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=100_000)] | None = None
    channels: tuple[str, ...] = ()
    unit: str = ""
    max_gap_s: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    reorder_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    clock_jump_s: Positive = 1.0
    quality: bool = True
    any_lead: bool = False
    stale_s: Annotated[float, msgspec.Meta(ge=0)] = 1.5
    heart_rate_bpm: tuple[float, float] | None = None
    limits: dict[str, tuple[float, float]] = {}
    budget_per_hour: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None

    def __post_init__(self) -> None:
        """Ranges must be ranges."""
        ranges = {f"limits.{channel}": span for channel, span in self.limits.items()}
        for what, (low, high) in {**ranges, "heart_rate_bpm": self.heart_rate_bpm or (0, 1)}.items():
            if not low < high:
                raise ValueError(f"{what}: expected [LOW, HIGH] with LOW below HIGH, got [{low:g}, {high:g}]")
        if self.limits and not self.models:
            raise ValueError("limits: expected a forecaster among `models` that watches them, got no model")

    @property
    def plan(self) -> Plan:
        """The same, as the engine wants it."""
        return Plan(**{name: getattr(self, name) for name in Plan.__struct_fields__})


DEFAULT_STREAMS = (
    StreamRule(
        name="ecg/*", models=("ecg-beats", "ecg-forecast"), unit="mV", any_lead=True, heart_rate_bpm=(40.0, 150.0)
    ),
    StreamRule(name="sine/*", models=("sine-spikes", "sine-forecast"), rate_hz=50.0),
)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a daemon is told."""

    name: Name = "monitor"
    """Identity of this daemon: its MQTT client id, and what it calls itself."""
    prefix: Name = "signals"
    """First level of every topic."""
    models: str = ""
    """Folder of further model files; those of the same name win over the shipped ones."""
    zeromq: ZeroMQ = ZeroMQ()
    mqtt: Mqtt = Mqtt()
    lsl: Lsl = Lsl()
    keys: Keys = Keys()
    feed: Feed = Feed()
    inference: Inference = Inference()
    limits: Limits = Limits()
    alarm_log: AlarmLog = AlarmLog()
    record: Record = Record()
    state: State = State()
    http: Http = Http()
    cluster: Cluster = Cluster()
    log: Log = Log()
    streams: tuple[StreamRule, ...] = DEFAULT_STREAMS
    alarms: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Who may give commands must be known."""
        if is_exposed(self.feed.control) and not self.keys.secret_file:
            raise ValueError(
                f"feed.control: {self.feed.control} can be reached from other machines, and there are no keys; "
                "bind it to 127.0.0.1 or ipc:///PATH, or set keys.secret_file"
            )
        if self.keys.allowed_file and not self.keys.secret_file:
            raise ValueError("keys.allowed_file counts with keys.secret_file only; `monitor keys` makes one")

    def plan_of(self, stream: str) -> Plan | None:
        """The plan of the first entry that matches the stream's name."""
        for rule in self.streams:
            if fnmatchcase(stream, rule.name):
                return rule.plan
        return None
