"""Keys: files, the list of clients, and who gets a message over a real socket."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from pipeline.cli import main
from pipeline.errors import ConfigError, OutputExistsError, ResourceError
from pipeline.messages import People, Stamp
from pipeline.transport import ClientSecurity, Door, Receiver, Sender, ServerSecurity
from pipeline.transport.addresses import reach
from pipeline.transport.keys import (
    ALLOWED_FILE,
    AllowList,
    KeyPair,
    is_key,
    load_pair,
    make_pair,
    pair_names,
    read_public,
)
from pipeline.transport.wire import pack

WAIT_S = 10.0
Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# files


def test_a_pair_is_written_for_its_owner_alone(folder: Path) -> None:
    pair = make_pair(folder, "server")
    assert mode(folder) == 0o700
    assert mode(folder / "server.secret") == 0o600
    assert mode(folder / "server.public") == 0o644
    assert sorted(path.name for path in folder.iterdir()) == ["server.public", "server.secret"]
    assert load_pair(folder, "server") == pair
    assert read_public(folder / "server.public") == ("server", pair.public)
    assert pair_names(folder) == ["server"]
    assert pair.secret.decode() not in (folder / "server.public").read_text()
    assert pair.secret.decode() not in repr(pair)


def test_the_mode_does_not_hang_on_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        make_pair(folder, "server")
    finally:
        os.umask(before)
    assert mode(folder) == 0o700 and mode(folder / "server.secret") == 0o600


def test_exception_a_pair_is_not_replaced_unasked(folder: Path) -> None:
    first = make_pair(folder, "server")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        make_pair(folder, "server")
    assert load_pair(folder, "server") == first
    second = make_pair(folder, "server", overwrite=True)
    assert load_pair(folder, "server") == second != first
    assert read_public(folder / "server.public") == ("server", second.public)
    assert len(list(folder.iterdir())) == 2, "nothing half written is left"


def test_exception_a_folder_or_a_secret_that_is_open_to_others(folder: Path) -> None:
    make_pair(folder, "server")
    (folder / "server.secret").chmod(0o640)
    with pytest.raises(ConfigError, match="mode 0640, expected 0600"):
        load_pair(folder, "server")
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="mode 0755"):
        make_pair(folder, "desk")
    assert not (folder / "desk.secret").exists()


def test_exception_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot write keys"):
        make_pair(tmp_path / "file" / "keys", "server")


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "x" * 65, "#a", "n\n"])
def test_exception_a_name_that_is_no_file(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a key"):
        make_pair(folder, name)
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 41, b"\xff" * 40, b"%" * 40])
def test_exception_a_damaged_secret_is_not_shown(folder: Path, content: bytes) -> None:
    make_pair(folder, "server")
    (folder / "server.secret").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_pair(folder, "server")
    assert not content or content.decode("latin1").strip() not in str(caught.value)


def test_exception_a_secret_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_pair(folder, "server")


def test_what_is_a_key() -> None:
    for _ in range(50):
        public, secret = zmq.curve_keypair()
        assert is_key(public.decode()) and is_key(secret.decode())
    assert not is_key("#" * 40), "each five characters must stay below 2**32"


def test_the_list_takes_and_gives_up_clients(folder: Path) -> None:
    allowed = AllowList(folder)
    assert allowed.clients() == {}
    (one, _), (two, _) = zmq.curve_keypair(), zmq.curve_keypair()
    allowed.allow("desk", one)
    allowed.allow("desk", one)  # twice is once
    allowed.allow("attic", two)
    assert mode(folder / ALLOWED_FILE) == 0o600
    assert AllowList(folder).clients() == {"attic": two, "desk": one}
    with pytest.raises(OutputExistsError, match="another key"):
        allowed.allow("desk", two)
    allowed.allow("desk", two, overwrite=True)
    allowed.forbid("attic")
    assert allowed.clients() == {"desk": two}
    with pytest.raises(ConfigError, match="there are: desk"):
        allowed.forbid("attic")


def test_a_list_may_have_remarks(folder: Path) -> None:
    key, _ = zmq.curve_keypair()
    AllowList(folder).allow("desk", key)
    path = folder / ALLOWED_FILE
    path.write_text(f"# who is who\n\n{path.read_text()}")
    assert AllowList(folder).clients() == {"desk": key}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("desk short\n", "line 1: expected NAME and a key"),
        ("../desk {key}\n", "line 1: expected NAME"),
        ("desk {key}\ndesk {key}\n", "line 2: the name desk is there twice"),
        ("x" * (1 << 20) + "xx", "larger than"),
        ("désk {key}\n", "not plain text"),
    ],
)
def test_exception_a_damaged_list(folder: Path, content: str, says: str) -> None:
    key, _ = zmq.curve_keypair()
    AllowList(folder).allow("desk", key)
    (folder / ALLOWED_FILE).write_text(content.format(key=key.decode()), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        AllowList(folder).clients()


# addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("inproc://x", "process"),
        ("ipc:///run/x", "folder"),
        ("tcp://127.0.0.1:*", "loopback"),
        ("tcp://127.8.9.1:5555", "loopback"),
        ("tcp://[::1]:5555", "loopback"),
        ("tcp://[::ffff:127.0.0.1]:5555", "loopback"),
        ("tcp://*:5555", "public"),
        ("tcp://0.0.0.0:5555", "public"),
        ("tcp://0:5555", "public"),
        ("tcp://[::]:5555", "public"),
        ("tcp://:::5555", "public"),
        ("tcp://[::ffff:0.0.0.0]:5555", "public"),
        ("tcp://192.168.1.7:5555", "public"),
        ("tcp://[fe80::1%eth0]:5555", "public"),
        ("tcp://eth0:5555", "public"),
        ("tcp://lo:5555", "public"),
        ("tcp://localhost:5555", "public"),
        ("tcp://localhost.evil.example:5555", "public"),
        ("tcp://127.0.0.1.evil.example:5555", "public"),
        ("tcp://2130706433:5555", "public"),
        # ZeroMQ would bind to the second of these.
        ("tcp://127.0.0.1:0;0.0.0.0:5555", "public"),
        ("tcp://127.0.0.1", "public"),
    ],
)
def test_who_can_reach_an_address(address: str, expected: str) -> None:
    assert reach(address) == expected


@pytest.mark.parametrize("address", ["", "x", "TCP://127.0.0.1:1", "udp://127.0.0.1:1", "tcp://"])
def test_exception_an_address_of_no_transport_of_ours(context: Context, address: str) -> None:
    with pytest.raises(ConfigError, match="cannot have the address"):
        Sender(context, address, "people", 2)


@pytest.mark.parametrize(
    "address", ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://[::]:*", "tcp://lo:*", "tcp://0:*"]
)
def test_exception_a_public_address_without_keys_is_not_bound(
    context: Context, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []
    monkeypatch.setattr(zmq.Socket, "bind", lambda _, where: bound.append(where))
    with pytest.raises(ConfigError, match="no keys"):
        Sender(context, address, "people", 2)
    assert bound == []


def test_exception_a_public_address_is_not_trusted_without_keys(context: Context) -> None:
    with pytest.raises(ConfigError, match="no keys"):
        Receiver(context, "tcp://192.0.2.1:5555", "people", People)


def test_exception_ipc_folders_that_others_can_enter(context: Context, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="mode 0755, expected 0700"):
        Sender(context, f"ipc://{tmp_path}/x", "people", 2)
    tmp_path.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for address, says in (
        (f"ipc://{link}/x", "no directory"),
        (f"ipc://{tmp_path}/file/x", "no directory"),
        (f"ipc://{tmp_path}/missing/x", "cannot be used"),
        ("ipc://@gait", "lies in no folder"),
        ("ipc://*", "lies in no folder"),
    ):
        with pytest.raises(ConfigError, match=says):
            Sender(context, address, "people", 2)
    Sender(context, f"ipc://{tmp_path}/x", "people", 2).close()


def test_exception_an_ipc_folder_of_somebody_else(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.geteuid()
    monkeypatch.setattr("pipeline.transport.addresses.os.geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {owner}, not to {owner + 1}"):
        Sender(context, f"ipc://{tmp_path}/x", "people", 2)


# sockets


@pytest.fixture
def server(folder: Path) -> KeyPair:
    return make_pair(folder, "server")


@pytest.fixture
def desk(folder: Path, tmp_path: Path) -> KeyPair:
    pair = make_pair(tmp_path / "desk", "desk")
    AllowList(folder).allow(*read_public(tmp_path / "desk" / "desk.public"))
    return pair


@pytest.fixture
def door(context: Context, folder: Path) -> Iterator[Door]:
    with Door(context, AllowList(folder)) as made:
        yield made


@pytest.fixture(params=["tcp://*:*", "tcp://127.0.0.1:*", "ipc"])
def sender(
    request: pytest.FixtureRequest, context: Context, server: KeyPair, door: Door, tmp_path: Path
) -> Iterator[Sender]:
    address = f"ipc://{tmp_path}/s" if request.param == "ipc" else request.param
    made = Sender(context, address, "people", 4, security=ServerSecurity(server, door))
    yield made
    made.close()


def endpoint(sender: Sender) -> str:
    return sender.socket.getsockopt_string(zmq.LAST_ENDPOINT).replace("0.0.0.0", "127.0.0.1")


def await_that(true: Callable[[], bool], *sockets: Sender | Receiver) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S} s"
        for each in sockets:
            if isinstance(each, Sender):
                each.take_answers()
            else:
                each.attend()
        time.sleep(0.01)


def test_a_client_on_the_list_receives(
    context: Context, sender: Sender, desk: KeyPair, server: KeyPair, door: Door
) -> None:
    security = ClientSecurity(desk, server.public)
    receiver = Receiver(context, endpoint(sender), "people", People, security=security)
    sender.send(pack(People(Stamp("cam0", 7, 0, 0, 0))))
    await_that(lambda: sender.met, sender, receiver)
    assert receiver.socket.poll(int(WAIT_S * 1000))
    delivery = receiver.receive()
    assert delivery is not None and delivery.message.stamp.frame_id == 7
    receiver.acknowledge(delivery.number)
    await_that(lambda: sender.in_flight == 0, sender)
    assert door.refused == sender.keyless == 0
    receiver.close()


def test_a_client_that_is_not_on_the_list_gets_nothing(
    context: Context,
    sender: Sender,
    desk: KeyPair,
    server: KeyPair,
    door: Door,
    caplog: pytest.LogCaptureFixture,
) -> None:
    public, secret = zmq.curve_keypair()
    stranger = ClientSecurity(KeyPair("stranger", public, secret), server.public)
    caplog.set_level(logging.DEBUG)
    with zmq.Context() as theirs:
        receiver = Receiver(theirs, endpoint(sender), "people", People, security=stranger)
        sender.send(pack(People(Stamp("cam0", 7, 0, 0, 0))))
        await_that(lambda: door.refused > 0, sender, receiver)
        assert not sender.met and receiver.receive() is None
        receiver.socket.close(0)
    assert public.decode() in caplog.text, "who was refused is said"
    for pair in (desk, server, stranger.pair):
        assert pair.secret.decode() not in caplog.text


def test_a_client_without_keys_gets_nothing(sender: Sender, door: Door) -> None:
    with zmq.Context() as theirs:
        plain = theirs.socket(zmq.DEALER)
        plain.linger = 0
        plain.connect(endpoint(sender))
        sender.send(pack(People(Stamp("cam0", 7, 0, 0, 0))))
        envelope = b"GAIT\x01\x05\x00\x00" + bytes(8)
        plain.send(envelope)  # hello
        await_that(lambda: sender.keyless > 0, sender)
        assert not sender.met and not plain.poll(0)
        plain.close()


def test_a_client_with_another_servers_key_gets_nothing(
    context: Context, sender: Sender, desk: KeyPair, door: Door
) -> None:
    other, _ = zmq.curve_keypair()
    security = ClientSecurity(desk, other)
    receiver = Receiver(context, endpoint(sender), "people", People, security=security)
    await_that(lambda: sender.keyless > 0, sender, receiver)
    assert not sender.met
    receiver.socket.close(0)


def test_a_client_that_is_taken_off_the_list_does_not_come_back(
    context: Context, sender: Sender, desk: KeyPair, server: KeyPair, door: Door, folder: Path
) -> None:
    security = ClientSecurity(desk, server.public)
    first = Receiver(context, endpoint(sender), "people", People, security=security)
    await_that(lambda: sender.met, sender, first)
    first.socket.close(0)
    AllowList(folder).forbid("desk")
    second = Receiver(context, endpoint(sender), "people", People, security=security)
    await_that(lambda: door.refused > 0, sender, second)
    second.socket.close(0)


def test_nobody_comes_in_while_the_list_cannot_be_read(
    context: Context, sender: Sender, desk: KeyPair, server: KeyPair, door: Door, folder: Path
) -> None:
    (folder / ALLOWED_FILE).chmod(0o644)
    security = ClientSecurity(desk, server.public)
    receiver = Receiver(context, endpoint(sender), "people", People, security=security)
    await_that(lambda: door.refused > 0, sender, receiver)
    assert not sender.met
    (folder / ALLOWED_FILE).chmod(0o600)
    await_that(lambda: sender.met, sender, receiver)
    receiver.close()


def test_nobody_comes_in_when_the_door_is_closed(
    context: Context, sender: Sender, desk: KeyPair, server: KeyPair, door: Door
) -> None:
    door.close()
    door.close()
    security = ClientSecurity(desk, server.public)
    receiver = Receiver(context, endpoint(sender), "people", People, security=security)
    failed = receiver.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    assert failed.poll(int(WAIT_S * 1000)), "the client is turned away"
    sender.take_answers()
    assert not sender.met
    receiver.socket.disable_monitor()
    failed.close(0)
    receiver.socket.close(0)
    with pytest.raises(ConfigError, match="open door"):
        Sender(context, "tcp://127.0.0.1:*", "people", 4, security=ServerSecurity(server, door))


def test_exception_a_context_has_one_door(context: Context, door: Door, folder: Path) -> None:
    with pytest.raises(ConfigError, match="a door already"):
        Door(context, AllowList(folder))
    with zmq.Context() as other:
        assert not door.serves(other)


# the command


def run(*arguments: object) -> int:
    return main(["keys", *map(str, arguments)])


def test_the_command_makes_allows_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "server", tmp_path / "desk"
    assert run("make", "server", "--folder", ours) == 0
    assert run("make", "desk", "--folder", theirs) == 0
    assert run("allow", theirs / "desk.public", "--folder", ours) == 0
    assert run("show", "--folder", ours) == 0
    server, desk = load_pair(ours, "server"), load_pair(theirs, "desk")
    said = capsys.readouterr()
    assert f"server {server.public.decode()}" in said.out
    assert f"desk {desk.public.decode()}" in said.out
    for pair in (server, desk):
        assert pair.secret.decode() not in said.out + said.err
    assert AllowList(ours).clients() == {"desk": desk.public}
    assert run("forbid", "desk", "--folder", ours) == 0
    assert AllowList(ours).clients() == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("make", "server"), "already"),
        (("make", "../x"), "cannot name a key"),
        (("allow", "nowhere.public"), "cannot read nowhere.public"),
        (("forbid", "desk"), "no client 'desk'"),
    ],
)
def test_exception_the_command_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], says: str
) -> None:
    make_pair(folder, "server")
    assert run(*arguments, "--folder", folder) == 2
    assert says in capsys.readouterr().err


def test_exception_a_secret_is_not_taken_for_a_public_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = make_pair(folder, "server")
    assert run("allow", folder / "server.secret", "--folder", folder) == 2
    said = capsys.readouterr()
    assert pair.secret.decode() not in said.out + said.err
    assert AllowList(folder).clients() == {}
