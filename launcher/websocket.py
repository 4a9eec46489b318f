"""A WebSocket client (RFC 6455), as small as reading a server's messages on loopback allows."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocket:
    """A connection to `ws://host:port/path`. Raises OSError where the server refuses it."""

    def __init__(self, host: str, port: int, path: str, *, timeout: float = 10.0) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._buffer = bytearray()  # what has come and is not yet a whole frame
        self._message = bytearray()  # the fragments of a message that is not yet whole
        self._is_text = True
        try:
            self._shake_hands(f"{host}:{port}", path)
        except BaseException:
            self._socket.close()
            raise

    def receive(self, timeout: float) -> str | bytes | None:
        """The next message, or None when none has come after `timeout` seconds.

        Raises ConnectionError once the server has gone or has closed the connection.
        """
        deadline = time.monotonic() + timeout
        while True:
            while frame := self._next_frame():
                message = self._take(*frame)
                if message is not None:
                    return message
            if not self._read(deadline - time.monotonic()):
                return None

    def close(self) -> None:
        """Say goodbye as far as the server still listens."""
        try:
            self._send(_CLOSE, struct.pack(">H", 1000))
        except OSError:
            pass
        self._socket.close()

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _shake_hands(self, host: str, path: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._received()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)  # the first frames may have come along
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        proof = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        if status.split(" ")[1] != "101" or headers.get("sec-websocket-accept") != proof:
            raise ConnectionError(f"the server at {host} opens no WebSocket at {path}: {status}")

    def _read(self, timeout: float) -> bool:
        """Read what has come; False when nothing has come after `timeout` seconds."""
        if timeout <= 0:
            return False
        self._socket.settimeout(timeout)
        try:
            self._buffer += self._received()
        except TimeoutError:
            return False
        return True

    def _received(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        return data

    def _next_frame(self) -> tuple[bool, int, bytes] | None:
        """The next whole frame of the buffer as (last of its message, opcode, payload). Servers do not mask."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        start, length = 2, buffer[1] & 0x7F
        if length >= 126:
            form = ">H" if length == 126 else ">Q"
            start += struct.calcsize(form)
            if len(buffer) < start:
                return None
            (length,) = struct.unpack_from(form, buffer, 2)
        if len(buffer) < start + length:
            return None
        last, opcode, payload = bool(buffer[0] & 0x80), buffer[0] & 0x0F, bytes(buffer[start : start + length])
        del buffer[: start + length]
        return last, opcode, payload

    def _take(self, last: bool, opcode: int, payload: bytes) -> str | bytes | None:
        """Act on a frame; return the message that it completes, if it does."""
        if opcode == _CLOSE:
            raise ConnectionError("the server has closed the connection")
        if opcode == _PING:
            self._send(_PONG, payload)
        if opcode not in (_CONTINUATION, _TEXT, _BINARY):
            return None
        if opcode != _CONTINUATION:
            self._is_text = opcode == _TEXT
        self._message += payload
        if not last:
            return None
        message, self._message = bytes(self._message), bytearray()
        return message.decode() if self._is_text else message

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send a control frame (at most 125 bytes), masked as RFC 6455 section 5.3 asks of clients."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._socket.sendall(bytes((0x80 | opcode, 0x80 | len(payload))) + mask + masked)
