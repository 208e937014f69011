"""A podspan-cri between two ends that a test drives by hand, to the byte."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import h2wire as h2
from .otlp import Messages
from .paths import built
from .process import Daemon, Failed, accepts, run, wait_for
from .spans import from_otlp

RUN = "/runtime.v1.RuntimeService/RunPodSandbox"
VERSION = "/runtime.v1.RuntimeService/Version"
STOP = "/runtime.v1.RuntimeService/StopPodSandbox"
_PUPPET = Path(__file__).with_name("puppet.py")


def run_request(name="web-0", padding=0):
    """A RunPodSandboxRequest, by hand; `padding` bytes of a label stand before the metadata."""
    field = lambda number, data: bytes([number << 3 | 2]) + varint(len(data)) + data
    metadata = field(1, name.encode()) + field(2, b"uid-of-" + name.encode()) + field(3, b"shop")
    label = field(6, field(1, b"filler") + field(2, b"x" * padding)) if padding else b""
    return field(1, label + field(1, metadata))


def varint(number):
    """A base-128 varint."""
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


class Backend:
    """Takes one connection after the other; keeps the bytes of each, and sends what it is told."""

    def __init__(self, path):
        self.connections = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(End(connection))

    def connection(self, number):
        """The connection of that number, once it is there."""
        wait_for(lambda: len(self.connections) > number, "the tap dials the runtime")
        return self.connections[number]

    def close(self):
        """Closes everything."""
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for end in self.connections:
            end.close()


class End:
    """One end of a connection: a thread reads all there is."""

    def __init__(self, connection):
        self.socket, self._data, self.eof, self.error = connection, bytearray(), False, None
        self._paused = threading.Event()
        self._paused.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while chunk := self.socket.recv(65536):
                self._data += chunk
                self._paused.wait()
        except OSError as error:
            self.error = error
        self.eof = True

    def pause(self):
        """Reads no more until resume()."""
        self._paused.clear()

    def resume(self):
        """Reads again."""
        self._paused.set()

    @property
    def data(self):
        """What has come in so far."""
        return bytes(self._data)

    def expect(self, wanted, timeout=20):
        """Waits for as many bytes as wanted, gives a straggler time, and compares all."""
        wait_for(lambda: len(self._data) >= len(wanted) or self.eof, f"{len(wanted)} bytes", timeout)
        time.sleep(0.02)
        if self.data != wanted:
            at = next((i for i, (a, b) in enumerate(zip(self.data, wanted)) if a != b), min(len(self._data), len(wanted)))
            raise Failed(f"{len(self._data)} bytes came, {len(wanted)} were sent; they differ at {at}: "
                        f"{self.data[at:at + 40].hex()} / {wanted[at:at + 40].hex()}")

    def until(self, size, timeout=20):
        """Waits for at least so many bytes and returns all."""
        wait_for(lambda: len(self._data) >= size, f"{size} bytes, {len(self._data)} came", timeout)
        return self.data

    def quiet(self, seconds=0.15):
        """Returns all bytes once nothing has come for a while."""
        size = -1
        while size != len(self._data):
            size = len(self._data)
            time.sleep(seconds)
        return self.data

    def send(self, data, rng=None, most=4096):
        """Sends all, in random pieces if rng is given."""
        at = 0
        while at < len(data):
            size = rng.choice([1, 2, 9, 10, 100, rng.randint(1, most)]) if rng else len(data)
            self.socket.sendall(data[at:at + size])
            at += size
            if rng and rng.random() < 0.2:
                time.sleep(0.0005)

    def close(self):
        """Closes the socket for good."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Bystander:
    """A connection through a tap that has nothing to do with what is being done to another one: it must not notice."""

    bound = 5.0  # seconds: far above what a call takes on a busy machine, far below what a blocked one would

    def __init__(self, tap):
        self.client, self.runtime = tap.connect()
        self._mine, self._theirs = h2.Peer(), h2.Peer()
        self._up, self._down, self._stream = b"", b"", 1
        self.slowest, self.count, self._busy = 0.0, 0, None
        self._exchange(h2.PREFACE + h2.settings(), h2.settings())

    def _exchange(self, up, down):
        begin = time.monotonic()
        self._up, self._down = self._up + up, self._down + down
        self.client.send(up)
        wait_for(lambda: len(self.runtime.data) >= len(self._up), "a bystander's request", self.bound, 0.001)
        self.runtime.send(down)
        wait_for(lambda: len(self.client.data) >= len(self._down), "a bystander's reply", self.bound, 0.001)
        self.slowest = max(self.slowest, time.monotonic() - begin)

    def call(self, path=VERSION, message=b"", traceparent=None):
        """A call, there and back."""
        extra = [("traceparent", traceparent)] if traceparent else ()
        self._exchange(self._mine.call(self._stream, path, message, extra=extra), self._theirs.reply(self._stream, b"ok"))
        self._stream += 2
        self.count += 1

    def check(self):
        """One more call, and all bytes so far are what they should be."""
        self.call()
        assert self.runtime.data == self._up and self.client.data == self._down, "a bystander's bytes have changed"
        assert self.slowest < self.bound

    def __enter__(self):
        """Makes calls without end, beside the test."""
        end = threading.Event()

        def run_calls():
            try:
                while not end.is_set():
                    self.call()
                    end.wait(0.002)
            except Exception as error:  # pylint: disable=broad-except
                failed.append(error)

        failed = []
        thread = threading.Thread(target=run_calls, daemon=True)
        thread.start()
        self._busy = (end, thread, failed)
        return self

    def __exit__(self, *_):
        end, thread, failed = self._busy
        end.set()
        thread.join()
        if failed:
            raise failed[0]
        self.check()


class Puppet:
    """One end of a connection in a process of its own, to be stopped and killed; `data` is what it has received."""

    def __init__(self, kind, path, folder):
        Puppet._count = getattr(Puppet, "_count", 0) + 1
        self._status = Path(folder) / f"puppet-{Puppet._count}"
        self._data, self._stopped = bytearray(), False
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", _PUPPET, kind, str(path), str(self._status)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.process.stderr.read(5) != b"ready":
            raise Failed("a puppet does not start: " + self.process.stderr.read().decode())
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            self._data += chunk

    @property
    def data(self):
        """What it has received so far."""
        return bytes(self._data)

    @property
    def ended(self):
        """How its connection ended: None, "eof", "ECONNRESET" …"""
        return self._status.read_text(encoding="ascii") if self._status.exists() else None

    def send(self, data):
        """Has it send bytes; does not wait until they are sent."""
        self.process.stdin.write(len(data).to_bytes(4, "big") + data)
        self.process.stdin.flush()

    def until(self, size, timeout=10):
        """Waits for at least so many bytes."""
        wait_for(lambda: len(self._data) >= size, f"{size} bytes at a puppet", timeout, 0.002)

    def wait_end(self, timeout=10):
        """Waits for the end of its connection and says how it was."""
        return wait_for(lambda: self.ended, "the end of a puppet's connection", timeout, 0.002)

    def stop(self):
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


class Place:
    """Where a podspan-cri works, in a folder: sockets, configuration, spool and context files, and what they say."""

    def __init__(self, folder, rate=0, extra=""):
        self.folder, self.listen, self.runtime = folder, folder / "cri.sock", folder / "runtime.sock"
        self.state, self.config = folder / "state", folder / "podspan.conf"
        (self.state / "spool").mkdir(parents=True, exist_ok=True)
        self.configure(rate, extra)

    def configure(self, rate, extra=""):
        """Writes the configuration."""
        self.config.write_text(f"[podspan]\nenable_tracing = true\ntracing_sampling_rate_per_million = {rate}\n{extra}\n",
                               encoding="utf-8")

    @property
    def options(self):
        """--config and --state-dir."""
        return ["--config", self.config, "--state-dir", self.state]

    @property
    def command(self):
        """podspan-cri at this place."""
        return [built("podspan-cri"), "--listen", self.listen, "--runtime", self.runtime, *self.options]

    def counters(self):
        """podspan-cri's counters, by the names that `podspan status` gives them."""
        status = run(built("podspan"), "status", "--json", *self.options, "--store-dir", self.folder)
        return json.loads(status.stdout)["counters"].get("podspan-cri", {})

    def count(self, name):
        """One of them."""
        return self.counters().get(name, 0)

    def spans(self):
        """All spans in the spool."""
        found = []
        for path in sorted((self.state / "spool").glob("[0-9]*")):
            found += from_otlp(Messages["ExportTraceServiceRequest"].FromString(path.read_bytes()))
        return found

    def wait_spans(self, count, timeout=10):
        """Waits for so many spans."""
        return wait_for(lambda: (lambda found: found if len(found) >= count else None)(self.spans()), f"{count} spans",
                        timeout)

    def take_spans(self, count):
        """Waits for so many spans, and takes all there are out of the spool."""
        found = self.wait_spans(count)
        for path in (self.state / "spool").glob("[0-9]*"):
            path.unlink()
        return found

    def live(self):
        """The names of context files of calls in flight."""
        folder = self.state / "context" / "live"
        return [name for name in os.listdir(folder) if not name.startswith(".")] if folder.exists() else []

    def young(self):
        """The records of calls in flight that have no file yet, as docs/context.md says they are to be read."""
        path, found = self.state / "context" / "live" / ".young", []
        data = path.read_bytes() if path.exists() else b""
        for at in range(0, len(data), 1024):
            text = data[at:at + 1024].split(b"\0")[0]
            if len(text) >= 34 and text[:17] == text[-17:] and text[16:17] == b"\n":
                found.append(text[17:-17].decode())
        return found


class Tap(Place):
    """A podspan-cri between scripted ends; `wrapper` is a command that starts it, such as prlimit, `prepare` is called
    with the state directory before it starts."""

    def __init__(self, folder, rate=0, extra="", wrapper=(), env=None, prepare=None):
        super().__init__(folder, rate, extra)
        if prepare:
            prepare(self.state)
        self.backend = Backend(self.runtime)
        self.daemon = Daemon("podspan-cri", [*wrapper, *self.command], folder, env=env)
        self.daemon.wait_until(lambda: accepts(self.listen), "listens")
        wait_for(lambda: self.backend.connections, "the readiness check's connection")
        self._used = len(self.backend.connections)
        self.ended = False  # a test has ended it

    def cpu_seconds(self):
        """CPU time of podspan-cri so far."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def pss(self):
        """Its memory, in KiB."""
        rollup = Path(f"/proc/{self.daemon.pid}/smaps_rollup").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))

    def connect(self):
        """A client's end and the runtime's end of a new connection."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.listen))
        client = End(connection)
        runtime = self.backend.connection(self._used)
        self._used += 1
        return client, runtime

    def close_ended(self):
        """For a test that has ended podspan-cri: makes room for another one in its folder."""
        self.ended = True
        self.close()
        self.runtime.unlink()

    def close(self):
        """Ends it."""
        alive = self.daemon.alive() or self.ended
        self.backend.close()
        self.daemon.stop()
        assert alive, f"podspan-cri died:\n{self.daemon.log()}"


@contextlib.contextmanager
def making(folder, kind=Tap):
    """For a fixture: what makes taps, in folders of their own. In the end they are closed, and must have been alive."""
    taps = []

    def make(**options):
        place = folder / str(len(taps))
        place.mkdir()
        taps.append(kind(place, **options))
        return taps[-1]

    yield make
    for tap in taps:
        tap.close()
