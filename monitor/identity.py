"""One daemon, one identity: the lock beside the alarm log."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from monitor.config import Config
from monitor.core.errors import ConfigError


@contextlib.contextmanager
def identity(config: Config) -> Iterator[None]:
    """Hold the lock beside the alarm log; raises ConfigError naming who holds it already."""
    path = Path(config.alarm_log.path + ".lock")
    try:
        file = path.open("a+")
    except OSError as error:
        raise ConfigError(
            f"alarm_log.path: cannot write {path}: {error.strerror}; choose another place"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"another monitor ({file.read().strip() or 'unknown'}) holds {path}; stop it, or give this one "
                "an alarm_log.path of its own",
            ) from None
        file.truncate(0)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            file.write(f"{config.name}, process {os.getpid()}\n")
            file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
