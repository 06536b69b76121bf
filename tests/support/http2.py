"""A caller that speaks HTTP/2 byte by byte, and stops where no gRPC library would."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, SETTINGS, DATA, RST_STREAM = 1, 4, 0, 3
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame; `window` is the initial window of each stream."""
    payload = b"".join(struct.pack(">HI", INITIAL_WINDOW_SIZE, size) for size in values.values())
    return frame(SETTINGS, payload)


def headers(method: str | bytes, metadata, *, stream: int = 1) -> bytes:
    """A HEADERS frame that opens a gRPC call: every field a literal, nothing indexed."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "gate"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *metadata,
    )
    block = b"".join(
        b"\0" + bytes([len(part)]) + part if at == 0 else bytes([len(part)]) + part
        for field in fields
        for at, part in enumerate(map(_bytes, field))
    )
    return frame(HEADERS, block, flags=END_HEADERS, stream=stream)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def message(data: bytes, *, claimed: int | None = None, stream: int = 1) -> bytes:
    """A DATA frame of a gRPC message that says it is `claimed` bytes long."""
    length = len(data) if claimed is None else claimed
    return frame(DATA, b"\0" + struct.pack(">I", length) + data, stream=stream)


def connect(address: str, *, timeout: float = 10.0) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def closed(connection: socket.socket) -> bool:
    """Whether the gate closes the connection before the socket's timeout."""
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True
