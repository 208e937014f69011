"""podspand by itself: what it does with a spool, a store and a collector that do or do not behave.

Self-contained: spool files come from a protobuf encoder of a few lines, the collector is a gRPC server that answers by
script. Run with /usr/bin/python3 -m pytest; PODSPAND names the binary (default: that of $PODSPAN_BUILD or <repo>/build).
"""

import collections
import contextlib
import gzip
import os
import pathlib
import secrets
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time
from concurrent import futures

import grpc
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PODSPAND = os.environ.get("PODSPAND") or str(
    pathlib.Path(os.environ.get("PODSPAN_BUILD") or ROOT / "build").absolute() / "agent/podspand")
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

SAMPLED = 0x01

# ---- protobuf, as much of it as OTLP needs -------------------------------------------------------------------------


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, value):
    """Encodes one field: bytes and str length-delimited, int as varint, ("f64" | "f32", n) fixed."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, tuple):
        kind, n = value
        return varint(number << 3 | (1 if kind == "f64" else 5)) + struct.pack("<Q" if kind == "f64" else "<I", n)
    return varint(number << 3) + varint(value)


def fields(data):
    """Decodes one message: a list of (number, value)."""
    at, out = 0, []

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            out.append((tag >> 3, number()))
        elif tag & 7 == 2:
            size = number()
            out.append((tag >> 3, data[at:at + size]))
            at += size
        else:
            size = 8 if tag & 7 == 1 else 4
            out.append((tag >> 3, int.from_bytes(data[at:at + size], "little")))
            at += size
    return out


def attribute(key, value):
    return field(1, key) + field(2, field(1, value))


class Span:
    """One span; what is not given is random or now."""

    def __init__(self, trace_id=None, name="span", flags=SAMPLED, status=0, duration=1_000_000, extra=b"", **attributes):
        self.trace_id = trace_id or secrets.token_bytes(16)
        self.span_id = secrets.token_bytes(8)
        self.name, self.flags, self.status, self.extra, self.attributes = name, flags, status, extra, attributes
        self.end = time.time_ns()
        self.start = self.end - duration

    def encode(self):
        out = field(1, self.trace_id) + field(2, self.span_id) + field(5, self.name) + field(6, 2)
        out += field(7, ("f64", self.start)) + field(8, ("f64", self.end))
        for key, value in self.attributes.items():
            out += field(9, attribute(key, value))
        if self.status:
            out += field(15, field(3, self.status))
        return out + field(16, ("f32", self.flags)) + self.extra


def traces_data(*spans, pod="uid-1"):
    resource = field(1, attribute("service.name", "podspan-test")) + field(1, attribute("k8s.pod.uid", pod))
    scope_spans = b"".join(field(2, span.encode()) for span in spans)
    return field(1, field(1, resource) + field(2, scope_spans))


class Got:
    """A span as the collector received it."""

    def __init__(self, resource, data):
        parts = fields(data)
        single = dict(parts)
        self.resource = resource
        self.trace_id, self.span_id, self.name = single[1], single[2], single[5].decode()
        self.attributes = dict(_pair(value) for number, value in parts if number == 9)
        self.raw = parts


def _pair(data):
    parts = dict(fields(data))
    value = dict(fields(parts.get(2, b"")))
    return parts[1].decode(), value[1].decode("utf-8", "strict") if 1 in value else value


def decode(data):
    out = []
    for _, resource_spans in fields(data):
        parts = fields(resource_spans)
        resource = dict(_pair(value) for number, message in parts if number == 1
                        for inner, value in fields(message) if inner == 1)
        out += [Got(resource, value) for number, scope in parts if number == 2
                for inner, value in fields(scope) if inner == 2]
    return out


# ---- the collector -------------------------------------------------------------------------------------------------


class Answer:
    """What the collector says to one request."""

    def __init__(self, code=grpc.StatusCode.OK, message="", retry_after=None, rejected=0, warning="", hang=0):
        self.code, self.message, self.retry_after, self.hang = code, message, retry_after, hang
        partial = (field(1, rejected) if rejected else b"") + (field(2, warning) if warning else b"")
        self.response = field(1, partial) if partial else b""

    def details(self):
        seconds, nanos = int(self.retry_after), int(self.retry_after % 1 * 1e9)
        info = field(1, field(1, seconds) + (field(2, nanos) if nanos else b""))
        any_ = field(1, "type.googleapis.com/google.rpc.RetryInfo") + field(2, info)
        return field(1, self.code.value[0]) + field(2, self.message) + field(3, any_)


Request = collections.namedtuple("Request", "at data spans metadata remaining peer")


class Collector:
    """Answers by script, then with OK; keeps what it got. Can go away and come back on its port."""

    def __init__(self, address=None, tls=None, max_message=4 << 20):
        self.always, self.max_message = Answer(), max_message
        self.requests, self.answers, self.lock = [], collections.deque(), threading.Condition()
        self.address, self.tls, self.server, self.released = address, tls, None, threading.Event()
        if address is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.released.clear()
        self.server = grpc.server(futures.ThreadPoolExecutor(8), options=[
            ("grpc.max_receive_message_length", self.max_message), ("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
            METHOD[1:].rsplit("/", 1)[0], {"Export": handler})])
        bound = (self.server.add_secure_port(self.address, self.tls) if self.tls
                 else self.server.add_insecure_port(self.address))
        assert bound
        self.server.start()

    def stop(self):
        if self.server:
            self.released.set()
            self.server.stop(0).wait()
            self.server = None

    def _export(self, data, context):
        with self.lock:
            answer = self.answers.popleft() if self.answers else self.always
            self.requests.append(Request(time.monotonic(), data, decode(data), dict(context.invocation_metadata()),
                                         context.time_remaining(), context.peer()))
            self.lock.notify_all()
        if answer.hang:
            self.released.wait(answer.hang)
        if answer.retry_after is not None:
            context.set_trailing_metadata([("grpc-status-details-bin", answer.details())])
        if answer.code != grpc.StatusCode.OK:
            context.abort(answer.code, answer.message)
        return answer.response

    @property
    def spans(self):
        with self.lock:
            return [span for request in self.requests for span in request.spans]

    def wait(self, condition, what, timeout=20):
        end = time.monotonic() + timeout
        with self.lock:
            while not condition():
                left = end - time.monotonic()
                assert left > 0, f"never came: {what}; {len(self.requests)} requests"
                self.lock.wait(left)

    def wait_spans(self, spans, timeout=20):
        ids = {span.span_id for span in spans}
        self.wait(lambda: ids <= {span.span_id for request in self.requests for span in request.spans},
                  f"{len(ids)} spans", timeout)


# ---- podspand ------------------------------------------------------------------------------------------------------

PRODUCERS, IDS = 16, 64
AGENT = 5
COUNTERS = ["spans_written", "drop_no_space", "drop_no_memory", "drop_too_large", "drop_io", "drop_overload",
            "context_written", "context_failed", "context_swept", "cri_connections", "cri_plain", "cri_injected",
            "cri_compressed", "input_bad", "files", "spans", "drop_store_full", "exported", "rejected", "drop_refused",
            "drop_retention", "retries", "kept", "export_skipped", "hook_unlinked", "timeouts"]


class Podspand:
    """podspand with a state, a store and a configuration of its own."""

    def __init__(self, endpoint="none", config="", env=None, folder=None, start=True):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="podspand-"))
        self.state, self.store = self.folder / "state", self.folder / "store"
        self.log = self.folder / "log"
        self.conf = self.folder / "podspan.conf"
        self.configure(endpoint, config)
        self.env, self.process, self.seq = env or {}, None, 0
        self.notify = None
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.notify:
            self.notify.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def configure(self, endpoint, config=""):
        self.conf.write_text(f'[podspan]\ntracing_endpoint = "{endpoint}"\nstore_min_free_percent = 1\n{config}\n')

    def reload(self, endpoint=None, config=""):
        """Sends SIGHUP and waits until that is over; returns what podspand has said to the service manager."""
        if endpoint is not None:
            self.configure(endpoint, config)
        said = []
        self.process.send_signal(signal.SIGHUP)
        while "READY=1" not in said:
            said += self.notify.recv(4096).decode().split("\n")
        assert said.count("RELOADING=1") == 1 and any(line.startswith("MONOTONIC_USEC=") for line in said)
        return said

    def start(self, wait=True):
        if self.notify:
            self.notify.close()
        path = self.folder / "notify"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(path))
        self.notify.settimeout(10)
        env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        env |= {"NOTIFY_SOCKET": str(path), "PODSPAN_SECCOMP": "kill", **self.env}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([PODSPAND, "--config", self.conf, "--state-dir", self.state, "--store-dir",
                                             self.store], env=env, stderr=log)
        if wait:
            try:
                while b"READY=1" not in self.notify.recv(4096):
                    pass
            except TimeoutError:
                raise AssertionError(f"not ready: {self.log.read_text()}") from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10) == 0, self.log.read_text()

    def alive(self):
        return self.process.poll() is None

    def helpers(self):
        """The process ids of the spawner and of podspan-export; None for what is not there."""
        found = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
                if int(rest.split()[1]) == self.process.pid and rest.split()[0] != "Z":
                    found[name] = int(stat.parent.name)
        return found.get("podspand-spawn"), found.get("podspan-export")

    def put(self, *spans, data=None, name=None):
        """Writes one spool file as a producer does."""
        self.seq += 1
        name = name or f"1-{time.time_ns():020d}-{os.getpid()}-{self.seq:x}.otlp"
        spool = self.state / "spool"
        (spool / f".{name}").write_bytes(traces_data(*spans) if data is None else data)
        os.rename(spool / f".{name}", spool / name)
        return list(spans)

    def spool_files(self):
        return [path for path in (self.state / "spool").iterdir() if path.suffix == ".otlp"]

    def wait(self, condition, what, timeout=10):
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"never came: {what}\n{self.log.read_text()}"
            assert self.alive(), f"podspand ended\n{self.log.read_text()}"
            time.sleep(0.02)

    def drained(self):
        self.wait(lambda: not self.spool_files(), "an empty spool")

    def counter(self, name):
        data = (self.state / "counters").read_bytes()
        assert data[:16] == b"podspan-counters"
        return struct.unpack_from("=Q", data, 64 + (AGENT * IDS + COUNTERS.index(name)) * 8)[0]

    def sql(self, query, *args):
        with contextlib.closing(sqlite3.connect(f"file:{self.store}/podspan.db?mode=ro", uri=True)) as db:
            return db.execute(query, args).fetchall()

    def meta(self):
        return dict(self.sql("SELECT key, value FROM meta"))


def once(spans):
    ids = [span.span_id for span in spans]
    assert len(ids) == len(set(ids)), "a span came twice"


# ---- tests ---------------------------------------------------------------------------------------------------------


def test_from_spool_to_collector():
    with Collector() as collector, Podspand(collector.address, "node_name = node-7") as podspand:
        begin = time.monotonic()
        sent = podspand.put(Span(name="one", **{"a.key": "a value"}), Span(name="two", extra=field(99, b"unknown")))
        collector.wait_spans(sent, 5)
        assert collector.requests[0].at - begin < 5
        one, two = collector.spans
        assert one.name == "one" and one.attributes == {"a.key": "a value"}
        assert (99, b"unknown") in two.raw, "an unknown field was lost"
        resource = one.resource
        assert resource["service.name"] == "podspan-test" and resource["k8s.pod.uid"] == "uid-1"
        assert resource["k8s.node.name"] == "node-7" and resource["host.name"] == socket.gethostname()
        assert resource["telemetry.sdk.name"] == "podspan" and resource["telemetry.sdk.language"] == "c"
        assert resource["telemetry.sdk.version"]
        request = collector.requests[0]
        assert request.metadata["user-agent"].startswith("OTel-OTLP-Exporter-C/")
        assert 9 < request.remaining <= 10.1
        podspand.drained()
        podspand.wait(lambda: podspand.counter("exported") == 2, "the count")
        assert podspand.counter("spans") == 2 and podspand.counter("files") == 1
        podspand.wait(lambda: podspand.sql("SELECT state, n_spans FROM batch") == [(2, 2)], "exported in the store")
        rows = podspand.sql("SELECT name, service, pod_uid, kind, flags FROM span ORDER BY name")
        assert rows == [("one", "podspan-test", "uid-1", 2, 1), ("two", "podspan-test", "uid-1", 2, 1)]
        meta = podspand.meta()
        assert meta["schema"] == 3 and meta["node"] == "node-7" and meta["endpoint"] == collector.address
        assert meta["last_export_ok_ns"] > meta["started_ns"]


def test_resource_environment():
    env = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=t%20est,host.name=other,service.name=no",
           "OTEL_SERVICE_NAME": "mine"}
    with Collector() as collector, Podspand(collector.address, env=env) as podspand:
        collector.wait_spans(podspand.put(Span()))
        resource = collector.spans[0].resource
        assert resource["deployment.environment"] == "t est" and resource["host.name"] == "other"
        assert resource["service.name"] == "mine"


def test_not_sampled_stays():
    with Collector() as collector, Podspand(collector.address) as podspand:
        podspand.put(Span(name="local", flags=0))
        sent = podspand.put(Span(name="sent"))
        collector.wait_spans(sent)
        assert [span.name for span in collector.spans] == ["sent"]
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span") == [(2,)], "both in the store")
        assert podspand.counter("export_skipped") == 1


@pytest.mark.parametrize("endpoint, config", [("none", ""), ("127.0.0.1:1", "enable_tracing = false")])
def test_store_only(endpoint, config):
    with Podspand(endpoint, config) as podspand:
        podspand.put(Span(), Span())
        podspand.wait(lambda: podspand.sql("SELECT sum(n_spans), max(state) FROM batch") == [(2, 0)], "stored")
        podspand.stop()


RETRIED = [grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED,
           grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS]


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code != grpc.StatusCode.OK],
                         ids=lambda code: code.name)
def test_codes(code):
    """OTLP's rules: what is retried and what is dropped and counted, without RetryInfo."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.answers.append(Answer(code, "so it is"))
        first = podspand.put(Span())
        collector.wait(lambda: collector.requests, "the first request")
        if code in RETRIED:
            collector.wait(lambda: len(collector.requests) == 2, "the second try")
            assert podspand.counter("retries") == 1
            podspand.wait(lambda: podspand.counter("exported") == 1, "the count")
        else:
            podspand.wait(lambda: podspand.counter("drop_refused") == 1, "the count")
            podspand.wait(lambda: podspand.sql("SELECT state FROM batch") == [(3,)], "refused in the store")
            second = podspand.put(Span())
            collector.wait_spans(second)
            assert [span.span_id for span in collector.spans] == [first[0].span_id, second[0].span_id]
        assert code.name in podspand.meta()["last_export_error"]
        assert "so it is" in podspand.meta()["last_export_error"]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED],
                         ids=lambda code: code.name)
def test_retry_info(code):
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.answers.append(Answer(code, "in a while", retry_after=3.5))
        sent = podspand.put(Span())
        collector.wait(lambda: len(collector.requests) == 2, "the second try")
        waited = collector.requests[1].at - collector.requests[0].at
        assert 3.4 < waited < 6
        assert [span.span_id for span in collector.spans] == [sent[0].span_id] * 2


def test_partial_success():
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.answers.append(Answer(rejected=2, warning="two were bad"))
        podspand.put(Span(), Span(), Span())
        podspand.wait(lambda: podspand.counter("rejected") == 2, "the count")
        assert podspand.counter("exported") == 1
        collector.answers.append(Answer(warning="only a warning"))
        collector.wait_spans(podspand.put(Span()))
        podspand.wait(lambda: podspand.counter("exported") == 2, "the count")
        assert len(collector.requests) == 2
        log = podspand.log.read_text()
        assert "two were bad" in log and "only a warning" in log


def test_deadline():
    with Collector() as collector:
        with Podspand(collector.address, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}) as podspand:
            collector.answers.append(Answer(hang=30))
            sent = podspand.put(Span())
            collector.wait(lambda: len(collector.requests) == 2, "the second try", 10)
            collector.wait_spans(sent)
            assert collector.requests[0].remaining <= 1.1
            assert podspand.counter("timeouts") == 1


def _relay(target):
    """A TCP relay that keeps the bytes the client sent: what really went over the wire."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen = bytearray()

    def pump(source, sink, keep):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if keep is not None:
                    keep += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                host, port = target.split(":")
                server = socket.create_connection((host, int(port)))
                threading.Thread(target=pump, args=(client, server, seen), daemon=True).start()
                threading.Thread(target=pump, args=(server, client, None), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"127.0.0.1:{listener.getsockname()[1]}", seen


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_compression(compression):
    with Collector() as collector:
        listener, address, seen = _relay(collector.address)
        with listener, Podspand(address, f"tracing_compression = {compression}") as podspand:
            sent = podspand.put(*[Span(name="x" * 200) for _ in range(200)])
            collector.wait_spans(sent)
            packed = b"\x1f\x8b\x08" in seen
            assert packed == (compression == "gzip")
            plain = b"x" * 200 in seen
            assert plain == (compression == "none")
            if packed:
                assert len(seen) < len(collector.requests[0].data) / 2
                assert gzip.compress(b"")[:3] == b"\x1f\x8b\x08"


def test_headers_and_unix_socket():
    with tempfile.TemporaryDirectory() as folder, Collector(f"unix:{folder}/sock") as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"unix://{folder}/sock",
               "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue,x-token=a%20b"}
        with Podspand("none", env=env) as podspand:
            collector.wait_spans(podspand.put(Span()))
            metadata = collector.requests[0].metadata
            assert metadata["x-tenant"] == "blue" and metadata["x-token"] == "a b"


class Certificates:
    def __init__(self, folder):
        self.ca, self.ca_key = self._make(folder, "ca")
        self.server, self.server_key = self._make(folder, "server", self.ca, self.ca_key)
        self.client, self.client_key = self._make(folder, "client", self.ca, self.ca_key)

    @staticmethod
    def _make(folder, name, ca=None, ca_key=None):
        cert, key, request = (folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        quiet = {"check": True, "capture_output": True}
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
               "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
        if ca is None:
            subprocess.run([*new, "-x509", "-days", "2", "-out", cert], **quiet)
        else:
            subprocess.run([*new, "-out", request], **quiet)
            extensions = folder / "extensions"
            extensions.write_text("subjectAltName=DNS:localhost\n")
            subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
                            "-days", "2", "-extfile", extensions, "-out", cert], **quiet)
        return cert, key


@pytest.mark.parametrize("trusted, with_client, arrives", [(True, True, True), (True, False, False),
                                                           (False, True, False)],
                         ids=["mutual", "no-client-certificate", "unknown-authority"])
def test_tls(tmp_path, trusted, with_client, arrives):
    certificates = Certificates(tmp_path)
    tls = grpc.ssl_server_credentials([(certificates.server_key.read_bytes(), certificates.server.read_bytes())],
                                      certificates.ca.read_bytes(), require_client_auth=True)
    with Collector(tls=tls) as collector:
        env = {}
        if trusted:
            env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(certificates.ca)
        if with_client:
            env |= {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates.client),
                    "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificates.client_key)}
        with Podspand(f"https://localhost:{collector.port}", env=env) as podspand:
            sent = podspand.put(Span())
            if arrives:
                collector.wait_spans(sent)
            else:
                podspand.wait(lambda: podspand.counter("retries") >= 1, "a failed try")
                assert not collector.requests and podspand.alive()


def test_tls_default_roots(tmp_path):
    """Without tracing_certificate the authorities are gRPC's default, which the sandbox lets it read."""
    certificates = Certificates(tmp_path)
    tls = grpc.ssl_server_credentials([(certificates.server_key.read_bytes(), certificates.server.read_bytes())])
    with Collector(tls=tls) as collector, \
            Podspand(f"https://localhost:{collector.port}",
                     env={"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificates.ca)}) as podspand:
        collector.wait_spans(podspand.put(Span()))


def test_missing_certificate(tmp_path):
    with Podspand("https://localhost:1", f"tracing_certificate = {tmp_path}/none.pem", start=False) as podspand:
        podspand.start(wait=False)
        assert podspand.process.wait(10) == 1
        assert "none.pem" in podspand.log.read_text()


def test_collector_away():
    """Away for a while: nothing lost, nothing twice, found again quickly."""
    collector = Collector()
    with Podspand(collector.address) as podspand:
        sent = []
        for _ in range(40):
            sent += podspand.put(*[Span() for _ in range(10)])
            time.sleep(0.2)
        podspand.drained()
        with collector:
            back = time.monotonic()
            collector.wait_spans(sent)
            assert time.monotonic() - back < 8
            sent += podspand.put(Span())
            collector.wait_spans(sent)
            once(collector.spans)
            assert len(collector.requests) < 10
            podspand.wait(lambda: podspand.counter("exported") == len(sent), "the answers have arrived")
            collector.stop()
            sent += podspand.put(Span())
            podspand.wait(lambda: podspand.counter("retries") > 3, "tries", 20)
            collector.start()
            collector.wait_spans(sent)
            once(collector.spans)
        podspand.wait(lambda: podspand.counter("exported") == len(sent), "all counted")
        assert podspand.counter("drop_refused") == podspand.counter("drop_retention") == 0


def test_newest_first_and_capped():
    """The backlog goes at the configured rate, what is fresh goes at once, the newest of the backlog first."""
    collector = Collector()
    with Podspand(collector.address, "tracing_export_rate_bytes = 50KiB\ntracing_batch_size = 20KiB") as podspand:
        old = []
        for i in range(20):
            old.append(podspand.put(*[Span(name=f"old{i}", pad="x" * 1000) for _ in range(20)]))
            podspand.drained()
        time.sleep(10.5)
        with collector:
            begin = time.monotonic()
            fresh = podspand.put(Span(name="fresh"))
            collector.wait_spans(fresh, 8)
            assert len(collector.spans) < 300, "the backlog was not capped"
            collector.wait_spans([span for group in old for span in group], 60)
            seconds = collector.requests[-1].at - begin
            total = sum(len(request.data) for request in collector.requests)
            assert total / seconds < 50 * 1024 * 2
            order = [span.name for span in collector.spans if span.name != "fresh"]
            assert order[0] == "old19" and order[-1] == "old0"
            once(collector.spans)


def test_request_size():
    """No request above the configured size, none needlessly small."""
    collector = Collector()
    with Podspand(collector.address, "tracing_batch_size = 1MiB") as podspand:
        sent = []
        for _ in range(30):
            sent += podspand.put(*[Span(pad="y" * 1000) for _ in range(200)])
        podspand.drained()
        with collector:
            collector.wait_spans(sent, 30)
            sizes = [len(request.data) for request in collector.requests]
            assert max(sizes) <= 1 << 20 and len(sizes) <= 12
            once(collector.spans)


def test_largest_file():
    """A file of 4 MiB, with what the resource gets on top, still goes in messages a collector takes."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        spans = [Span(pad="z" * 4000) for _ in range(1020)]
        data = traces_data(*spans)
        assert len(data) <= 4 << 20
        podspand.put(data=data)
        collector.wait_spans(spans, 30)
        assert max(len(request.data) for request in collector.requests) <= 4 << 20


@pytest.mark.parametrize("moment", ["while exporting", "after the export", "while taking in"])
def test_kill(moment):
    """kill -9 at any moment loses nothing; in the store nothing is there twice."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        if moment == "while exporting":
            collector.answers.append(Answer(hang=60))
        sent = []
        for _ in range(20):
            sent += podspand.put(Span(), Span())
        if moment == "while taking in":
            for _ in range(300):
                sent += podspand.put(*[Span() for _ in range(20)])
            time.sleep(0.15)
        else:
            collector.wait(lambda: collector.requests, "a request")
            if moment == "after the export":
                podspand.wait(lambda: podspand.counter("exported") == len(sent), "the count")
        podspand.kill()
        sent += podspand.put(Span())
        podspand.start()
        collector.wait_spans(sent, 30)
        podspand.drained()
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM batch WHERE state = 1") == [(0,)], "nothing pending")
        assert podspand.sql("SELECT count(*), count(DISTINCT span_id) FROM span") == [(len(sent), len(sent))]
        if moment == "after the export":
            once(collector.spans)


def test_killed_between_commit_and_unlink():
    """A file whose spans are committed but which is still there is not read again."""
    with Podspand() as podspand:
        name = f"1-{time.time_ns():020d}-1-1.otlp"
        data = traces_data(Span())
        podspand.put(data=data, name=name)
        podspand.drained()
        podspand.kill()
        with contextlib.closing(sqlite3.connect(podspand.store / "podspan.db")) as db:
            db.execute("INSERT OR IGNORE INTO file VALUES (?)", (name,))
            db.commit()
        podspand.put(data=data, name=name)
        podspand.start()
        podspand.drained()
        assert podspand.sql("SELECT count(*) FROM batch") == [(1,)]
        podspand.put(Span())
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM batch") == [(2,)], "the next file")
        podspand.put(Span())
        podspand.wait(lambda: (name,) not in podspand.sql("SELECT name FROM file"), "the name forgotten")


def test_stop_exports_what_is_there():
    """SIGTERM: a last scan, a last attempt, exit 0, in bounded time also with a collector that is silent or gone."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        sent = podspand.put(Span())
        podspand.stop()
        collector.wait_spans(sent, 0.1)
        podspand.start()
        collector.answers.append(Answer(hang=60))
        podspand.put(Span())
        collector.wait(lambda: len(collector.requests) == 2, "a request")
        begin = time.monotonic()
        podspand.stop()
        assert time.monotonic() - begin < 4
        collector.stop()
        podspand.start()
        podspand.put(Span())
        begin = time.monotonic()
        podspand.stop()
        assert time.monotonic() - begin < 4
        assert not podspand.spool_files()


@pytest.mark.parametrize("rule", ["tracing_keep_errors = true", "tracing_keep_slower_than = 500ms"])
def test_tail_rules(rule):
    """A failed or slow trace is exported whole although not sampled: what came before, with it, and after."""
    with Collector() as collector, Podspand(collector.address, rule) as podspand:
        trace_id = secrets.token_bytes(16)
        before = podspand.put(Span(trace_id, "before", flags=0), Span(name="other", flags=0))
        podspand.drained()
        deciding = Span(trace_id, "deciding", flags=0, status=2 if "errors" in rule else 0, duration=600_000_000)
        podspand.put(Span(trace_id, "with", flags=0), deciding, Span(name="other", flags=0))
        podspand.put(Span(name="container", flags=0, duration=10**12))
        collector.wait(lambda: {"before", "with", "deciding"} <= {s.name for r in collector.requests for s in r.spans},
                       "the trace")
        podspand.wait(lambda: podspand.counter("exported") == 3, "the count")
        podspand.kill()
        podspand.start()
        podspand.put(Span(trace_id, "after", flags=0))
        collector.wait(lambda: "after" in {s.name for r in collector.requests for s in r.spans}, "the late span")
        once(collector.spans)
        assert {span.name for span in collector.spans} == {"before", "with", "deciding", "after"}
        reason = "error" if "errors" in rule else "slow"
        assert {span.attributes["podspan.kept"] for span in collector.spans} == {reason}
        assert podspand.counter("kept") == 4
        batches = podspand.sql("SELECT DISTINCT b.state FROM span s JOIN batch b ON b.id = s.batch WHERE span_id = ?",
                               before[0].span_id)
        assert sorted(batches) == [(0,), (2,)]


HOSTILE = {
    "empty": b"",
    "garbage": bytes(range(256)) * 8,
    "cut": traces_data(Span(), Span())[:-3],
    "deep": None,
    "many": None,
    "text": b"GET / HTTP/1.1\r\n\r\n",
}


def test_hostile_files():
    """What is no spool file is counted and removed, hurts nobody, and is not waited for."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        deep = field(1, "x")
        while len(deep) < 200_000:
            deep = field(5, field(1, deep))
        HOSTILE["deep"] = field(1, field(1, field(1, field(1, "k") + field(2, deep))))
        HOSTILE["many"] = field(1, field(2, field(2, b"") * 2_000_000))[:4 << 20]
        for data in HOSTILE.values():
            podspand.put(data=data)
        spool = podspand.state / "spool"

        def name(n):
            return spool / f"1-{n:020d}-1-1.otlp"

        os.symlink("/etc/hostname", name(1))
        os.mkfifo(name(2))
        name(3).mkdir()
        name(4).mkdir()
        (name(4) / "something").touch()
        with open(name(5), "wb") as big:
            big.truncate((4 << 20) + 1)
        (spool / "2-later-version.otlp").touch()
        (spool / ".being-written").touch()
        old = spool / ".abandoned"
        old.touch()
        os.utime(old, (1, 1))
        sent = podspand.put(Span(), Span(name="bad \udcff".encode("utf-8", "surrogateescape")))
        collector.wait_spans(sent)
        podspand.wait(lambda: sorted(path.name for path in spool.iterdir()) ==
                      sorted([".being-written", "2-later-version.otlp", f".aside-{name(4).name}"]), "the rest removed")
        assert "bad ?" in {span.name for span in collector.spans}
        assert podspand.counter("input_bad") >= 9
        size = int([line for line in open(f"/proc/{podspand.process.pid}/status") if line.startswith("VmHWM")][0].split()[1])
        assert size < 100_000, f"{size} KiB at the peak"


def test_invalid_spans():
    """Invalid spans are dropped and counted, their neighbours are not."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        bad = [Span() for _ in range(5)]
        bad[0].trace_id = b"short"
        bad[1].span_id = bytes(8)
        bad[2].trace_id = bytes(16)
        bad[3].start = bad[3].end + 1
        bad[4].end = 1 << 63
        good = Span()
        podspand.put(*bad[:3], good, *bad[3:])
        collector.wait_spans([good])
        podspand.wait(lambda: podspand.counter("input_bad") == 5, "the count")
        assert len(collector.spans) == 1


def test_retention():
    """The store stays within its size; what goes unexported is counted."""
    # Nothing is in flight meanwhile: what is stays, whatever its age.
    with Collector() as collector, Podspand(collector.address, "store_max_size = 2MiB") as podspand:
        collector.answers.append(Answer(grpc.StatusCode.UNAVAILABLE, "much later", retry_after=300))
        n = len(podspand.put(Span()))
        podspand.wait(lambda: podspand.counter("retries") == 1, "the answer")
        for _ in range(100):
            n += len(podspand.put(*[Span(pad="w" * 900) for _ in range(60)]))
            podspand.drained()
        podspand.wait(lambda: podspand.counter("spans") == n, "all taken in")
        held = podspand.sql("SELECT sum(n_spans) FROM batch")[0][0]
        assert 100 < held < n
        assert held + podspand.counter("drop_retention") == n
        assert podspand.sql("SELECT count(*) FROM span")[0][0] == held
        assert (podspand.store / "podspan.db").stat().st_size < 4 << 20
        newest = podspand.sql("SELECT max(id), min(id), count(*) FROM batch")[0]
        assert newest[0] - newest[1] + 1 == newest[2], "not the oldest went"


def test_age():
    with Podspand(config="store_max_age = 3s") as podspand:
        podspand.put(Span())
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span") == [(1,)], "stored")
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span") == [(0,)], "gone by age")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_full_disk():
    """Below the free bound, and on a disk that is full: dropped, counted, and over when there is room again."""
    with Podspand(start=False) as podspand:
        podspand.store.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", podspand.store], check=True)
        try:
            podspand.conf.write_text('[podspan]\ntracing_endpoint = "none"\nstore_min_free_percent = 15\n')
            podspand.start()
            podspand.put(Span())
            podspand.wait(lambda: podspand.counter("spans") == 1, "the first")
            filler = podspand.store / "filler"
            filler.write_bytes(bytes(7 << 20))
            podspand.put(Span(), Span())
            podspand.wait(lambda: podspand.counter("drop_store_full") == 2, "the count")
            podspand.drained()
            filler.unlink()
            podspand.put(Span())
            podspand.wait(lambda: podspand.counter("spans") == 2, "room again")
            podspand.stop()

            podspand.conf.write_text('[podspan]\ntracing_endpoint = "none"\nstore_min_free_percent = 0\n')
            podspand.start()
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            n = 0
            for _ in range(10):
                n += len(podspand.put(*[Span(pad="v" * 1000) for _ in range(500)]))
            podspand.wait(lambda: podspand.counter("drop_store_full") + podspand.counter("spans") == 4 + n, "all counted")
            assert podspand.counter("drop_store_full") > 2
            filler.unlink()
            before = podspand.counter("spans")
            podspand.put(Span())
            podspand.wait(lambda: podspand.counter("spans") == before + 1, "room again")
            podspand.stop()
        finally:
            if podspand.alive():
                podspand.kill()
            subprocess.run(["umount", podspand.store], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_full_spool():
    """A small spool: producers see ENOSPC and nothing else; every span arrives or was refused."""
    with Collector() as collector, Podspand(collector.address, start=False) as podspand:
        spool = podspand.state / "spool"
        spool.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", spool], check=True)
        try:
            podspand.start()
            sent, refused = [], 0
            for _ in range(2000):
                spans = [Span(pad="u" * 1000) for _ in range(10)]
                try:
                    sent += podspand.put(*spans)
                except OSError:
                    refused += len(spans)
                    for path in spool.glob(".*.otlp"):
                        path.unlink()
            collector.wait_spans(sent, 30)
            once(collector.spans)
            assert refused > 0, "the spool was never full"
        finally:
            podspand.kill()
            subprocess.run(["umount", spool], check=True)


@pytest.mark.parametrize("damage", ["header", "middle", "foreign"])
def test_damaged_store(damage):
    """A damaged database is moved aside, said so, and a new one begun; the spool's spans are not lost."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.wait_spans(podspand.put(*[Span(pad="t" * 500) for _ in range(500)]))
        podspand.stop()
        path = podspand.store / "podspan.db"
        data = bytearray(path.read_bytes())
        if damage == "header":
            data[:100] = secrets.token_bytes(100)
        elif damage == "middle":
            for at in range(4096, len(data) - 4096, 4096):
                data[at:at + 64] = secrets.token_bytes(64)
        else:
            data = b"this is somebody's diary\n" * 1000
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                (podspand.store / f"podspan.db{suffix}").unlink()
        path.write_bytes(data)
        podspand.start()
        sent = podspand.put(Span(), Span(flags=0))
        collector.wait_spans(sent[:1])
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span") == [(2,)], "in the new store")
        aside = [path for path in podspand.store.iterdir() if path.name.startswith("podspan.db.corrupt-")]
        assert aside and "damaged" in podspand.log.read_text()


def test_damaged_while_running():
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.wait_spans(podspand.put(*[Span(pad="s" * 500) for _ in range(500)]))
        podspand.stop()
        with contextlib.closing(sqlite3.connect(podspand.store / "podspan.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'span_start'").fetchone()[0]
        with open(podspand.store / "podspan.db", "r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(secrets.token_bytes(4096))
        podspand.start()
        sent = podspand.put(Span())
        collector.wait_spans(sent, 20)
        assert podspand.alive() and "damaged" in podspand.log.read_text()


def test_pressure_comes_with_the_spans():
    """The node's pressure is read once a second and stored with what else comes; where there is none, meta says so."""
    with Podspand("none") as podspand:
        if not os.path.exists("/proc/pressure/cpu"):
            assert podspand.meta()["pressure"] == "off"
            return
        meta = podspand.meta()
        assert "cpu" in meta["pressure"].split(",")

        def rows():
            podspand.put(Span())
            return podspand.sql("SELECT at_ns, seconds, cpu_some_us FROM pressure")

        podspand.wait(lambda: len(rows()) > 1 or time.sleep(0.5), "rows of pressure", timeout=60)
        podspand.stop()
        assert all(meta["started_ns"] < at < time.time_ns() and seconds > 0 and some >= 0
                   for at, seconds, some in podspand.sql("SELECT at_ns, seconds, cpu_some_us FROM pressure"))


def test_newer_schema_is_left_alone():
    with Podspand() as podspand:
        podspand.stop()
        with contextlib.closing(sqlite3.connect(podspand.store / "podspan.db")) as db:
            db.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
            db.commit()
        podspand.start(wait=False)
        assert podspand.process.wait(10) == 1
        assert "newer" in podspand.log.read_text()
        assert podspand.meta()["schema"] == 99


def test_single_instance():
    with Podspand() as podspand:
        command = [PODSPAND, "--config", podspand.conf, "--state-dir"]
        other = subprocess.run([*command, podspand.folder / "state2", "--store-dir", podspand.store],
                               capture_output=True, text=True, timeout=10)
        assert other.returncode == 1 and "another podspand" in other.stderr
        other = subprocess.run([*command, podspand.state, "--store-dir", podspand.folder / "store2"],
                               capture_output=True, text=True, timeout=10)
        assert other.returncode == 1 and "another podspand" in other.stderr
        assert podspand.alive()


def test_state_removed():
    """What is podspand's in the state directory comes back when somebody removes it; context files are root's."""
    with Podspand() as podspand:
        podspand.put(Span())
        podspand.drained()
        shutil.rmtree(podspand.state)
        podspand.wait(lambda: all((podspand.state / name).exists() for name in ("spool", "counters")),
                      "the state directory")
        podspand.put(Span())
        podspand.wait(lambda: podspand.counter("spans") == 1, "the count")
        shutil.rmtree(podspand.state / "spool")
        podspand.wait(lambda: (podspand.state / "spool").exists(), "the spool")
        podspand.put(Span())
        podspand.wait(lambda: podspand.counter("spans") == 2, "the count")


def test_unusable_spool():
    with Podspand(start=False) as podspand:
        podspand.state.mkdir()
        (podspand.state / "spool").write_text("a file")
        podspand.start(wait=False)
        assert podspand.process.wait(10) == 1
        assert "spool cannot be used" in podspand.log.read_text()


def test_modes():
    with Podspand() as podspand:
        podspand.put(Span())
        podspand.drained()
        modes = {name: oct((podspand.folder / name).stat().st_mode & 0o7777) for name in
                 ("store", "store/podspan.db", "store/podspan.db-wal", "state/spool", "state/counters")}
        assert modes == {"store": "0o2750", "store/podspan.db": "0o640", "store/podspan.db-wal": "0o640",
                         "state/spool": "0o2770", "state/counters": "0o640"}
        if os.geteuid() == 0:
            shutil.chown(podspand.store, group="nogroup")


def test_confined():
    """The seccomp filters are on in every thread, new privileges are not to be had, and podspand knows no network."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.wait_spans(podspand.put(Span()))
        spawner, export = podspand.helpers()
        tasks = list(pathlib.Path(f"/proc/{export}/task").iterdir())
        assert len(tasks) > 1
        for task in [*tasks, *pathlib.Path(f"/proc/{podspand.process.pid}/task").iterdir()]:
            status = dict(line.split(":\t") for line in (task / "status").read_text().splitlines() if ":\t" in line)
            assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        status = pathlib.Path(f"/proc/{spawner}/status").read_text()
        assert "NoNewPrivs:\t1" in status and "Threads:\t1" in status
        limits = pathlib.Path(f"/proc/{export}/limits").read_text()
        assert int(limits.split("Max data size")[1].split()[0]) <= 40 << 20
        assert len(list(pathlib.Path(f"/proc/{podspand.process.pid}/task").iterdir())) == 1
        assert "libgrpc" not in pathlib.Path(f"/proc/{podspand.process.pid}/maps").read_text()
        inodes = {os.readlink(link) for link in pathlib.Path(f"/proc/{podspand.process.pid}/fd").iterdir()}
        assert not any(f"socket:[{line.split()[9]}]" in inodes
                       for name in ("tcp", "tcp6", "udp", "udp6")
                       for line in open(f"/proc/{podspand.process.pid}/net/{name}").readlines()[1:])


def test_export_process_comes_and_goes():
    """podspan-export is there while there is something to send; its death loses nothing; it dies with podspand."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        assert podspand.helpers()[1] is None, "started for nothing"
        collector.wait_spans(podspand.put(Span()))
        first = podspand.helpers()[1]
        assert first
        collector.wait_spans(podspand.put(Span()))
        assert podspand.helpers()[1] == first, "one connection while requests follow each other"
        podspand.wait(lambda: podspand.helpers()[1] is None, "it ends when idle", 15)

        collector.answers.append(Answer(hang=60))
        sent = podspand.put(Span())
        collector.wait(lambda: len(collector.requests) == 3, "a request")
        os.kill(podspand.helpers()[1], signal.SIGKILL)
        collector.wait(lambda: len(collector.requests) == 4, "the request again")
        assert [span.span_id for span in collector.spans[-2:]] == [sent[0].span_id] * 2
        podspand.wait(lambda: "signal 9" in podspand.meta().get("last_export_error", ""), "the reason")

        spawner, export = podspand.helpers()
        assert export
        podspand.kill()
        end = time.monotonic() + 3
        while any(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
                  for pid in (spawner, export) if pathlib.Path(f"/proc/{pid}").exists()):
            assert time.monotonic() < end, "a helper outlives podspand"
            time.sleep(0.02)


def test_reload():
    """SIGHUP: where spans go, what they are given and what is kept change at once; a wrong configuration changes nothing."""
    with Collector() as first, Collector() as second, Podspand(first.address, "tracing_timeout = 20s") as podspand:
        first.wait_spans(podspand.put(Span()))
        said = podspand.reload(second.address, 'tracing_headers = "x-who=second"\ntracing_compression = none\n'
                               'tracing_timeout = 7s\nresource_attributes = "a=b"\nnode_name = other\ntracing_keep_errors = true')
        assert any(line.startswith("STATUS=") and second.address in line for line in said)
        second.wait_spans(podspand.put(Span(name="failed", flags=0, status=2)))
        request = second.requests[-1]
        assert request.metadata["x-who"] == "second" and 6 < request.remaining <= 7.1
        resource = request.spans[0].resource
        assert (resource["a"], resource["k8s.node.name"]) == ("b", "other")
        assert podspand.meta()["endpoint"] == second.address and podspand.meta()["node"] == "other"

        for number, (endpoint, config, says) in enumerate([
                ("two words", "", f"{podspand.conf}:2: tracing_endpoint"),
                (first.address, "no_such_key = 1", f'{podspand.conf}:4: unknown key "no_such_key"'),
                (first.address, 'resource_attributes = "' + ",".join(f"a{i}=b" for i in range(65)) + '"', "resource_attributes"),
                ("https://localhost:1", 'tracing_certificate = "/nonexistent.pem"', "/nonexistent.pem: No such file"),
                (None, "", f"{podspand.conf}: No such file")]):
            podspand.conf.unlink()
            podspand.reload(endpoint, config)
            log = podspand.log.read_text()
            assert log.count("The configuration stays as it was") == number + 1 and says in log
            podspand.configure("")
        second.wait_spans(podspand.put(Span()))
        assert second.requests[-1].metadata["x-who"] == "second" and second.spans[-1].resource["a"] == "b"

        # Switched off and on: what came meanwhile stays here.
        podspand.reload("none")
        assert podspand.meta()["endpoint"] == "none"
        local = podspand.put(Span(name="local"))
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span WHERE name = 'local'") == [(1,)], "stored")
        podspand.reload(first.address, "store_max_age = 1s")
        first.wait_spans(podspand.put(Span()))
        podspand.wait(lambda: not podspand.sql("SELECT 1 FROM span WHERE name = 'local'"), "the new age")
        assert local[0].span_id not in {span.span_id for span in first.spans + second.spans}
        once(first.spans + second.spans)
        podspand.stop()


def test_reload_while_exporting():
    """A request under way ends where it began; what one collector asked for does not keep the next one waiting."""
    with Collector() as first, Collector() as second, Podspand(first.address) as podspand:
        first.answers += [Answer(hang=60), Answer(grpc.StatusCode.UNAVAILABLE, retry_after=100, hang=60)]
        accepted = podspand.put(Span())
        first.wait(lambda: len(first.requests) == 1, "a request")
        podspand.reload(second.address)
        podspand.reload(first.address)
        podspand.reload(second.address)
        moved = podspand.put(Span())
        podspand.drained()
        assert not second.requests
        first.released.set()
        second.wait_spans(moved)
        podspand.wait(lambda: podspand.counter("exported") == 2, "the count")

        first.released.clear()
        podspand.reload(first.address)
        refused = podspand.put(Span())
        first.wait(lambda: len(first.requests) == 2, "a request")
        podspand.reload(second.address)
        first.released.set()
        second.wait_spans(refused, 10)
        assert [[span.span_id for span in request.spans] for request in first.requests] == [
            [span.span_id for span in spans] for spans in (accepted, refused)]
        once(second.spans)

        # Off while one is under way: it is not forgotten.
        first.released.clear()
        first.answers.append(Answer(hang=60))
        podspand.reload(first.address)
        podspand.put(Span())
        first.wait(lambda: len(first.requests) == 3, "a request")
        podspand.reload("none")
        first.released.set()
        podspand.wait(lambda: podspand.counter("exported") == 4, "the count")
        podspand.stop()


def test_reload_under_load():
    """A thousand SIGHUPs while spans come: each arrives, once, and podspand has no more of anything than before."""
    def size(process):
        status = dict(line.split(":\t") for line in open(f"/proc/{process.pid}/status") if ":\t" in line)
        return (len(os.listdir(f"/proc/{process.pid}/fd")), int(status["Threads"]), int(status["VmRSS"].split()[0]))

    with Collector() as first, Collector() as second, Podspand(first.address) as podspand:
        sent, sizes, config = [], [], "tracing_timeout = 60s"
        for number in range(1001):
            if number % 5 == 0:
                sent += podspand.put(*[Span(a="b" * 50) for _ in range(20)])
            podspand.reload([first, second][number % 2].address, config)
            if number % 80 == 0:
                # With the next one they go, and further ones come meanwhile.
                podspand.drained()
                sizes.append(size(podspand.process))
                podspand.reload([first, second][number % 160 // 80].address, config)
        podspand.wait(lambda: podspand.counter("exported") == len(sent), "all exported", 30)
        got = first.spans + second.spans
        once(got)
        assert {span.span_id for span in got} == {span.span_id for span in sent}
        assert first.spans and second.spans and podspand.counter("retries") == 0
        fds, threads, rss = zip(*sizes)
        print(f"descriptors {fds}, threads {threads}, RSS {rss} KiB")
        assert set(threads) == {1}
        # Four thousand spans more in the store are some of it: SQLite keeps pages.
        assert max(fds[-3:]) <= max(fds[:3]) + 2 
        assert max(rss[-3:]) <= max(rss[:3]) + 4096
        podspand.stop()


def test_watchdog():
    with Podspand(env={"WATCHDOG_USEC": "400000"}, start=False) as podspand:
        podspand.start()
        for _ in range(3):
            while b"WATCHDOG=1" not in podspand.notify.recv(4096):
                pass
        podspand.process.send_signal(signal.SIGTERM)
        while b"STOPPING=1" not in podspand.notify.recv(4096):
            pass
        assert podspand.process.wait(10) == 0


def test_command_line():
    run = lambda *args: subprocess.run([PODSPAND, *args], capture_output=True, text=True, timeout=10)
    assert run("--help").returncode == 0 and "--store-dir" in run("--help").stdout
    assert run("--version").stdout.startswith("podspand ")
    assert run("--nonsense").returncode == 2 and run("argument").returncode == 2
    assert run("--config", "/nonexistent").returncode == 1


def pss(podspand):
    """KiB of all processes of the agent, what they share with others in proportion."""
    total = 0
    for pid in (podspand.process.pid, *podspand.helpers()):
        with contextlib.suppress(OSError):
            total += sum(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:"))
    return total


def memory(podspand):
    """KiB of all processes of the agent. Resident, not proportional: this process has libgrpc mapped as well. What the
    spawner shares is podspand's, whose fork it is."""
    def of(pid, *keys):
        with contextlib.suppress(OSError):
            return sum(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup")
                       if line.split(":")[0] in keys)
        return 0

    spawner, export = podspand.helpers()
    return of(podspand.process.pid, "Rss") + of(spawner, "Private_Clean", "Private_Dirty") + of(export, "Rss")


def test_memory():
    """Idle and under load within the design's bounds, all processes together."""
    with Collector() as collector, Podspand(collector.address) as podspand:
        collector.wait_spans(podspand.put(Span()))
        podspand.wait(lambda: podspand.helpers()[1] is None, "podspan-export ends when idle", 15)
        idle = memory(podspand)
        assert len(os.listdir(f"/proc/{podspand.process.pid}/task")) == 1
        peak = 0
        for _ in range(100):
            podspand.put(*[Span(a="b" * 50, c="d" * 50) for _ in range(500)])
            peak = max(peak, pss(podspand))
        podspand.wait(lambda: podspand.counter("exported") == 50_001, "all exported", 60)
        peak = max(peak, pss(podspand))
        print(f"idle {idle} KiB resident, loaded {peak} KiB PSS")
        assert idle <= 7 * 1024 and peak <= 30 * 1024


def test_protocol():
    """What is not supported is said once, and shown; a protocol that there is none of is an error."""
    env = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with Collector() as collector, Podspand(collector.address, env=env) as podspand:
        collector.wait_spans(podspand.put(Span()))
        collector.wait_spans(podspand.put(Span()))
        assert podspand.log.read_text().count("http/protobuf is not supported yet") == 1
        assert podspand.meta()["protocol"] == "http/protobuf"
        cli = pathlib.Path(PODSPAND).parent.parent / "cli/podspan"
        run = lambda *args: subprocess.run([cli, *args, "--config", podspand.conf, "--state-dir", podspand.state,
                                            "--store-dir", podspand.store], env={**os.environ, **env},
                                           capture_output=True, text=True, timeout=60).stdout
        line = next(line for line in run("config").splitlines() if "tracing_protocol" in line)
        assert "http/protobuf" in line and "OTEL_EXPORTER_OTLP_PROTOCOL" in line
        assert "by OTLP over gRPC only" in run("doctor")
    with Podspand(env={"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) as podspand:
        assert "not supported" not in podspand.log.read_text() and podspand.meta()["protocol"] == "grpc"
    with Podspand(env={"OTEL_EXPORTER_OTLP_PROTOCOL": "thrift"}, start=False) as podspand:
        podspand.start(wait=False)
        assert podspand.process.wait(10) == 1 and "OTEL_EXPORTER_OTLP_PROTOCOL" in podspand.log.read_text()
