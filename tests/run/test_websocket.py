"""The WebSocket client against frames written out byte by byte (RFC 6455 section 5)."""

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from launcher.websocket import WebSocket


def accept_key(request: bytes) -> str:
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def frame(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = bytes([126]) + size.to_bytes(2, "big")
    else:
        length = bytes([127]) + size.to_bytes(8, "big")
    return bytes([opcode | 0x80 * last]) + length + payload


@pytest.fixture
def connect():
    """Connect to a server that sends the given bytes, a few at a time, and then reads until the client has gone."""
    sockets, heard, threads = [], bytearray(), []

    def serve(listener: socket.socket, data: bytes, step: int, answer: Callable[[bytes], bytes]) -> None:
        server, _ = listener.accept()
        with server:
            server.sendall(answer(server.recv(4096)))
            for start in range(0, len(data), step):
                server.sendall(data[start : start + step])
            server.shutdown(socket.SHUT_WR)
            while chunk := server.recv(4096):
                heard.extend(chunk)

    def shake(request: bytes) -> bytes:
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        return f"{head}{accept_key(request)}\r\n\r\n".encode()

    def connect(
        data: bytes, step: int = 1 << 20, answer: Callable[[bytes], bytes] = shake
    ) -> tuple[WebSocket, bytearray]:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)
        threads.append(threading.Thread(target=serve, args=(listener, data, step, answer)))
        threads[-1].start()
        return WebSocket("127.0.0.1", listener.getsockname()[1], "/ws"), heard

    yield connect
    for listener in sockets:
        listener.close()
    for thread in threads:
        thread.join(timeout=60)


@pytest.mark.parametrize("step", [1, 3, 1 << 20], ids="{} bytes at a time".format)
@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_lengths(connect, size, step) -> None:
    if size > 1000 and step < 1000:
        step = 1000
    text = "x" * size
    client, _ = connect(frame(1, text.encode()) + frame(2, b"\0\1"), step)
    with client:
        assert client.receive(5) == text
        assert client.receive(5) == b"\0\1"


def test_fragments_with_a_ping_between_them(connect) -> None:
    data = frame(1, "grün ".encode()[:3], last=False) + frame(9, b"here?") + frame(0, "grün ".encode()[3:], last=False)
    client, heard = connect(data + frame(0, b"end"))
    with client:
        assert client.receive(5) == "grün end"
    deadline = time.monotonic() + 60  # the server reads in a thread of its own
    while len(heard) < 11 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert heard[:2] == bytes([0x8A, 0x80 | 5])  # a masked pong of 5 bytes
    assert bytes(byte ^ heard[2 + index % 4] for index, byte in enumerate(heard[6:11])) == b"here?"


def test_nothing_new_is_none_and_loses_nothing(connect) -> None:
    pause = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        server, _ = listener.accept()
        with server:
            key = accept_key(server.recv(4096))
            server.sendall(f"HTTP/1.1 101 ok\r\nSec-WebSocket-Accept: {key}\r\n\r\n".encode() + frame(1, b"late")[:4])
            pause.wait(5)
            server.sendall(frame(1, b"late")[4:])

    thread = threading.Thread(target=serve)
    thread.start()
    with WebSocket("127.0.0.1", listener.getsockname()[1], "/ws") as client:
        assert client.receive(0.1) is None
        pause.set()
        assert client.receive(5) == "late"
    thread.join()
    listener.close()


@pytest.mark.parametrize("ending", [frame(8, b"\x03\xe8"), b""], ids=["close frame", "closed socket"])
def test_the_end_is_an_error(connect, ending) -> None:
    client, _ = connect(frame(1, b"last words") + ending)
    with client:
        assert client.receive(5) == "last words"
        with pytest.raises(ConnectionError):
            client.receive(5)


def test_a_server_that_is_no_websocket_server(connect) -> None:
    with pytest.raises(ConnectionError, match="404 Not Found"):
        connect(b"", answer=lambda request: b"HTTP/1.1 404 Not Found\r\n\r\n")
