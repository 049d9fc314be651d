"""The errors of the project, split by who must act on them."""

from __future__ import annotations


class MonitorError(Exception):
    """Any error this project raises on purpose; `exit_code` is what a command ends with."""

    exit_code = 1


class ConfigError(MonitorError):
    """The configuration or the command line is wrong: the operator must change it."""

    exit_code = 2


class ModelError(MonitorError):
    """A model file cannot be trusted or does not fit: whoever exported it must act."""

    exit_code = 2


class RecordingError(MonitorError):
    """A recording cannot be read: a missing file, a format that is not what its name says."""

    exit_code = 2


class SchemaError(MonitorError):
    """Bytes from outside are not what the wire format says: the sender must act.

    `stream` is the stream they claim to belong to (empty when it could not be told), `kind` a short,
    stable word for what is wrong ("truncated", "channels", ...), by which refusals are counted.
    """

    def __init__(self, message: str, *, stream: str = "", kind: str = "malformed") -> None:
        super().__init__(message)
        self.stream = stream
        self.kind = kind


class Unreachable(MonitorError):
    """The daemon does not answer."""

    exit_code = 3


class StorageLost(MonitorError):
    """What should be kept cannot be written: the disk is full or gone. Monitoring goes on without it."""
