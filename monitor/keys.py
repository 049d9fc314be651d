"""Keys for ZeroMQ (CURVE): everything on the wire is encrypted, and only those who are known may connect.

A key file is TOML and belongs to one party: `name`, `public`, `secret`, and for a client the public key of the
daemon it talks to, `server`. Keys are 40 characters of Z85. The daemon's file of allowed clients has one line for
each, `PUBLIC-KEY NAME MAY`, where MAY is some of send,watch,control; lines that begin with "# " are comments.
"""

from __future__ import annotations

import os
import re
import struct
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import msgspec
import zmq
from zmq.utils import z85

from monitor.core.errors import ConfigError

Role = Literal["send", "watch", "control"]
"""send samples; watch the feed and ask; command: acknowledge, reload."""
ROLES: tuple[Role, ...] = get_args(Role)

Options = dict[int, int | bytes]

OWNER = "owner"
"""Name of one who has the daemon's own key."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One party's keys."""

    name: str
    public: str
    secret: str
    server: str = ""
    """Public key of the daemon; empty in the daemon's own file."""

    def __repr__(self) -> str:
        """Without the secret: a repr ends up in logs."""
        return f"KeyFile({self.name!r}, public={self.public!r})"

    def server_options(self, role: Role) -> Options:
        """Socket options for the side that decides who may connect."""
        return {
            zmq.CURVE_SERVER: 1,
            zmq.CURVE_SECRETKEY: self.secret.encode(),
            zmq.CURVE_PUBLICKEY: self.public.encode(),
            zmq.ZAP_DOMAIN: role.encode(),
        }

    def client_options(self) -> Options:
        """Socket options for the side that connects; the daemon's own key opens the daemon's own doors."""
        return {
            zmq.CURVE_SERVERKEY: (self.server or self.public).encode(),
            zmq.CURVE_SECRETKEY: self.secret.encode(),
            zmq.CURVE_PUBLICKEY: self.public.encode(),
        }


class Allowed(msgspec.Struct, frozen=True):
    """A client that may connect."""

    name: str
    may: frozenset[Role]


def make_key(name: str, server: str = "") -> KeyFile:
    """A new pair of keys."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"expected a name of up to 40 of [A-Za-z0-9_.-], got {name[:60]!r}")
    public, secret = zmq.curve_keypair()
    return KeyFile(name, public.decode(), secret.decode(), server)


def write_key(key: KeyFile, path: Path) -> None:
    """Write a new file that only its owner can read; raises ConfigError rather than overwrite one."""
    lines = [f'{field} = "{getattr(key, field)}"' for field in key.__struct_fields__ if getattr(key, field)]
    text = f"# The key of {key.name}: whoever reads this file can act as {key.name}.\n" + "\n".join(lines) + "\n"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists; move it away first, a key is not overwritten") from error
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def read_key(path: str | Path) -> KeyFile:
    """The keys in a file; raises ConfigError, which never shows what is in it."""
    try:
        key = msgspec.convert(tomllib.loads(Path(path).read_text()), KeyFile)
    except OSError as error:
        raise ConfigError(f"key file {path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError):
        raise ConfigError(
            f"key file {path}: expected name, public, secret and perhaps server, as `monitor keys` writes them"
        ) from None
    for field in ("public", "secret", "server"):
        value = getattr(key, field)
        if not (_is_key(value) or (field == "server" and not value)):
            raise ConfigError(f"key file {path}: {field}: expected 40 characters of Z85")
    if zmq.curve_public(key.secret.encode()).decode() != key.public:
        raise ConfigError(f"key file {path}: public is not the public key of secret; make a new one")
    return key


def read_public(text: str) -> str:
    """A public key: itself, or from a key file; raises ConfigError."""
    return text if _is_key(text) else read_key(text).public


def read_allowed(path: str | Path) -> Mapping[bytes, Allowed]:
    """Clients by their public key (32 bytes); raises ConfigError that names the line."""
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"keys.allowed_file: {path} cannot be read: {error}") from error
    allowed: dict[bytes, Allowed] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("# ") or line == "#":
            continue
        words = line.split()
        roles = words[2].split(",") if len(words) == 3 else []
        if not roles or not _is_key(words[0]) or not set(roles) <= set(ROLES):
            raise ConfigError(
                f"keys.allowed_file: {path}, line {number}: expected PUBLIC-KEY NAME MAY, where MAY is some of "
                f"{','.join(ROLES)}, joined by commas",
            )
        if words[1] == OWNER or any(client.name == words[1] for client in allowed.values()):
            raise ConfigError(f"keys.allowed_file: {path}, line {number}: the name {words[1]} is taken")
        may: frozenset[Role] = frozenset(role for role in ROLES if role in roles)
        allowed[z85.decode(words[0])] = Allowed(words[1], may)
    return allowed


def _is_key(text: str) -> bool:
    if len(text) != 40 or not text.isascii():
        return False
    try:
        return len(z85.decode(text)) == 32
    except (KeyError, ValueError, struct.error):
        return False
