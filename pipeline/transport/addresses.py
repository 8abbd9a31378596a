"""Which addresses a link may have without keys: those that nobody but us can reach.

What is not known to be private counts as public. A name (`localhost`, `lo`, `camera.example`) is
public too: what it stands for is decided elsewhere, and may change between this look and the bind.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import Literal

from pipeline.errors import ConfigError

Reach = Literal["process", "folder", "loopback", "public"]
PRIVATE_MODE = 0o700


def reach(address: str) -> Reach:
    """Return who can reach a ZeroMQ address: this process, who may enter a folder, this host, all.

    Raises:
        ConfigError: the address is of a transport that links are not made for.
    """
    transport, separator, rest = address.partition("://")
    if transport == "inproc" and rest:
        return "process"
    if transport == "ipc" and rest:
        return "folder"
    if transport == "tcp" and rest and separator:
        return "loopback" if _is_loopback(tcp_host(address)) else "public"
    raise ConfigError(
        f"a link cannot have the address {address!r}",
        hint="use inproc://NAME, ipc:///FOLDER/NAME or tcp://HOST:PORT",
    )


def tcp_host(address: str) -> str:
    """Return the host of a tcp address as it stands there, without the brackets of IPv6."""
    # ZeroMQ takes what follows the last colon as the port, and so must we: in
    # `127.0.0.1:0;0.0.0.0:5555` it binds to 0.0.0.0.
    host = address.partition("://")[2].rpartition(":")[0]
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def is_ipv6(address: str) -> bool:
    """Whether an address is a tcp one with an IPv6 host."""
    return address.startswith("tcp://") and ":" in tcp_host(address)


def check_private_folder(address: str) -> None:
    """Refuse an ipc address whose socket others could reach.

    Raises:
        ConfigError: the socket has no folder, or its folder is not a directory of this user's with
            mode 0700.
    """
    path = address.partition("://")[2]
    hint = "use a folder of your own: mkdir -m 700 FOLDER"
    if path.startswith(("@", "*")):
        raise ConfigError(
            f"the socket {address} lies in no folder, so that anybody on this host could use it",
            hint=hint,
        )
    folder = Path(path).parent
    try:
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} of the socket {address} cannot be used: {error.strerror}",
            hint=hint,
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder}, for the socket {address}, is no directory", hint=hint)
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"the folder {folder} of the socket {address} belongs to user {found.st_uid}, not to "
            f"{os.geteuid()}, who runs this",
            hint=hint,
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode != PRIVATE_MODE:
        raise ConfigError(
            f"the folder {folder} of the socket {address} has mode {mode:04o}, expected "
            f"{PRIVATE_MODE:04o}: others could use the socket",
            hint=f"chmod 700 {folder}",
        )


def _is_loopback(host: str) -> bool:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
