"""CURVE key pairs and the list of clients that may come in, as files in one private folder.

`NAME.secret` (0600) holds the secret key and nothing else. `NAME.public`, for the other side, holds
one line: `NAME KEY`. `allowed_clients` has such a line for each client that a server lets in;
lines that begin with # are remarks. Keys are 32 bytes, written as 40 characters of Z85. The folder
is 0700. A file is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from pipeline.errors import ConfigError, OutputExistsError, ResourceError
from pipeline.transport.addresses import PRIVATE_MODE

ALLOWED_FILE = "allowed_clients"
MAX_FILE_BYTES = 1 << 20
MAX_CLIENTS = 4096
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"\w[\w.-]{0,63}", re.ASCII)
_BASE_85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One side's keys, as Z85 text. The secret one is in no `repr`, log or error."""

    name: str
    public: bytes
    secret: bytes = field(repr=False)


def make_pair(folder: Path, name: str, *, overwrite: bool = False) -> KeyPair:
    """Make a key pair and write it to `folder`, which is made if it is not there.

    Raises:
        OutputExistsError: there is a pair of that name and `overwrite` is not set.
        ConfigError: the name is no name for a file, or others can enter the folder.
        ResourceError: the files cannot be written.
    """
    check_name(name)
    _make_folder(folder)
    public, secret = zmq.curve_keypair()
    pair = KeyPair(name, public, secret)
    with _as_resource_error(folder):
        try:
            _write(folder / f"{name}.secret", secret.decode() + "\n", 0o600, overwrite=overwrite)
        except FileExistsError as error:
            raise OutputExistsError(
                f"there is a key pair {name} in {folder} already",
                hint="give --overwrite to replace it; whoever has its public key needs the new one",
            ) from error
        # The public key follows from the secret one, so a leftover file is worth nothing.
        _write(folder / f"{name}.public", f"{name} {public.decode()}\n", 0o644, overwrite=True)
    return pair


def load_pair(folder: Path, name: str) -> KeyPair:
    """Read a key pair.

    Raises:
        ConfigError: it is not there, is damaged, or others can read it.
    """
    check_name(name)
    path = folder / f"{name}.secret"
    text = _read(path, private=True).strip()
    if not is_key(text):
        raise ConfigError(f"{path} holds no secret key", hint="make the pair anew")
    secret = text.encode()
    return KeyPair(name, zmq.curve_public(secret), secret)


def pair_names(folder: Path) -> list[str]:
    """Return the names of the key pairs in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.secret") if _NAME.fullmatch(path.stem))


def read_public(path: Path) -> tuple[str, bytes]:
    """Return name and key from a file with a public key.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    found = _parse_lines(_read(path), path)
    if len(found) != 1:
        raise ConfigError(
            f"{path} must hold one public key, got {len(found)}", hint="it is one line: NAME KEY"
        )
    return next(iter(found.items()))


class AllowList:
    """The clients that a server lets in. The file is read anew each time, so that a change counts
    from the next connection on.

    Args:
        folder: with the keys; without a list in it nobody is let in.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ALLOWED_FILE

    def clients(self) -> dict[str, bytes]:
        """Return the public key of each client by name.

        Raises:
            ConfigError: the file is damaged, or others can write to it.
        """
        if not self._path.exists():
            return {}
        return _parse_lines(_read(self._path, private=True), self._path)

    def allow(self, name: str, key: bytes, *, overwrite: bool = False) -> None:
        """Let a client in from now on.

        Raises:
            OutputExistsError: the name stands there with another key and `overwrite` is not set.
            ConfigError, ResourceError: as `clients` and `make_pair`.
        """
        check_name(name)
        if not is_key(key.decode("ascii", "replace")):
            raise ConfigError(f"the key of {name} is no public key: expected 40 characters of Z85")
        clients = self.clients()
        if clients.get(name, key) != key and not overwrite:
            raise OutputExistsError(
                f"{name} is allowed already, with another key",
                hint="give --overwrite to replace that key, or choose another name",
            )
        if len(clients | {name: key}) > MAX_CLIENTS:
            raise ConfigError(f"a server lets in up to {MAX_CLIENTS} clients")
        self._rewrite(clients | {name: key})

    def forbid(self, name: str) -> None:
        """Take a client off the list. What it has open stays open until it breaks off.

        Raises:
            ConfigError: no client of that name is on the list.
        """
        clients = self.clients()
        if clients.pop(name, None) is None:
            raise ConfigError(
                f"no client {name!r} is on the list {self._path}",
                hint=f"there are: {', '.join(clients) or 'none'}",
            )
        self._rewrite(clients)

    def _rewrite(self, clients: dict[str, bytes]) -> None:
        _make_folder(self._path.parent)
        lines = [f"{name} {key.decode()}\n" for name, key in sorted(clients.items())]
        with _as_resource_error(self._path.parent):
            _write(self._path, "".join(lines), 0o600, overwrite=True)


def check_name(name: str) -> None:
    """Refuse what cannot name a key; raises `ConfigError`."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a key",
            hint="use up to 64 letters, digits, dots, dashes and underscores; the first is no dot",
        )


def is_key(text: str) -> bool:
    """Whether text is 32 bytes in Z85."""
    if not _KEY.fullmatch(text):
        return False
    fives = (text[at : at + 5] for at in range(0, 40, 5))
    return all(_value_of(five) < 2**32 for five in fives)


def _value_of(five: str) -> int:
    value = 0
    for character in five:
        value = value * 85 + _BASE_85.index(character)
    return value


def _parse_lines(text: str, path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, key = line.strip().partition(" ")
        key = key.strip()
        # A line that is wrong is not shown: somebody may have put a secret key there.
        if not _NAME.fullmatch(name) or not is_key(key):
            raise ConfigError(f"{path}, line {number}: expected NAME and a key of 40 characters")
        if name in found:
            raise ConfigError(f"{path}, line {number}: the name {name} is there twice")
        found[name] = key.encode()
    if len(found) > MAX_CLIENTS:
        raise ConfigError(f"{path} has {len(found)} keys; up to {MAX_CLIENTS} are read")
    return found


def _make_folder(folder: Path) -> None:
    with _as_resource_error(folder):
        folder.mkdir(PRIVATE_MODE, parents=True, exist_ok=True)
        found = folder.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"the folder {folder} is open to others: mode {stat.S_IMODE(found.st_mode):04o}, "
            f"expected {PRIVATE_MODE:04o} and user {os.geteuid()}",
            hint=f"chmod 700 {folder}, or choose another folder",
        )


def _read(path: Path, *, private: bool = False) -> str:
    """Return a small text file. A private one must be ours and closed to others."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="`keys show` lists what there is"
        ) from error
    if private and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise ConfigError(
            f"{path} is open to others: mode {stat.S_IMODE(found.st_mode):04o}, expected 0600 and "
            f"user {os.geteuid()}",
            hint="if nobody has used it: chmod 600; else make a new pair",
        )
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no file with keys: it is not plain text") from None


def _write(path: Path, text: str, mode: int, *, overwrite: bool) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(half, flags, mode), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            half.replace(path)
        else:
            os.link(half, path)  # other than a rename, this never replaces
    finally:
        with contextlib.suppress(FileNotFoundError):
            half.unlink()


@contextmanager
def _as_resource_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise ResourceError(
            f"cannot write keys to {folder}: {error.strerror}",
            hint="free space there, or choose another folder",
        ) from error
