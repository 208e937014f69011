"""podspan may fail; the calls must not notice, and what is lost is counted, by reason."""

import concurrent.futures
import os
import signal
import struct
import tempfile
import time
from pathlib import Path

import grpc
import pytest

from lib.otlp import Messages, Receiver
from lib.podspan import Podspan
from lib.process import wait_for
from lib.session import mount, unmount_below
from lib.spans import from_otlp

RUN = "/runtime.v1.RuntimeService/RunPodSandbox"
MS_RDONLY, MS_REMOUNT = 1, 32
BOUND = 1.0  # seconds: far above what any call needs here, far below what a blocked one would take
PRODUCERS = {"cri": 0, "hook": 1, "agent": 5}
WRITTEN, DROPS, AGENT_SPANS, EXPORTED = 0, range(1, 6), 15, 17


class _Backend:
    """A runtime that answers every call at once."""

    kind = "none"

    def __init__(self):
        self.socket = Path(tempfile.mkdtemp(prefix="backend-")) / "runtime.sock"
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))

        class Handler(grpc.GenericRpcHandler):
            """Takes any method."""

            def service(self, _):
                return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x0a\x05sb-id")

        self._server.add_generic_rpc_handlers((Handler(),))
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stop(0).wait()


class _Caller:
    """Makes calls and keeps how long the slowest took."""

    def __init__(self, path):
        self._channel = grpc.insecure_channel(f"unix:{path}")
        self._call = self._channel.unary_unary(RUN)
        self.count, self.slowest = 0, 0.0

    def call(self, count):
        """So many calls, one after the other; every one must succeed."""
        for _ in range(count):
            metadata = b"\x0a\x05pod-x\x12\x24" + str(self.count).rjust(36, "u").encode() + b"\x1a\x02ns"
            begin = time.monotonic()
            self._call(b"\x0a" + bytes([len(metadata) + 2]) + b"\x0a" + bytes([len(metadata)]) + metadata, timeout=10)
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.count += 1

    def close(self):
        """Hangs up."""
        self._channel.close()
        assert self.slowest < BOUND, f"a call took {self.slowest:.2f} s"


def counter(podspan, producer, number):
    """One number of STATE/counters, as docs/spool.md lays it out."""
    data = (podspan.state / "counters").read_bytes()
    return struct.unpack_from("=Q", data, 64 + 8 * (PRODUCERS[producer] * 64 + number))[0]


def dropped(podspan, producer):
    """Spans that a producer could not write, for any reason."""
    return sum(counter(podspan, producer, number) for number in DROPS)


def spooled(podspan):
    """Spans in finished spool files."""
    return sum(len(from_otlp(Messages["ExportTraceServiceRequest"].FromString(path.read_bytes())))
               for path in (podspan.state / "spool").glob("1-*"))


@pytest.mark.parametrize("limit", ["size=64k", "nr_inodes=4"])
def test_full_spool(limit):
    """A spool that is full costs spans, which are counted, and no call; what got in arrives."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, _Backend() as backend:
        podspan.agent.kill()
        mount("tmpfs", podspan.state / "spool", "tmpfs", data=f"mode=2770,{limit}")
        try:
            caller = _Caller(podspan.intercept(backend))
            caller.call(400)
            caller.close()
            wait_for(lambda: counter(podspan, "cri", WRITTEN) + dropped(podspan, "cri") == 400, "all spans are counted", 5)
            written = counter(podspan, "cri", WRITTEN)
            assert 0 < written < 400
            assert spooled(podspan) == written
            podspan.start_agent()
            wait_for(lambda: sum(len(request.spans) for request in receiver.requests) == written, "what got in arrives")
            status = podspan.cli_json("status")
            assert str(dropped(podspan, "cri")) in str(status), f"the loss is not in the status: {status}"
        finally:
            podspan.interceptor.stop()
            podspan.agent.stop()
            unmount_below(podspan.state / "spool")


def test_hook_on_a_full_spool():
    """The hook exits 0 on a full spool, counts what it could not write, and leaves nothing half done."""
    state = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": 1, "bundle": "/nowhere", "annotations": {}}
    with Podspan() as podspan:
        podspan.agent.kill()
        spool = podspan.state / "spool"
        mount("tmpfs", spool, "tmpfs", data="mode=2770,size=64k")
        try:
            (spool / "9-filler").write_bytes(bytes(64 << 10))
            assert podspan.run_hook("createRuntime", state).stdout == ""
            assert counter(podspan, "hook", WRITTEN) == 0 and dropped(podspan, "hook") == 1
            assert [path.name for path in spool.iterdir()] == ["9-filler"]
            (spool / "9-filler").unlink()
            podspan.run_hook("createRuntime", {**state, "id": "c2"})
            assert counter(podspan, "hook", WRITTEN) == 1
        finally:
            unmount_below(spool)


@pytest.mark.parametrize("harm", ["absent", "read-only", "agent stopped"])
def test_calls_go_on(harm):
    """Whatever has become of the spool and of podspand, calls succeed and are not slow."""
    with Podspan() as podspan, _Backend() as backend:
        spool = podspan.state / "spool"
        if harm == "read-only":
            mount("tmpfs", spool, "tmpfs", data="mode=2770")
        caller = _Caller(podspan.intercept(backend))
        caller.call(20)
        if harm == "agent stopped":
            podspan.agent.signal(signal.SIGSTOP)
        else:
            podspan.agent.kill()
        if harm == "absent":
            for path in spool.iterdir():
                path.unlink()
            spool.rmdir()
        elif harm == "read-only":
            mount("tmpfs", spool, "tmpfs", flags=MS_REMOUNT | MS_RDONLY, data="mode=2770")
        try:
            caller.call(200)
            caller.close()
            if harm == "read-only":
                wait_for(lambda: dropped(podspan, "cri") >= 200, "the loss is counted", 5)
        finally:
            podspan.interceptor.stop()
            if harm == "agent stopped":
                podspan.agent.signal(signal.SIGCONT)
            unmount_below(spool)


def test_agent_killed_again_and_again():
    """kill -9 of podspand while calls go on: every span is exported, or counted; the store has each once."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, _Backend() as backend:
        caller = _Caller(podspan.intercept(backend))
        for _ in range(5):
            caller.call(60)
            podspan.agent.kill()
            caller.call(20)
            podspan.start_agent()
        caller.call(1)
        caller.close()
        seen = lambda: {span.span_id for request in receiver.requests for span in request.spans}
        wait_for(lambda: len(seen()) >= caller.count, f"{caller.count} spans; {len(seen())} came", 30)
        assert len(seen()) == caller.count
        assert dropped(podspan, "cri") == 0
        assert not list((podspan.state / "spool").glob("1-*"))


def test_collector_away_for_a_minute():
    """A minute without a collector: calls go on as before, then every span arrives once."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, _Backend() as backend:
        caller = _Caller(podspan.intercept(backend))
        caller.call(10)
        wait_for(lambda: receiver.requests, "the first export")
        receiver.stop()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            caller.call(5)
            time.sleep(1)
        receiver.start()
        caller.call(10)
        caller.close()
        came = lambda: [span.span_id for request in receiver.requests if request.accepted for span in request.spans]
        wait_for(lambda: len(set(came())) == caller.count, f"{caller.count} spans", 30)
        assert len(came()) == len(set(came())), "a span came twice without a timeout"


def test_fifo_and_strangers_in_the_spool():
    """What does not belong into the spool is neither followed nor waited for."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, _Backend() as backend:
        spool, secret = podspan.state / "spool", podspan.folder / "secret"
        secret.write_bytes(b"secret")
        os.mkfifo(spool / "1-00000000000000000001-1-0.otlp")
        os.symlink(secret, spool / "1-00000000000000000002-1-0.otlp")
        (spool / "1-00000000000000000003-1-0.otlp").write_bytes(b"\xff" * 100)
        (spool / "9-00000000000000000004-1-0.otlp").write_bytes(b"a later version")
        caller = _Caller(podspan.intercept(backend))
        caller.call(3)
        caller.close()
        wait_for(lambda: sum(len(request.spans) for request in receiver.requests) == 3, "the spans arrive")
        assert secret.read_bytes() == b"secret"
