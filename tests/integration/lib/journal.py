"""A journald that remembers what it is sent."""

import array
import mmap
import os
import socket
import struct

from .process import wait_for

PATH = "/run/systemd/journal/socket"


def parse(data):
    """The fields of a native datagram."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size, = struct.unpack("<Q", data[:8])
            value, data = data[8:8 + size], data[9 + size:]
        fields.setdefault(name.decode(), value)
    return fields


class Journal:
    """Listens where journald does; the session's own /run/systemd/journal is empty."""

    def __init__(self, path=PATH):
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._records = []

    def records(self):
        """All that have come so far."""
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return self._records
            for _, kind, payload in ancillary:
                if kind == socket.SCM_RIGHTS:
                    data = self._read(array.array("i", payload)[0])
            self._records.append(parse(data))

    @staticmethod
    def _read(fd):
        """A datagram that was too large came as a sealed file."""
        with os.fdopen(fd, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            return bytes(memory)

    def record(self, **wanted):
        """Waits for a record with these fields."""
        return wait_for(lambda: next((record for record in self.records() if all(
            record.get(name) == value for name, value in wanted.items())), None), f"{wanted} in the journal")

    def __enter__(self):
        if os.path.exists(self._path):
            os.unlink(self._path)
        self._socket.bind(self._path)
        os.chmod(self._path, 0o666)
        return self

    def __exit__(self, *_):
        self._socket.close()
        os.unlink(self._path)
