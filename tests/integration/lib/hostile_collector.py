"""Collectors that mean harm: whatever may answer at localhost:4317. One class, a generator of behaviours by name.

The bytes are made here, frame by frame (RFC 9113, RFC 7541); no HTTP/2 library would send them.
"""

import contextlib
import gzip
import random
import socket
import struct
import threading
import time

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FLOOD = 64 << 10  # bytes of one write


def frame(kind, flags=0, stream=0, payload=b""):
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def many(one):
    """As many copies of some frames as make one large write."""
    return one * max(1, FLOOD // len(one))


def literal(name, value):
    """A header field without indexing, without Huffman coding."""
    def text(data):
        if len(data) < 127:
            return bytes([len(data)]) + data
        rest, out = len(data) - 127, bytearray([127])
        while rest >= 128:
            out.append(rest & 127 | 128)
            rest >>= 7
        return bytes(out) + bytes([rest]) + data
    return b"\x00" + text(name) + text(value)


STATUS_200 = b"\x88"
RESPONSE = STATUS_200 + literal(b"content-type", b"application/grpc")


class HostileCollector:
    """Listens on 127.0.0.1:port and treats each connection as `kind` says, until it is stopped."""

    def __init__(self, kind, port):
        self.kind, self.port = kind, port
        self.connections = self.sent = 0
        self._stopping = threading.Event()
        self._open, self._threads = set(), []
        if kind == "gzip_bomb":
            _bomb()  # takes its time, which is not the attack's
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._start(self._accept)

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            KINDS[self.kind](self, connection)
        self._open.discard(connection)

    def stop(self):
        """Gone: the port is free for another."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- what the behaviours are made of ----

    def send(self, connection, data):
        connection.sendall(data)
        self.sent += len(data)

    def flood(self, connection, data, seconds=3600):
        """Sends the same again and again, as fast as it is taken; what comes is read and thrown away."""
        self._start(self.drain, connection)
        end = time.monotonic() + seconds
        while not self._stopping.is_set() and time.monotonic() < end:
            self.send(connection, data)

    def drain(self, connection):
        with contextlib.suppress(OSError):
            while not self._stopping.is_set() and connection.recv(1 << 16):
                pass

    def idle(self):
        """Keeps the connection as it is."""
        self._stopping.wait()

    @staticmethod
    def exactly(connection, size):
        data = b""
        while len(data) < size:
            more = connection.recv(size - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data

    def hello(self, connection, settings=b""):
        """The client's preface, and our SETTINGS."""
        self.exactly(connection, len(PREFACE))
        self.send(connection, frame(SETTINGS, payload=settings))

    def request(self, connection):
        """Reads until a request is whole, acknowledging SETTINGS; returns its stream."""
        while True:
            head = self.exactly(connection, 9)
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7fffffff
            self.exactly(connection, size)
            if kind == SETTINGS and not flags & ACK:
                self.send(connection, frame(SETTINGS, ACK))
            elif kind == PING and not flags & ACK:
                self.send(connection, frame(PING, ACK, payload=bytes(8)))
            elif stream and kind in (HEADERS, DATA) and flags & END_STREAM:
                return stream

    def after_request(self, connection):
        self.hello(connection)
        return self.request(connection)


KINDS = {}


def kind(function):
    """One behaviour: a function of the collector and a connection."""
    KINDS[function.__name__] = function
    return function


@kind
def continuation_flood(self, connection):
    stream = self.after_request(connection)
    block = literal(b"x-" + b"n" * 100, b"v" * 8000)
    self.send(connection, frame(HEADERS, 0, stream, RESPONSE))
    self.flood(connection, many(frame(CONTINUATION, 0, stream, block)))


@kind
def continuation_empty(self, connection):
    stream = self.after_request(connection)
    self.send(connection, frame(HEADERS, 0, stream, RESPONSE))
    self.flood(connection, many(frame(CONTINUATION, 0, stream)))


@kind
def ping_flood(self, connection):
    self.hello(connection)
    self.flood(connection, many(frame(PING, payload=b"12345678")))


@kind
def settings_flood(self, connection):
    self.hello(connection)
    self.flood(connection, many(frame(SETTINGS, payload=struct.pack(">HI", 4, 65535))))


@kind
def never_reads(self, connection):
    self.send(connection, frame(SETTINGS))
    self.idle()


@kind
def ping_never_reads(self, connection):
    """Each PING wants an answer, and none is read: they pile up with who sends them."""
    self.send(connection, frame(SETTINGS))
    while not self._stopping.is_set():
        self.send(connection, many(frame(PING, payload=b"12345678")))


@kind
def rst_storm(self, connection):
    self.hello(connection)
    while True:
        stream = self.request(connection)
        self.send(connection, many(frame(RST_STREAM, 0, stream, struct.pack(">I", 7))))


@kind
def goaway_loop(self, connection):
    self.hello(connection)
    self.flood(connection, many(frame(GOAWAY, payload=struct.pack(">II", 0x7fffffff, 0) + b"again" * 100)))


@kind
def goaway_each(self, connection):
    """Every connection is asked to leave before it has done anything."""
    self.hello(connection)
    self.send(connection, frame(GOAWAY, payload=struct.pack(">II", 0, 11) + b"too_many_pings"))


@kind
def huge_headers(self, connection):
    stream = self.after_request(connection)
    block = RESPONSE + b"".join(literal(b"x-%d" % n, b"v" * 15000) for n in range(1000))
    pieces = [block[at:at + 16384] for at in range(0, len(block), 16384)]
    self.send(connection, frame(HEADERS, 0, stream, pieces[0]))
    for number, piece in enumerate(pieces[1:]):
        self.send(connection, frame(CONTINUATION, END_HEADERS if number == len(pieces) - 2 else 0, stream, piece))
    self.drain(connection)


@kind
def huge_message(self, connection):
    stream = self.after_request(connection)
    self.send(connection, frame(HEADERS, END_HEADERS, stream, RESPONSE))
    self.send(connection, frame(DATA, 0, stream, b"\0\x7f\xff\xff\xff"))
    self.flood(connection, many(frame(DATA, 0, stream, bytes(16000))))


@kind
def largest_message(self, connection):
    """What is allowed, 4 MiB, without an end."""
    stream = self.after_request(connection)
    self.send(connection, frame(HEADERS, END_HEADERS, stream, RESPONSE))
    self.send(connection, frame(DATA, 0, stream, b"\0" + struct.pack(">I", 4 << 20)))
    for _ in range((4 << 20) // 16384):
        self.send(connection, frame(DATA, 0, stream, bytes(16384)))
    self.drain(connection)


@kind
def gzip_bomb(self, connection):
    """A response of some hundred KiB that unpacks to hundreds of MiB."""
    stream = self.after_request(connection)
    self.send(connection, frame(HEADERS, END_HEADERS, stream, RESPONSE + literal(b"grpc-encoding", b"gzip")))
    body = _bomb()
    body = b"\1" + struct.pack(">I", len(body)) + body
    for at in range(0, len(body), 16384):
        self.send(connection, frame(DATA, 0, stream, body[at:at + 16384]))
    self.send(connection, frame(HEADERS, END_HEADERS | END_STREAM, stream, literal(b"grpc-status", b"0")))
    self.drain(connection)


_bombs = []


def _bomb():
    if not _bombs:
        _bombs.append(gzip.compress(bytes(400 << 20), 9))
    return _bombs[0]


@kind
def zero_window(self, connection):
    self.hello(connection, struct.pack(">HI", 4, 0))
    self.drain(connection)


@kind
def slow_trickle(self, connection):
    self.exactly(connection, len(PREFACE))
    for byte in frame(SETTINGS, payload=struct.pack(">HI", 3, 100) * 100):
        self.send(connection, bytes([byte]))
        if self._stopping.wait(0.05):
            return
    self.drain(connection)


@kind
def garbage(self, connection):
    data = random.Random(12).randbytes(FLOOD)
    self.flood(connection, data)


@kind
def http1(self, connection):
    self.exactly(connection, len(PREFACE))
    self.send(connection, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhat?")
    self.drain(connection)


@kind
def tls_on_plaintext(self, connection):
    self.send(connection, b"\x15\x03\x03\x00\x02\x02\x46" + b"\x16\x03\x03\x40\x00" + bytes(16384))
    self.drain(connection)


@kind
def immediate_close(self, connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@kind
def silent(self, connection):
    self.idle()


@kind
def half_close(self, connection):
    self.hello(connection)
    connection.shutdown(socket.SHUT_WR)
    self.drain(connection)


@kind
def window_overflow(self, connection):
    stream = self.after_request(connection)
    self.flood(connection, many(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fffffff)) +
                                frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 0x7fffffff))))


@kind
def window_flood(self, connection):
    self.after_request(connection)
    self.flood(connection, many(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))), 0.5)
    self.drain(connection)


@kind
def giant_frame(self, connection):
    self.hello(connection)
    self.send(connection, b"\xff\xff\xff" + bytes([DATA, 0]) + struct.pack(">I", 1))
    self.flood(connection, bytes(FLOOD))


@kind
def push_promise(self, connection):
    stream = self.after_request(connection)
    self.flood(connection, b"".join(
        frame(PUSH_PROMISE, END_HEADERS, stream, struct.pack(">I", number) + RESPONSE + literal(b"x", b"v" * 1000))
        for number in range(2, 130, 2)))


@kind
def endless_trailers(self, connection):
    stream = self.after_request(connection)
    self.send(connection, frame(HEADERS, END_HEADERS, stream, RESPONSE))
    self.flood(connection, many(frame(HEADERS, END_HEADERS, stream, literal(b"x-trailer", b"v" * 4000))))


@kind
def endless_messages(self, connection):
    """Message after message, where one is due."""
    stream = self.after_request(connection)
    self.send(connection, frame(HEADERS, END_HEADERS, stream, RESPONSE))
    self.flood(connection, many(frame(DATA, 0, stream, b"\0\0\0\x0f\xfb" + bytes(4091))))


@kind
def hpack_bomb(self, connection):
    """One entry of 4000 bytes into the dynamic table, then a byte for each further copy of it."""
    stream = self.after_request(connection)
    entry = b"\x40" + literal(b"x-bomb", b"v" * 3900)[1:]
    self.send(connection, frame(HEADERS, 0, stream, RESPONSE + entry))
    self.flood(connection, many(frame(CONTINUATION, 0, stream, b"\xbe" * 16000)))


@kind
def table_size_storm(self, connection):
    """The largest tables, and updates of their size without an end."""
    self.hello(connection, struct.pack(">HIHI", 1, 0xffffffff, 6, 0xffffffff))
    stream = self.request(connection)
    self.send(connection, frame(HEADERS, 0, stream, b"\x3f\xe1\x1f"))
    self.flood(connection, many(frame(CONTINUATION, 0, stream, b"\x20\x3f\xe1\x1f" * 4000)))


@kind
def priority_flood(self, connection):
    self.hello(connection)
    self.flood(connection, b"".join(frame(PRIORITY, 0, number, struct.pack(">IB", 0, 16)) for number in range(1, 9001, 2)))


@kind
def unknown_frames(self, connection):
    self.hello(connection)
    self.flood(connection, many(frame(0xee, 0xff, 0, bytes(1000))))


@kind
def random_frames(self, connection):
    """Frames that are well framed, and whose type, flags, stream and content are drawn: another draw each time."""
    draw = random.Random(self.connections)
    stream = self.after_request(connection)
    self._start(self.drain, connection)
    for _ in range(200):
        payload = draw.choice([b"", draw.randbytes(draw.randrange(40)), STATUS_200, RESPONSE, b"\0\0\0\0\4" + bytes(4),
                               literal(b"grpc-encoding", b"gzip"), bytes(5), b"\1\0\0\0\2xx", struct.pack(">I", 8)])
        self.send(connection, frame(draw.randrange(10) if draw.random() < 0.8 else draw.randrange(256),
                                    draw.choice([0, 1, 4, 5, draw.randrange(256)]),
                                    draw.choice([0, stream, stream, stream, draw.randrange(2 ** 31)]), payload))
        if draw.random() < 0.1:
            time.sleep(0.01)


@kind
def large_status(self, connection):
    """A real refusal for the moment, with as much text and details as fit."""
    stream = self.after_request(connection)
    block = RESPONSE + literal(b"grpc-status", b"14") + literal(b"grpc-message", b"%ff" * 9000)
    block += literal(b"grpc-status-details-bin", b"/" * 30000)
    pieces = [block[at:at + 16384] for at in range(0, len(block), 16384)]
    self.send(connection, frame(HEADERS, END_STREAM, stream, pieces[0]))
    for number, piece in enumerate(pieces[1:]):
        self.send(connection, frame(CONTINUATION, END_HEADERS if number == len(pieces) - 2 else 0, stream, piece))
    self.drain(connection)
