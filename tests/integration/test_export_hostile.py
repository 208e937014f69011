"""Collectors that mean harm, go silent, or take less than others: what podspand uses, how it ends, what arrives."""

import os
import signal
import socket
import threading
import time

import grpc
import pytest

from lib.hostile_collector import KINDS, HostileCollector
from test_agent import Answer, Collector, Podspand, Span, memory, once

MEMORY_MAX = 64 << 10  # KiB, of all processes of the agent together
CPU_SHARE = 0.35       # of one core, on top of …
CPU_START = 1.5        # … seconds of it
END_SECONDS = 3
ATTACK_SECONDS = 4

TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """The most memory, and the processor time, of podspand with all that it has started."""

    def __init__(self, podspand):
        self.podspand, self.peak = podspand, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ended.wait(0.03):
            self.peak = max(self.peak, memory(self.podspand))

    def cpu(self):
        """Seconds so far; those of the processes that have ended and been waited for are their parent's."""
        total = 0
        for pid in (self.podspand.process.pid, *self.podspand.helpers()):
            try:
                fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[11:15 if pid == self.podspand.process.pid else 13]))
        return total / TICKS

    def end(self):
        self._ended.set()
        self._thread.join()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def put_some(podspand, seconds=0.0):
    """A hundred spans in some files, over some time."""
    sent = []
    for _ in range(5):
        sent += podspand.put(*[Span(a="b" * 100) for _ in range(20)])
        time.sleep(seconds / 5)
    return sent


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_collector(kind):
    """Bounded memory and time, a prompt end in the midst of it, and every span arrives where a good one answers."""
    port = free_port()
    with Podspand(f"127.0.0.1:{port}", start=False) as podspand:
        with HostileCollector(kind, port) as hostile:
            podspand.start()
            watch = Watch(podspand)
            begin = time.monotonic()
            sent = put_some(podspand, ATTACK_SECONDS)
            cpu, took = watch.cpu(), time.monotonic() - begin
            assert hostile.connections > 0 and podspand.alive()
            sent += put_some(podspand)
            end = time.monotonic()
            podspand.process.send_signal(signal.SIGTERM)
            code = podspand.process.wait(20)
            end = time.monotonic() - end
            watch.end()
        print(f"{kind}: {watch.peak} KiB, {cpu:.2f} s of {took:.1f} s, end {end:.2f} s, {hostile.connections} "
              f"connections, {hostile.sent >> 10} KiB sent")
        assert code == 0 and end <= END_SECONDS
        assert watch.peak <= MEMORY_MAX
        assert cpu <= CPU_START + CPU_SHARE * took
        with Collector(f"127.0.0.1:{port}") as good:
            podspand.start()
            good.wait_spans(sent)
            once(good.spans)
            podspand.stop()


@pytest.mark.parametrize("kind", ["ping_flood", "continuation_flood", "gzip_bomb", "silent", "zero_window"])
def test_good_collector_follows(kind):
    """The same without an end of podspand: it notices."""
    port = free_port()
    with Podspand(f"127.0.0.1:{port}", start=False, config="tracing_timeout = 2s") as podspand:
        with HostileCollector(kind, port) as hostile:
            podspand.start()
            sent = put_some(podspand, 5)
            podspand.wait(lambda: podspand.counter("retries") >= 1, "an attempt has failed", 20)
            assert hostile.connections and "last_export_ok_ns" not in podspand.meta()
            assert podspand.meta()["export_failing_since_ns"] > 0
        with Collector(f"127.0.0.1:{port}") as good:
            good.wait_spans(sent, 40)
            once(good.spans)
            podspand.wait(lambda: podspand.meta()["export_failing_since_ns"] == 0, "the facts")
            assert podspand.meta()["last_export_ok_endpoint"] == f"127.0.0.1:{port}"
        assert podspand.counter("drop_refused") == 0


class SilentProxy:
    """Forwards connections to a collector; once silenced, those that there are forward nothing more, and do not end."""

    def __init__(self, port):
        self._target, self._pairs, self._silent = port, [], []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            silent = threading.Event()
            self._silent.append(silent)
            self._pairs.append((ours, theirs))
            for pair in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._forward, args=(*pair, silent), daemon=True).start()

    @staticmethod
    def _forward(source, target, silent):
        try:
            while data := source.recv(1 << 16):
                if not silent.is_set():
                    target.sendall(data)
        except OSError:
            pass

    def silence(self):
        """Returns how many connections have gone silent."""
        for silent in self._silent:
            silent.set()
        return len(self._silent)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                end.close()


def test_silent_connection():
    """A connection that has gone silent is left: the first span arrives over another within 30 s."""
    with Collector() as collector:
        proxy = SilentProxy(collector.port)
        with Podspand(f"127.0.0.1:{proxy.port}") as podspand:
            collector.wait_spans(podspand.put(Span()))
            podspand.wait(lambda: podspand.counter("exported") == 1, "the answer")
            assert proxy.silence() == 1
            begin = time.monotonic()
            sent = []
            while not {span.span_id for span in sent} & {span.span_id for span in collector.spans}:
                assert time.monotonic() - begin < 30, "nothing arrives"
                sent += podspand.put(Span())
                time.sleep(1)
            collector.wait_spans(sent)
            once(collector.spans)
            podspand.stop()
        proxy.close()


@pytest.mark.parametrize("limit", [100_000, 20_000, 3_000])
def test_too_large_is_halved(limit):
    """A collector that takes less than a batch gets all of it in parts; a span that alone is too large is dropped."""
    with Collector(max_message=limit) as collector, Podspand(collector.address) as podspand:
        normal = [Span(a="b" * 100) for _ in range(600)]
        # Values are cut at 16 KiB on the way in, so it is many of them.
        large = Span(**{f"a{i}": "b" * 16000 for i in range(limit // 16000 + 1)})
        podspand.put(*normal[:300], large, *normal[300:])
        collector.wait_spans(normal, 60)
        podspand.wait(lambda: podspand.counter("exported") == 600, "the count")
        podspand.wait(lambda: podspand.counter("drop_refused") == 1, "the large one, counted")
        assert podspand.sql("SELECT count(*) FROM batch WHERE state = 1") == [(0,)]
        once(collector.spans)
        assert large.span_id not in {span.span_id for span in collector.spans}
        assert len(collector.requests) < 600
        # Of a batch that went in parts the store knows what became of each span.
        assert dict(podspand.sql("SELECT key, n FROM ledger WHERE key IN ('in', 'exported', 'refused')")) == {
            "in": 601, "exported": 600, "refused": 1}
        # What follows is as it was.
        collector.wait_spans(podspand.put(Span()))
        podspand.stop()


def test_too_large_many_batches():
    """The same for a backlog of many batches, and for tonic, whose code for it is another."""
    with Collector(max_message=30_000) as collector, Podspand(collector.address, start=False) as podspand:
        collector.stop()
        podspand.start()
        sent = []
        for _ in range(40):
            sent += podspand.put(*[Span(a="b" * 50) for _ in range(20)])
            podspand.drained()
        collector.start()
        collector.wait_spans(sent, 60)
        podspand.wait(lambda: podspand.counter("exported") == 800, "the count")
        once(collector.spans)
        collector.answers.append(Answer(grpc.StatusCode.OUT_OF_RANGE,
                                        "Error, decoded message length too large: found 5000 bytes"))
        more = podspand.put(Span(), Span())
        collector.wait_spans(more)
        podspand.wait(lambda: podspand.counter("exported") == 802, "the count")
        assert [len(request.spans) for request in collector.requests[-2:]] == [1, 1]
        assert podspand.counter("drop_refused") == 0


def test_exhausted_is_not_size():
    """A collector that takes nothing at all is not asked for each of many spans."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.always = Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back next month")
        podspand.put(*[Span() for _ in range(2000)])
        podspand.wait(lambda: podspand.counter("drop_refused") == 2000, "all are given up", 60)
        assert len(collector.requests) <= 40
        collector.always = Answer()
        sent = podspand.put(*[Span() for _ in range(50)])
        collector.wait_spans(sent)
        assert len(collector.requests[-1].spans) == 50


def test_retry_info_of_nothing():
    """A RetryInfo of some nanoseconds is no invitation to a tight loop, while there is more to send."""
    with Collector() as collector, Podspand(collector.address, "tracing_batch_size = 1024") as podspand:
        collector.stop()
        sent = []
        for _ in range(10):
            sent += podspand.put(*[Span(a="b" * 100) for _ in range(4)])
            podspand.drained()
        collector.answers += [Answer(grpc.StatusCode.UNAVAILABLE, "now", retry_after=2.5e-9) for _ in range(4)]
        collector.start()
        collector.wait_spans(sent, 30)
        gaps = [after.at - before.at for before, after in zip(collector.requests[:4], collector.requests[1:])]
        assert min(gaps) >= 0.37, gaps


@pytest.mark.parametrize("kind", ["never_reads", "ping_never_reads"])
def test_end_in_the_middle_of_a_request(kind):
    """A request of megabytes is stuck in a collector that reads nothing: SIGTERM ends it."""
    port = free_port()
    with HostileCollector(kind, port) as hostile, \
            Podspand(f"127.0.0.1:{port}", config="tracing_compression = none", start=False) as podspand:
        podspand.start()
        for _ in range(3):
            podspand.put(*[Span(a="b" * 100_000) for _ in range(35)])
        podspand.drained()
        podspand.wait(lambda: hostile.connections, "a connection")
        time.sleep(2)
        end = time.monotonic()
        podspand.process.send_signal(signal.SIGTERM)
        assert podspand.process.wait(20) == 0 and time.monotonic() - end <= END_SECONDS
