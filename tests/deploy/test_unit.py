"""monitor.service: systemd reads it, finds it hardened, and the daemon lives under what it forbids."""

from __future__ import annotations

import configparser
import ctypes.util
import re
import shutil
import subprocess
import sys

import pytest

from monitor.configfile import load_config
from tests.conftest import wait_until
from tests.documents import ROOT, surroundings

UNIT = ROOT / "deploy" / "monitor.service"


class _Repeated(dict):
    """Keys of a unit file may come more than once."""

    def __setitem__(self, key, value):
        if key in self and isinstance(value, list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, dict_type=_Repeated, comment_prefixes="#")
    parser.optionxform = str
    parser.read(UNIT)
    return parser


def values(key: str) -> list[str]:
    return unit()["Service"][key].splitlines()


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the unit is parsed, not judged")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_it_is_a_unit_that_says_when_it_is_ready():
    service = unit()["Service"]
    assert service["Type"] == "notify-reload"
    assert service["WatchdogSec"] == "30s"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"
    assert service["DynamicUser"] == "yes"
    assert service["ExecStart"].split()[1:3] == ["run", "--config"]


def test_the_environment_it_sets_is_configuration():
    pairs = [value.partition("=") for value in values("Environment")]
    config, _ = load_config(None, {name: value.replace("%S", "/var/lib") for name, _, value in pairs})
    assert config.alarm_log.path == "/var/lib/foretrace/foretrace.db"
    assert config.log.format == "json"
    for line in re.findall(r"^# Environment=(MONITOR_\w+)=", UNIT.read_text(), re.MULTILINE):
        load_config(None, {line: "x", "MONITOR_KEYS__SECRET_FILE": "x"})


def test_exposure_is_below_two():
    done = systemd_analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT))
    assert done.returncode == 0, done.stdout[-200:] + done.stderr
    level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(level[1]) < 2.0


def test_systemd_finds_nothing_wrong(tmp_path):
    text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text())
    version = int(re.search(r"systemd (\d+)", systemd_analyze("--version").stdout)[1])
    if version < 253:  # which knows no notify-reload
        text = text.replace("Type=notify-reload", "Type=notify")
    file = tmp_path / "monitor.service"
    file.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    done = systemd_analyze("verify", "--man=no", str(file))
    complaints = [line for line in done.stderr.splitlines() if "monitor.service" in line]
    assert not complaints


def allowed_calls() -> set[str]:
    """Names of the system calls that SystemCallFilter leaves."""
    known: dict[str, set[str]] = {}
    name = ""
    for line in systemd_analyze("syscall-filter", "--no-pager").stdout.splitlines():
        if line.startswith("@"):
            known[name := line.strip()] = set()
        elif name and line.strip() and not line.strip().startswith("#"):
            known[name].add(line.strip())

    def calls(group: str) -> set[str]:
        members = known[group]
        return {m for m in members if m[0] != "@"}.union(*(calls(m) for m in members if m[0] == "@"))

    left: set[str] = calls("@default")
    for line in values("SystemCallFilter"):
        groups = [calls(group) for group in line.removeprefix("~").split()]
        left = left.difference(*groups) if line.startswith("~") else left.union(*groups)
    return left


CAGE = """
import ctypes, os, sys
lib = ctypes.CDLL(sys.argv[1], use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p
libc = ctypes.CDLL(None, use_errno=True)
context = ctypes.c_void_p(lib.seccomp_init(0x00050000 | 1))  # whatever is not allowed fails with EPERM
for name in sys.argv[2].split(","):
    number = lib.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        assert lib.seccomp_rule_add(context, 0x7fff0000, number, 0) == 0, name
libc.prctl(65, 1, 0, 0, 0)  # MemoryDenyWriteExecute, where the kernel has it
libc.prctl(38, 1, 0, 0, 0)  # NoNewPrivileges
assert lib.seccomp_load(context) == 0
os.execvp(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.slow
def test_the_daemon_lives_under_its_system_call_filter(tmp_path):
    """Under it, and without memory that is both writable and executable, models load and samples go through."""
    library = ctypes.util.find_library("seccomp")
    if library is None or sys.platform != "linux":
        pytest.skip("libseccomp is not here: the filter is not tried")
    calls = allowed_calls()
    assert {"setrlimit", "prlimit64", "futex", "epoll_wait"} <= calls
    assert not {"mount", "ptrace", "keyctl", "chown", "reboot", "bpf"} & calls
    cage = [sys.executable, "-c", CAGE, library, ",".join(sorted(calls))]
    forbidden = [sys.executable, "-c", f"import os; os.chown({str(tmp_path)!r}, 0, 0)"]
    denied = subprocess.run([*cage, *forbidden], capture_output=True, text=True, check=False)
    assert "PermissionError" in denied.stderr, "the cage holds"
    environment = surroundings(tmp_path, HTTP__LISTEN="127.0.0.1:0")
    log = tmp_path / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen([*cage, sys.executable, "-m", "monitor", "run"], env=environment, stderr=out)
    try:
        send = [sys.executable, "-m", "monitor", "replay", "noisy-sine", "--stream", "sine/1", "--speed", "0"]
        wait_until(lambda: "listening on" in log.read_text() or daemon.poll() is not None, "the daemon")
        subprocess.run(send, env=environment, check=True, capture_output=True, timeout=30)
        ask = [sys.executable, "-m", "monitor", "alarms", "--stream", "sine/1"]
        wait_until(lambda: subprocess.check_output(ask, env=environment).count(b"\n") > 10, "alarms")
    finally:
        daemon.terminate()
        code = daemon.wait(10)
    assert code == 0, log.read_text()
    assert (tmp_path / "log.db").stat().st_size > 0
