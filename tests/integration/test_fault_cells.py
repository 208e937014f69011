"""The fault cells of docs/faults.md: what is done to one connection is what a direct one would show, hurts no other, ends
within its bound, and what is lost is counted."""

import ctypes
import os
import random
import re
import resource
import select
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from lib import h2wire as h2
from lib.paths import REPO
from lib.process import wait_for
from lib.session import mount, unmount_below
from lib.spans import Caller
from lib.tap import RUN, STOP, VERSION, Bystander, Puppet, Tap, making, run_request

MS_RDONLY, MS_REMOUNT = 1, 32
BOUND = 5.0  # seconds; podspan-cri's own bounds are below 0.2
POINTS = ["before-headers", "after-headers", "mid-data", "after-request", "mid-reply", "before-trailers"]
SIDES = ["client", "runtime"]


@pytest.fixture(name="make_tap")
def fixture_make_tap(tmp_path):
    """Makes taps, ends them, and checks that they were still alive."""
    with making(tmp_path) as make:
        yield make
    unmount_below(tmp_path)


@pytest.fixture(name="tap", scope="module")
def fixture_tap(tmp_path_factory, fixture_nothing_is_left):
    """One for all cells in which a connection is harmed and podspan-cri itself is not, with a bystander."""
    del fixture_nothing_is_left  # which is to look only after this one has gone
    tap = Tap(tmp_path_factory.mktemp("tap"))
    tap.bystander = Bystander(tap)
    yield tap
    tap.close()


# ---- the ends: killed, stopped, restarted ----


def receive(end, size):
    """So many bytes from a socket."""
    data = bytearray()
    while len(data) < size:
        chunk = end.recv(size - len(data))
        assert chunk, f"the end after {len(data)} bytes of {size}"
        data += chunk
    return bytes(data)


class Line:
    """A client and a runtime, each a process, directly or through a tap; plays a call step by step."""

    def __init__(self, folder, tap=None):
        path = tap.runtime if tap else folder / "direct.sock"
        path.unlink(missing_ok=True)
        self.ends = {"runtime": Puppet("listen", path, folder)}
        self.ends["client"] = Puppet("connect", tap.listen if tap else path, folder)
        self._sent = {side: 0 for side in SIDES}

    def play(self, steps, wait=True):
        """Sends each step's bytes, and waits until they have arrived."""
        for side, data in steps:
            self.ends[side].send(data)
            self._sent[side] += len(data)
            if wait:
                self.arrived()

    def arrived(self):
        """Waits until all that was sent has arrived."""
        self.ends["runtime"].until(self._sent["client"])
        self.ends["client"].until(self._sent["runtime"])

    def close(self):
        """Ends both."""
        for end in self.ends.values():
            end.go_on()
            end.kill()


def script(traceparent):
    """A whole call as (side, bytes); after 2 + N of the steps it is at POINTS[N]."""
    mine, theirs = h2.Peer(), h2.Peer()
    headers = h2.header_frames(1, mine.block(h2.request_headers(RUN, [("traceparent", traceparent)])))
    data = h2.data_frames(1, h2.grpc_message(run_request("cell", padding=900)))
    answer = h2.header_frames(1, theirs.block([(":status", "200"), ("content-type", "application/grpc")]))
    reply = h2.data_frames(1, h2.grpc_message(b"\x0a\x04sand" + b"\x12\x7f" + b"z" * 127), end=False)
    trailers = h2.header_frames(1, theirs.block([("grpc-status", "0")]), end_stream=True)
    return [("client", h2.PREFACE + h2.settings()), ("runtime", h2.settings()), ("client", headers),
            ("client", data[:500]), ("client", data[500:]), ("runtime", answer + reply[:60]), ("runtime", reply[60:]),
            ("runtime", trailers)]


def other(side):
    """The one at the other end."""
    return SIDES[side == "client"]


def kill_at(line, steps, point, victim):
    """Kills an end; what the other one has seen by then, and how its connection ended."""
    line.play(steps[:2 + POINTS.index(point)])
    line.ends[victim].kill()
    begin = time.monotonic()
    end = line.ends[other(victim)].wait_end(BOUND)
    return line.ends[other(victim)].data, end, time.monotonic() - begin


def check_cut_off(tap, point, victim, caller):
    """The call that was cut off has a span that says so, and no context file."""
    wait_for(lambda: not tap.live(), "no context file is left", BOUND)
    if point == "before-headers":
        return
    span, = tap.take_spans(1)
    assert span.trace_id == caller.trace_id
    assert span.attributes["podspan.rpc.end"] == f"connection_by_{victim}"
    assert span.attributes["error.type"] == ("CANCELLED" if victim == "client" else "UNAVAILABLE")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("victim", SIDES)
def test_killed(tap, tmp_path, victim, point):
    """An end dies: the other one sees the same bytes and the same end as directly."""
    caller = Caller()
    steps = script(caller.traceparent)
    direct, through = Line(tmp_path), Line(tmp_path, tap)
    try:
        expected = kill_at(direct, steps, point, victim)
        assert kill_at(through, steps, point, victim)[:2] == expected[:2]
        check_cut_off(tap, point, victim, caller)
        tap.bystander.check()
    finally:
        direct.close()
        through.close()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("victim", SIDES)
def test_restarted(tap, tmp_path, victim, point):
    """An end dies and is there again: the next call passes, as if nothing had been."""
    caller, again = Caller(), Caller()
    first, second = Line(tmp_path, tap), None
    try:
        kill_at(first, script(caller.traceparent), point, victim)
        check_cut_off(tap, point, victim, caller)
        second = Line(tmp_path, tap)
        steps = script(again.traceparent)
        second.play(steps)
        for side in SIDES:
            assert second.ends[other(side)].data == b"".join(data for sender, data in steps if sender == side)
        span, = tap.take_spans(1)
        assert span.trace_id == again.trace_id and "error.type" not in span.attributes
        tap.bystander.check()
    finally:
        first.close()
        if second:
            second.close()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("victim", SIDES)
def test_stopped(tap, tmp_path, victim, point):
    """An end stops (SIGSTOP): the call waits, in sight; nothing spins; when the end goes on, so does the call."""
    caller = Caller()
    steps = script(caller.traceparent)
    line = Line(tmp_path, tap)
    at = 2 + POINTS.index(point)
    try:
        line.play(steps[:at])
        line.ends[victim].stop()
        # What the other one has to say meanwhile is taken from it.
        meanwhile = next((n for n, (side, _) in enumerate(steps[at:]) if side == victim), len(steps) - at)
        line.play(steps[at:at + meanwhile], wait=False)
        asked, answered = at >= 5 or victim == "runtime", at + meanwhile == len(steps)
        wait_for(lambda: len(tap.live()) == (asked and not answered), "the call is in sight while it lasts", BOUND)
        cpu = tap.cpu_seconds()
        tap.bystander.check()
        time.sleep(0.1)
        assert tap.cpu_seconds() - cpu < 0.08, "it spins"
        assert len(tap.live()) == (asked and not answered)
        line.ends[victim].go_on()
        line.arrived()
        line.play(steps[at + meanwhile:])
        for side in SIDES:
            assert line.ends[other(side)].data == b"".join(data for sender, data in steps if sender == side)
            assert line.ends[side].ended is None
        span, = tap.take_spans(1)
        assert span.trace_id == caller.trace_id and "error.type" not in span.attributes
        assert tap.live() == []
    finally:
        line.close()


def test_backlog_of_the_runtime(make_tap):
    """A runtime that has stopped accepting: connections that it has no room for are closed before a byte, and counted;
    when it accepts again, all is well."""
    tap = make_tap()
    bystander = Bystander(tap)
    crowd = Crowd(tap, backlog=0)
    crowd.connect(8)
    wait_for(lambda: tap.count("cri_closed") > 0, "what finds no room is counted", BOUND)
    wait_for(lambda: sum(has_end(client) for client in crowd.clients) == tap.count("cri_closed"), "and closed", BOUND)
    bystander.check()
    through = crowd.through()
    assert through + tap.count("cri_closed") == 8
    crowd.connect(1)
    crowd.wait_through(through + 1)
    bystander.check()
    crowd.close()


# ---- slow, many ----


@pytest.mark.parametrize("slow", ["client-reads", "runtime-reads", "client-writes", "runtime-writes"])
def test_slow(tap, tmp_path, slow):
    """An end that reads or writes a little at a time: its peer is slowed, no byte differs, no other is slowed."""
    side, _, how = slow.partition("-")
    data = h2.data_frames(1, random.Random(1).randbytes(1 << 20 if how == "reads" else 1500), end=False)
    (tap.runtime).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tap.runtime))
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tap.listen))
    runtime, _ = listener.accept()
    ends = {"client": client, "runtime": runtime}
    start = h2.PREFACE + h2.settings() + h2.Peer().call(1, VERSION, b"")
    client.sendall(start)
    assert receive(runtime, len(start)) == start
    reader, writer = (side, other(side)) if how == "reads" else (other(side), side)
    received = bytearray()

    def read():
        while len(received) < len(data):
            chunk = ends[reader].recv(8192 if how == "reads" else 65536)
            if not chunk:
                return
            received.extend(chunk)
            if how == "reads":
                time.sleep(0.002)

    def write():
        if how == "reads":
            ends[writer].sendall(data)
        else:
            for at in range(0, len(data), 3):
                ends[writer].sendall(data[at:at + 3])
                time.sleep(0.0005)

    threads = [threading.Thread(target=read), threading.Thread(target=write)]
    with tap.bystander:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert bytes(received) == data
    assert tap.pss() < 4096
    for end in (client, runtime, listener):
        end.close()


@pytest.fixture(name="many_files")
def fixture_many_files():
    """Room for the sockets of many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """Connections without threads: clients of a tap, and what the tap dials for them."""

    def __init__(self, tap, backlog=4096):
        tap.runtime.unlink(missing_ok=True)
        self._tap, self.clients, self.runtimes = tap, [], []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(tap.runtime))
        self._listener.listen(backlog)
        self._listener.setblocking(False)

    def connect(self, count):
        """So many more clients; whether they get through is another matter."""
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(BOUND)
            client.connect(str(self._tap.listen))
            try:
                client.sendall(h2.PREFACE + h2.settings())
            except BrokenPipeError:
                pass  # closed at once, which is the test's to judge
            self.clients.append(client)

    def through(self):
        """How many have got through so far."""
        while True:
            try:
                runtime, _ = self._listener.accept()
            except BlockingIOError:
                return len(self.runtimes)
            runtime.settimeout(BOUND)
            self.runtimes.append(runtime)

    def wait_through(self, count):
        """Waits until so many have got through."""
        wait_for(lambda: self.through() >= count, f"{count} connections get through, {len(self.runtimes)} did", 20)

    def close(self):
        """Closes all."""
        for end in (*self.clients, *self.runtimes, self._listener):
            end.close()


def test_thousand_idle_and_hundred_busy(make_tap, many_files):
    """1 000 idle connections cost little memory, 100 busy ones beside them get every byte right, and none waits."""
    del many_files
    tap = make_tap()
    bystander = Bystander(tap)
    before = tap.pss()
    idle = Crowd(tap)
    idle.connect(1000)
    idle.wait_through(1000)
    for runtime in idle.runtimes:
        start = h2.PREFACE + h2.settings()
        assert receive(runtime, len(start)) == start
    assert tap.pss() - before < 8 * 1000, "KiB for 1000 idle connections"
    idle.connect(100)
    idle.wait_through(1100)
    pairs = []
    for client in idle.clients[1000:]:
        # Which is whose, it says itself.
        client.sendall(h2.frame(h2.PING, 0, 0, client.fileno().to_bytes(8, "big")))
    for runtime in idle.runtimes[1000:]:
        data = receive(runtime, len(h2.PREFACE + h2.settings()) + 17)
        runtime.sendall(h2.settings())
        pairs.append((next(c for c in idle.clients[1000:] if c.fileno() == int.from_bytes(data[-8:], "big")), runtime))
    for client, _ in pairs:
        assert receive(client, 9) == h2.settings()
    failed = []

    def converse(client, runtime, seed):
        rng, mine, theirs = random.Random(seed), h2.Peer(), h2.Peer()
        try:
            for stream in range(1, 41, 2):
                request = mine.call(stream, VERSION, rng.randbytes(rng.choice([0, 100, 20000])))
                reply = theirs.reply(stream, rng.randbytes(rng.choice([0, 100, 20000])))
                client.sendall(request)
                assert receive(runtime, len(request)) == request
                runtime.sendall(reply)
                assert receive(client, len(reply)) == reply
        except (OSError, AssertionError) as error:
            failed.append(error)

    threads = [threading.Thread(target=converse, args=(*pair, seed)) for seed, pair in enumerate(pairs)]
    with bystander:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failed, failed[:3]
    # The idle ones are as they were.
    for number in range(0, 1000, 97):
        idle.runtimes[number].sendall(h2.settings())
    wait_for(lambda: len(readable(idle.clients[:1000])) == len(range(0, 1000, 97)), "the idle ones still work", BOUND)
    idle.close()
    assert tap.count("cri_connections") >= 1101 and tap.count("cri_plain") == 0 and tap.count("cri_closed") == 0


def readable(ends):
    """Those at which there is something to read, or the end."""
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    return poll.poll(0)


# ---- podspan-cri itself runs out of something ----


def test_connections_at_the_bound(make_tap, many_files):
    """As many connections as RLIMIT_NOFILE allows: whoever comes then waits, nothing spins, and is let in when one goes."""
    del many_files
    tap = make_tap(wrapper=["prlimit", "--nofile=200:200"])
    bystander = Bystander(tap)
    crowd = Crowd(tap)
    crowd.connect(80)
    crowd.wait_through(49)
    cpu, begin = tap.cpu_seconds(), time.monotonic()
    with bystander:
        time.sleep(0.5)
    assert crowd.through() == 49, "of 50, one is the bystander's"
    assert tap.cpu_seconds() - cpu < 0.5 * (time.monotonic() - begin), "it spins"
    bystander.call(RUN, run_request("at-the-bound"), Caller().traceparent)
    assert tap.wait_spans(1), "descriptors are kept for spans"
    for end in crowd.clients[:20]:
        end.close()
    crowd.wait_through(69)
    bystander.check()
    assert tap.count("cri_closed") == 0 and tap.count("context_failed") == 0 and tap.count("drop_io") == 0
    crowd.close()


def limit(tap, what, value):
    """Sets a soft limit of podspan-cri while it runs; None: back to what it was."""
    _, hard = resource.prlimit(tap.daemon.pid, what)
    resource.prlimit(tap.daemon.pid, what, (hard if value is None else value, hard))


def open_files(tap):
    """How many descriptors podspan-cri has."""
    return len(os.listdir(f"/proc/{tap.daemon.pid}/fd"))


def test_no_descriptor_left(make_tap):
    """Not one descriptor: what is connected works, spans are counted as lost, who comes waits; with one again all is well."""
    tap = make_tap()
    bystander = Bystander(tap)
    crowd = Crowd(tap)
    limit(tap, resource.RLIMIT_NOFILE, open_files(tap))
    crowd.connect(5)
    bystander.call(RUN, run_request("unspoken-of"), Caller().traceparent)
    wait_for(lambda: tap.count("drop_io") == 1, "the lost span is counted", BOUND)
    assert tap.count("context_failed") >= 1
    cpu = tap.cpu_seconds()
    time.sleep(0.5)
    assert tap.cpu_seconds() - cpu < 0.2, "it spins"
    assert crowd.through() == 0 and not any(has_end(client) for client in crowd.clients)
    limit(tap, resource.RLIMIT_NOFILE, None)
    crowd.wait_through(5)
    bystander.call(RUN, run_request("spoken-of"), Caller().traceparent)
    span, = tap.wait_spans(1)
    assert span.resource["k8s.pod.name"] == "spoken-of"
    bystander.check()
    crowd.close()


def test_no_descriptor_for_the_runtime(make_tap):
    """One descriptor, where a connection takes two: the client is closed before a byte, which is counted."""
    tap = make_tap()
    bystander = Bystander(tap)
    crowd = Crowd(tap)
    limit(tap, resource.RLIMIT_NOFILE, open_files(tap) + 1)
    crowd.connect(1)
    wait_for(lambda: has_end(crowd.clients[0]), "the client is closed", BOUND)
    wait_for(lambda: tap.count("cri_closed") == 1, "it is counted", BOUND)
    limit(tap, resource.RLIMIT_NOFILE, None)
    crowd.connect(1)
    crowd.wait_through(1)
    bystander.check()
    crowd.close()


def has_end(client):
    client.settimeout(0.01)
    try:
        return client.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_no_memory(make_tap, many_files):
    """RLIMIT_AS at what it has: connections that need more lose their tracing or end, counted, and with whole bytes up to
    there; the others go on; with memory again all is well."""
    del many_files
    tap = make_tap()
    bystander = Bystander(tap)
    pairs = [tap.connect() for _ in range(24)]
    start = h2.PREFACE + h2.settings()
    for client, runtime in pairs:
        client.send(start)
        runtime.expect(start)
        client.pause()
    status = Path(f"/proc/{tap.daemon.pid}/status").read_text(encoding="ascii")
    limit(tap, resource.RLIMIT_AS, int(re.search(r"^VmSize:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024)
    sent = h2.settings() + h2.data_frames(1, random.Random(5).randbytes(3 << 20), end=False)
    senders = []
    for _, runtime in pairs:
        senders.append(threading.Thread(target=_send_all, args=(runtime.socket, sent), daemon=True))
        senders[-1].start()
    with bystander:
        wait_for(lambda: tap.count("cri_closed") > 0, "a connection without memory is closed, and counted", BOUND)
        time.sleep(0.2)
    limit(tap, resource.RLIMIT_AS, None)
    for client, _ in pairs:
        client.resume()
    for client, _ in pairs:
        wait_for(lambda c=client: c.eof or len(c.data) == len(sent), "all or a part of the bytes", 30)
    closed = sum(client.eof for client, _ in pairs)
    for client, _ in pairs:
        assert sent.startswith(client.data)
        assert client.eof or client.data == sent
    assert closed > 0 and tap.count("cri_closed") == closed
    for sender in senders:
        sender.join(10)
    bystander.call(RUN, run_request("afterwards"), Caller().traceparent)
    assert "afterwards" in {span.resource.get("k8s.pod.name") for span in tap.wait_spans(1)}
    bystander.check()


def _send_all(end, data):
    try:
        end.sendall(data)
    except OSError:
        pass


# ---- spool and context directory ----


@pytest.mark.parametrize("folder", ["spool", "context"])
@pytest.mark.parametrize("harm", ["full", "absent", "read-only"])
def test_state(make_tap, folder, harm):
    """A spool or context directory of which nothing can be made: calls pass as ever, and what is lost is counted."""
    full = "nr_inodes=1" if folder == "spool" else "nr_inodes=4"

    def prepare(state):
        (state / folder).mkdir(exist_ok=True)
        if harm != "absent":
            mount("tmpfs", state / folder, "tmpfs", data=f"mode=2750,{full if harm == 'full' else 'size=1m'}")

    tap = make_tap(prepare=prepare)
    bystander = Bystander(tap)
    if harm == "absent":
        shutil.rmtree(tap.state / folder)
    elif harm == "read-only":
        mount("tmpfs", tap.state / folder, "tmpfs", flags=MS_REMOUNT | MS_RDONLY, data="mode=2750")
    for number in range(5):
        bystander.call(RUN, run_request(f"pod-{number}"), Caller().traceparent)
    bystander.check()
    if folder == "context":
        assert {span.resource["k8s.pod.name"] for span in tap.wait_spans(5)} == {f"pod-{number}" for number in range(5)}
        wait_for(lambda: tap.count("context_failed") >= 5, f"lost context files are counted: {tap.counters()}", BOUND)
    elif harm == "absent":
        # Those that were under way when it went are counted; after that nobody wants spans, and none is made.
        wait_for(lambda: 1 <= tap.count("drop_io") <= 5, "lost spans are counted", BOUND)
        lost = tap.count("drop_io")
        bystander.call(RUN, run_request("unwanted"), Caller().traceparent)
        time.sleep(0.1)
        assert tap.count("drop_io") == lost
    else:
        reason = "drop_no_space" if harm == "full" else "drop_io"
        wait_for(lambda: tap.count(reason) == 5, f"lost spans are counted: {tap.counters()}", BOUND)
    assert tap.count("cri_plain") == 0


# ---- garbage, truncated and hostile HTTP/2 ----

START = h2.PREFACE + h2.settings()
HEADERS = {"client": h2.request_headers(RUN), "runtime": [(":status", "200"), ("content-type", "application/grpc")]}


def _block(side):
    return h2.Peer().block(HEADERS[side])


def _bomb():
    """A field of 4000 bytes put into the table, then named by one byte each: 16 MB in 4 KB."""
    return h2.header_frames(1, b"\x40\x01x" + b"\x7f" + b"\xa1\x1e" + b"y" * 4000 + b"\xbe" * 4000)


def _rapid_reset(count):
    peer = h2.Peer()
    return b"".join(h2.header_frames(2 * n + 1, peer.block(h2.request_headers(STOP)), end_stream=True) +
                    h2.frame(h2.RST_STREAM, 0, 2 * n + 1, (8).to_bytes(4, "big")) for n in range(count))


def _large_block(size, pieces):
    """A header list of `size` bytes, as fields of 4000, in so many frames."""
    block = b"".join(b"\x00\x02" + b"k%d" % (n % 10) + b"\x7f\xa1\x1e" + b"v" * 4000 for n in range(size // 4000))
    return h2.header_frames(1, block, split=[len(block) // pieces] * (pieces - 1))


# name: (from which side, the bytes behind the beginning, whether the connection becomes plain forwarding)
HOSTILE = {
    "zero-length-data": ("both", lambda side: h2.header_frames(1, _block(side)) + h2.frame(h2.DATA, 0, 1) * 50000, False),
    "zero-length-continuations": ("both", lambda side: h2.frame(h2.HEADERS, 0, 1, _block(side)) +
                                  h2.frame(h2.CONTINUATION, 0, 1) * 50000, False),
    "zero-length-headers": ("both", lambda side: h2.frame(h2.HEADERS, h2.END_HEADERS, 1) * 20000, False),
    "huge-settings": ("both", lambda side: h2.frame(h2.SETTINGS, 0, 0, b"\x00\x01\x00\x00\x10\x00" * 2730), False),
    "many-settings": ("both", lambda side: h2.settings(header_table_size=100) * 20000, True),
    "settings-of-16-mib": ("both", lambda side: h2.frame(h2.SETTINGS, 0, 0, b"\x00\x09\x00\x00\x00\x01" * 2700000), False),
    "table-of-4-gib": ("both", lambda side: h2.frame(h2.SETTINGS, 0, 0, b"\x00\x01\xff\xff\xff\xff"), False),
    "ack-of-nothing": ("both", lambda side: h2.SETTINGS_ACK * 3, True),
    "continuation-flood": ("both", lambda side: h2.frame(h2.HEADERS, 0, 1, _block(side)) + b"".join(
        h2.frame(h2.CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 200) for _ in range(5000)), True),
    "ping-flood": ("both", lambda side: h2.frame(h2.PING, 0, 0, b"12345678") * 50000, False),
    "priority-flood": ("both", lambda side: h2.frame(h2.PRIORITY, 0, 1, b"\0\0\0\0\x10") * 50000, False),
    "reset-flood": ("both", lambda side: h2.frame(h2.RST_STREAM, 0, 1, b"\0\0\0\x08") * 50000, False),
    "rapid-reset": ("client", lambda side: _rapid_reset(2000), False),
    "goaway-flood": ("both", lambda side: h2.frame(h2.GOAWAY, 0, 0, bytes(8)) * 30000, False),
    "window-overflow": ("both", lambda side: h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 30000, False),
    "window-of-zero": ("both", lambda side: h2.settings(initial_window_size=0) +
                       h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(4)) * 1000, False),
    "hpack-bomb": ("both", lambda side: _bomb(), True),
    "header-list-of-1-mib": ("both", lambda side: _large_block(1 << 20, 70), True),
    "hpack-integer-overflow": ("both", lambda side: h2.header_frames(1, b"\x7f" + b"\xff" * 20), True),
    "hpack-index-beyond": ("both", lambda side: h2.header_frames(1, b"\xff\xff\xff\x01"), True),
    "frame-of-16-mib": ("both", lambda side: h2.header_frames(1, _block(side)) + h2.frame(h2.DATA, 0, 1, bytes(0xffffff)),
                        False),
    "headers-of-16-mib": ("both", lambda side: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x20" * 0xffffff), True),
    "padding-beyond": ("both", lambda side: h2.frame(h2.DATA, h2.PADDED, 1, b"\xffx"), True),
    "even-stream": ("client", lambda side: h2.header_frames(2, _block(side)), True),
    "push-from-the-client": ("client", lambda side: h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, b"\0\0\0\2\x82"), True),
    "interleaved-block": ("both", lambda side: h2.frame(h2.HEADERS, 0, 1, _block(side)) + h2.frame(h2.PING, 0, 0, bytes(8)),
                          True),
    "frames-of-the-future": ("both", lambda side: h2.frame(0xee, 0xff, 7, b"future") * 20000, False),
    "thousands-of-streams": ("client", lambda side: b"".join(h2.Peer().call(2 * n + 1, VERSION, b"")
                                                             for n in range(5000)), False),
    "garbage": ("both", lambda side: h2.frame(h2.DATA, 0, 0, b"x") + random.Random(7).randbytes(200000), True),
}
HOSTILE_CELLS = [(name, side) for name, (sides, _, _) in HOSTILE.items() for side in SIDES if sides in ("both", side)]


@pytest.mark.parametrize("name,side", HOSTILE_CELLS, ids=lambda value: value)
def test_hostile(tap, name, side):
    """It arrives as it was sent, and so does its answer; memory stays small, calls of others go on, and giving up on a
    connection is counted."""
    _, make, plain = HOSTILE[name]
    data = make(side)
    before = tap.counters()
    crowd = Crowd(tap)
    crowd.connect(1)
    crowd.wait_through(1)
    ends = {"client": crowd.clients[0], "runtime": crowd.runtimes[0]}
    assert receive(ends["runtime"], len(START)) == START
    ends["runtime"].sendall(h2.settings())
    assert receive(ends["client"], 9) == h2.settings()
    begin = time.monotonic()
    with tap.bystander:
        sender = threading.Thread(target=_send_all, args=(ends[side], data), daemon=True)
        sender.start()
        ends[other(side)].settimeout(20)
        assert receive(ends[other(side)], len(data)) == data
        sender.join(BOUND)
        noise = random.Random(9).randbytes(5000) if plain else h2.frame(h2.PING, h2.ACK, 0, bytes(8))
        ends[other(side)].sendall(noise)
        assert receive(ends[side], len(noise)) == noise
    assert time.monotonic() - begin < 20
    assert tap.pss() < 4096, "memory"
    after = tap.counters()
    assert after.get("cri_plain", 0) - before.get("cri_plain", 0) == plain, "plain forwarding is counted"
    crowd.close()
    wait_for(lambda: not tap.live(), "no context file is left", BOUND)
    wait_for(lambda: open_files(tap) <= tap.idle_files, "no descriptor is left", BOUND)
    for path in (tap.state / "spool").glob("[0-9]*"):
        path.unlink()


@pytest.fixture(autouse=True)
def fixture_idle_files(request):
    """Descriptors of the shared tap: those of the bystander, and a spool file that is being written."""
    if "tap" in request.fixturenames:
        tap = request.getfixturevalue("tap")
        tap.idle_files = open_files(tap) + 2


@pytest.mark.parametrize("side", SIDES)
def test_truncated(tap, tmp_path, side):
    """A conversation cut off anywhere: what came before arrives, then the end, as directly."""
    steps = script(Caller().traceparent)
    whole = {end: b"".join(data for sender, data in steps if sender == end) for end in SIDES}
    rng = random.Random(3)
    del tmp_path
    for cut in sorted(rng.sample(range(1, len(whole[side])), 40)):
        crowd = Crowd(tap)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(BOUND)
        client.connect(str(tap.listen))
        crowd.wait_through(1)
        ends = {"client": client, "runtime": crowd.runtimes[0]}
        ends[other(side)].sendall(whole[other(side)])
        ends[side].sendall(whole[side][:cut])
        if side == "client":
            # It has to be an end, not a reset: what it has not read would make it one.
            assert receive(client, len(whole["runtime"])) == whole["runtime"]
        else:
            assert receive(ends["runtime"], len(whole["client"])) == whole["client"]
        ends[side].close()
        received = b""
        while chunk := ends[other(side)].recv(65536):
            received += chunk
        assert received == whole[side][:cut]
        client.close()
        crowd.close()
    tap.bystander.check()
    wait_for(lambda: not tap.live(), "no context file is left", BOUND)
    for path in (tap.state / "spool").glob("[0-9]*"):
        path.unlink()


# ---- who may connect ----


def test_stranger(make_tap, tmp_path):
    """A client of another user, who got past the socket's mode, is closed before a byte, and counted."""
    tap = make_tap()
    bystander = Bystander(tap)
    assert os.stat(tap.listen).st_mode & 0o777 == 0o600
    for path in (tap.listen, *tap.listen.parents):
        if str(path) == "/":
            break
        os.chmod(path, os.stat(path).st_mode | (0o777 if path == tap.listen else 0o055))
    end, child_end = socket.socketpair()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            libc = ctypes.CDLL(None)
            libc.setresgid(65534, 65534, 65534)
            libc.setresuid(65534, 65534, 65534)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(BOUND)
            client.connect(str(tap.listen))
            code = 0 if client.recv(1) == b"" else 2
        finally:
            child_end.close()
            os._exit(code)
    child_end.close()
    end.recv(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    end.close()
    wait_for(lambda: tap.count("cri_refused") == 1, "it is counted", BOUND)
    bystander.check()
    del tmp_path


def test_confined(make_tap):
    """What podspan-cri has taken from itself, as the kernel sees it; and that the tests run it below a filter that kills."""
    tap = make_tap()
    status = Path(f"/proc/{tap.daemon.pid}/status").read_text(encoding="ascii")
    for name, value in (("CapInh", "0" * 16), ("CapPrm", "0" * 16), ("CapEff", "0" * 16), ("CapBnd", "0" * 16),
                        ("CapAmb", "0" * 16), ("NoNewPrivs", "1"), ("Seccomp", "2")):
        assert re.search(rf"^{name}:\s*{value}$", status, re.MULTILINE), name
    environment = Path(f"/proc/{tap.daemon.pid}/environ").read_bytes().split(b"\0")
    assert b"PODSPAN_SECCOMP=kill" in environment


# ---- the table ----


def test_every_cell_has_its_test():
    """docs/faults.md: each row names tests that exist; each test here stands in it."""
    text = (REPO / "docs/faults.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| cell")]
    rows = [row for row in rows if not set(row) <= set("|- ")]
    assert len(rows) > 30
    named = set()
    for row in rows:
        columns = [part.strip() for part in row.strip("|").split("|")]
        assert len(columns) == 6 and all(columns), row
        tests = re.findall(r"`([^`]+)`", columns[-1])
        assert tests, f"no test: {row}"
        for name in tests:
            file, _, test = name.partition("::")
            assert test, name
            named.add((file, test))
    for file, test in named:
        path = next((REPO / folder / file for folder in ("tests/integration", "tests/unit/cri-hooks", "tests/unit/lib",
                                                         "tests/unit/agent")
                     if (REPO / folder / file).exists()), None)
        assert path, f"{file} is not there"
        source = path.read_text(encoding="utf-8")
        function, _, case = test.rstrip("]").partition("[")
        assert re.search(rf"def {function}\(" if file.endswith(".py") else rf"(cmocka_unit_test\w*|TEST)\({function}\b", source), (
            f"{file} has no {function}")
        if case and file == Path(__file__).name and function == "test_hostile":
            assert case in HOSTILE, case
        elif case:
            assert case.split("-")[0] in source, f"{name}: no such case"
    mine = set(re.findall(r"^def (test_\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE))
    mine -= {"test_every_cell_has_its_test"}
    mentioned = {test.partition("[")[0] for file, test in named if file == Path(__file__).name}
    assert mine <= mentioned, f"not in docs/faults.md: {sorted(mine - mentioned)}"
    assert set(HOSTILE) <= {test.partition("[")[2].rstrip("]") for _, test in named if test.startswith("test_hostile[")}
