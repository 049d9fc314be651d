"""What `monitor doctor` looks at: whether this machine can run the monitor, and what to do where it cannot.

Each look returns findings. Nothing is changed: ports are bound for a moment, and only where no daemon answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.metadata
import re
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from monitor import __version__
from monitor.config import Config
from monitor.core.errors import ModelError
from monitor.reach import Finding, broker, daemon, sockets

LEAST_FREE_BYTES = 256 * 1024**2
"""Room for the alarm log at its largest, and some."""
LEAST_FILES = 256
"""The daemon's own sockets and files; each ZeroMQ sender takes one more."""
_TIME_ERROR = 5
"""What adjtimex(2) says of a clock that nobody keeps right."""

NEEDED = {
    "aiomqtt": "aiomqtt",
    "click": "click",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "onnxruntime": "monitor.inference",  # which tells it not to report its use
    "pyzmq": "zmq",
}
"""Package -> the module that shows whether it works."""

PURPOSES = {
    "broker": "`monitor run --broker`",
    "cluster": "`monitor worker`",
    "dashboard": "`monitor watch` and `monitor demo` on a terminal",
    "demo": "`monitor demo`, and the recording `toy`",
    "lsl": "streams of the Lab Streaming Layer (`lsl.query`)",
    "recordings": "WFDB records, to replay them or to train on them; EDF and CSV need nothing",
    "train": "`training`",
    "web": "`monitor watch --web`",
}
"""What an extra is for."""


def examine(
    config: Config, environment: Mapping[str, str], control_keys: Mapping[int, int | bytes] | None
) -> list[Finding]:
    """Everything, in the order in which it should be put right."""
    findings = [*python(), *packages(), *terminal(environment)]
    if any(finding.verdict == "bad" for finding in findings):
        return findings  # nothing else could be looked at
    findings += models(config)
    running = asyncio.run(daemon(config, control_keys))
    findings += running
    if not any(finding.verdict == "fine" for finding in running):
        findings += sockets(config)
    if config.mqtt.host:
        findings.append(asyncio.run(broker(config.mqtt, config.name)))
    return [*findings, *disk(config), *files(), *clock()]


def python() -> Iterator[Finding]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version} at {sys.executable}, foretrace {__version__}"
    yield Finding("python", "fine", found)  # pip does not install us on an older one


def packages() -> Iterator[Finding]:
    """What the base install needs, and what extras there are."""
    versions, trouble = [], []
    for name, module in NEEDED.items():
        try:
            importlib.import_module(module)
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except (ImportError, OSError) as error:  # OSError: a library of the system that is missing or too old
            trouble.append(f"{name}: {error}")
    if trouble:
        yield Finding("packages", "bad", "; ".join(trouble), "pip install --force-reinstall foretrace")
    else:
        yield Finding("packages", "fine", ", ".join(versions))
    for extra, wanted in sorted(_extras().items()):
        purpose = PURPOSES.get(extra, "more")
        if missing := sorted(name for name in wanted if not _is_installed(name)):
            do = f"pip install 'foretrace[{extra}]'"
            yield Finding(f"extra {extra}", "note", f"for {purpose}: {', '.join(missing)} missing", do)
        else:
            yield Finding(f"extra {extra}", "fine", f"for {purpose}")


def _extras() -> dict[str, set[str]]:
    """The extras that we are published with, and the packages of each."""
    found: dict[str, set[str]] = {}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a checkout that was never installed
        for line in importlib.metadata.requires("foretrace") or []:
            if match := re.match(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)['\"]", line):
                found.setdefault(match[2], set()).update({match[1]} - {"foretrace"})
    return found


def _is_installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def terminal(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the dashboard would look as it should."""
    if not sys.stdout.isatty():
        yield Finding(
            "terminal", "note", "none here", "run `monitor doctor` in the terminal that shall show the dashboard"
        )
        return
    columns, lines = shutil.get_terminal_size()
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    colours = "no colour" if "NO_COLOR" in environment else _colours(environment)
    found = f"{environment.get('TERM', 'unknown')}, {columns}x{lines}, {colours}, {encoding or 'no encoding'}"
    if columns < 80 or lines < 24:
        yield Finding("terminal", "note", found, "make the window 80x24 or larger: panels are left out below")
    elif encoding != "utf8":
        yield Finding("terminal", "note", found, "set LANG to a UTF-8 locale, or press `v` for ASCII glyphs")
    elif colours in ("8 colours", "no colour"):
        yield Finding(
            "terminal", "note", found, "fine with --theme 16 or --theme no; TERM=xterm-256color for more"
        )
    else:
        yield Finding("terminal", "fine", found)


def _colours(environment: Mapping[str, str]) -> str:
    if environment.get("COLORTERM", "") in ("truecolor", "24bit"):
        return "16 million colours"
    term = environment.get("TERM", "")
    return "256 colours" if "256" in term or "kitty" in term else "8 colours"


def models(config: Config) -> Iterator[Finding]:
    """Every model file, and what it answers to its known question."""
    from monitor.inference import find_models, load_model  # noqa: PLC0415 onnxruntime takes its time

    try:
        found = find_models(Path(config.models) if config.models else None)
    except ModelError as error:
        yield Finding("models", "bad", str(error), "set `models` to a folder that is there")
        return
    refused = []
    for name, path in found.items():
        try:
            load_model(path)
        except ModelError as error:
            refused.append(name)
            yield Finding(f"model {name}", "bad", str(error), f"export it again, or remove {path}")
    good = [name for name in found if name not in refused]
    yield Finding("models", "fine", f"{', '.join(good)}: known answers hold")
    wanted = {model for rule in config.streams for model in rule.models}
    if absent := sorted(wanted - set(found)):
        yield Finding(
            "models", "bad", f"{', '.join(absent)}: named in [[streams]], no such file", "put it into `models`"
        )


def disk(config: Config) -> Iterator[Finding]:
    """Where the alarm log lies, and SQLite."""
    folder = Path(config.alarm_log.path).absolute().parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding("disk", "bad", f"{folder}: {error.strerror}", "set alarm_log.path to where one may write")
        return
    found = f"{free / 1024**3:.1f} GiB free in {folder}, SQLite {sqlite3.sqlite_version}"
    small = free < LEAST_FREE_BYTES
    yield Finding("disk", "bad" if small else "fine", found, "make room, or move alarm_log.path" if small else "")


def files() -> Iterator[Finding]:
    """How many files and sockets a process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    do = "ulimit -n 4096, or LimitNOFILE= in the unit file" if 0 <= soft < LEAST_FILES else ""
    yield Finding("open files", "bad" if do else "fine", f"at most {soft}, one for each ZeroMQ sender", do)


def clock() -> Iterator[Finding]:
    """Samples without a time of their own get the time of this machine."""
    now = time.gmtime()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < 2025:
        yield Finding(
            "clock", "bad", f"{shown} cannot be: certificates and times of samples will be wrong", "set the clock"
        )
        return
    kept = _is_kept_right()
    found = {
        True: "kept right",
        False: "nobody keeps it right",
        None: "whether somebody keeps it right cannot be told",
    }
    do = "run systemd-timesyncd, chrony or ntpd" if kept is False else ""
    yield Finding("clock", "note" if do else "fine", f"{shown}, {found[kept]}", do)


def _is_kept_right() -> bool | None:
    """What the kernel says of it (adjtimex(2), which only reads here); None where it is silent."""
    with contextlib.suppress(OSError, AttributeError):
        told: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
        return None if told < 0 else told != _TIME_ERROR
    return None
