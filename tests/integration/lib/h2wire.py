"""HTTP/2 by hand: frames, header blocks and gRPC messages as bytes, to be sent exactly as a test wants them."""

import struct

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 1, 5, 6


def frame(kind, flags, stream, payload=b""):
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(**values):
    """A SETTINGS frame: settings(header_table_size=0)."""
    numbers = {"header_table_size": HEADER_TABLE_SIZE, "max_frame_size": MAX_FRAME_SIZE,
               "max_header_list_size": MAX_HEADER_LIST_SIZE, "initial_window_size": 4}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def frames(data):
    """Splits bytes into (kind, flags, stream, payload); what follows the last whole frame is an error."""
    result, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 3], "big")
        kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5:at + 9], "big")
        if at + 9 + length > len(data):
            raise ValueError(f"a frame is cut at {at}")
        result.append((kind, flags, stream, data[at + 9:at + 9 + length]))
        at += 9 + length
    return result


def grpc_message(payload, compressed=False):
    """A message with its gRPC prefix."""
    return bytes([compressed]) + struct.pack(">I", len(payload)) + payload


def data_frames(stream, payload, size=16384, end=True, pad=0):
    """DATA frames of at most `size` bytes of payload each."""
    pieces = [payload[at:at + size] for at in range(0, len(payload), size)] or [b""]
    out = b""
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        flags = END_STREAM if end and last else 0
        if pad:
            flags, piece = flags | PADDED, bytes([pad]) + piece + bytes(pad)
        out += frame(DATA, flags, stream, piece)
    return out


def request_headers(path, extra=()):
    """The header list of a gRPC request as grpc-go sends it."""
    return [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
            ("content-type", "application/grpc"), ("user-agent", "grpc-go/1.65.0"), ("te", "trailers"), *extra]


def header_frames(stream, block, end_stream=False, split=(), pad=None, priority=False):
    """HEADERS with CONTINUATION: `split` are the sizes of all fragments but the last."""
    fragments, rest = [], block
    for size in split:
        fragments.append(rest[:size])
        rest = rest[size:]
    fragments.append(rest)
    flags = (END_STREAM if end_stream else 0) | (END_HEADERS if len(fragments) == 1 else 0)
    first = fragments[0]
    if priority:
        flags, first = flags | PRIORITY_FLAG, struct.pack(">IB", 0, 15) + first
    if pad is not None:
        flags, first = flags | PADDED, bytes([pad]) + first + bytes(pad)
    out = frame(HEADERS, flags, stream, first)
    for number, fragment in enumerate(fragments[1:], 2):
        out += frame(CONTINUATION, END_HEADERS if number == len(fragments) else 0, stream, fragment)
    return out


def fragment_of(kind, flags, payload):
    """The header block fragment in a HEADERS or CONTINUATION frame's payload."""
    if kind == CONTINUATION:
        return payload
    pad = 0
    if flags & PADDED:
        pad, payload = payload[0], payload[1:]
    if flags & PRIORITY_FLAG:
        payload = payload[5:]
    return payload[:len(payload) - pad] if pad else payload


class Peer:
    """One end's view of header blocks: encodes its own, decodes the other's."""

    def __init__(self):
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()

    def block(self, headers, sensitive=()):
        """An encoded block, with dynamic indexing except for the names in `sensitive`."""
        return self.encoder.encode([(name, value, name in sensitive) for name, value in headers])

    def call(self, stream, path, message, extra=(), **options):
        """A unary request."""
        return header_frames(stream, self.block(request_headers(path, extra)), **options) + data_frames(
            stream, grpc_message(message))

    def reply(self, stream, message=b"", status=0, text=None):
        """A unary reply with trailers."""
        trailers = [("grpc-status", str(status))] + ([("grpc-message", text)] if text else [])
        return (header_frames(stream, self.block([(":status", "200"), ("content-type", "application/grpc")])) +
                data_frames(stream, grpc_message(message), end=False) +
                header_frames(stream, self.block(trailers), end_stream=True))


def blocks(data):
    """All header blocks in bytes of whole frames: (stream, block, frames it took)."""
    result, open_block = [], None
    for kind, flags, stream, payload in frames(data):
        if kind == HEADERS:
            open_block = [stream, b"", 0]
        elif kind != CONTINUATION:
            continue
        open_block[1] += fragment_of(kind, flags, payload)
        open_block[2] += 1
        if flags & END_HEADERS:
            result.append(tuple(open_block))
    return result
