"""The command line against stores, context files and counters built here by their written contracts
(docs/store.md, docs/context.md, docs/spool.md): nothing of podspan's own writers takes part."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PODSPAN_BUILD", ROOT / "build"))
PODSPAN = BUILD / "cli" / "podspan"
T0 = 1_763_719_200_000_000_000  # 2025-11-21 10:00:00 UTC
MS = 1_000_000
TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")

# OTLP by hand: what the store holds is its wire format.


def varint(n):
    out = bytearray()
    while True:
        out.append(n & 0x7F | (0x80 if n > 0x7F else 0))
        n >>= 7
        if n == 0:
            return bytes(out)


def field(number, value):
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def fixed32(number, value):
    return varint(number << 3 | 5) + struct.pack("<I", value)


def any_value(value):
    if isinstance(value, bool):
        return field(2, int(value))
    if isinstance(value, int):
        return field(3, value & (1 << 64) - 1)
    if isinstance(value, float):
        return varint(4 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, bytes):
        return field(7, value)
    if isinstance(value, list):
        return field(5, b"".join(field(1, any_value(v)) for v in value))
    if isinstance(value, dict):
        return field(6, b"".join(key_value(1, k, v) for k, v in value.items()))
    return field(1, value)


def key_value(number, key, value):
    return field(number, field(1, key) + field(2, any_value(value)))


class Span:
    """One span: a row and its OTLP."""

    def __init__(self, span_id, name, start_ms, length_ms, parent=None, trace=TRACE, service="podspan-cri", status=0,
                 message="", flags=1, kind=2, pod=None, container=None, links=(), attributes=None, start_ns=None, outcome=None, why=None,
                 container_id=None, sandbox_id=None):
        self.trace, self.name, self.service = trace, name, service
        self.id = span_id if isinstance(span_id, bytes) else struct.pack(">Q", span_id)
        self.parent = parent if parent is None or isinstance(parent, bytes) else struct.pack(">Q", parent)
        self.start = start_ns if start_ns is not None else T0 + int(start_ms * MS)
        self.end = self.start + int(length_ms * MS)
        self.status, self.message, self.flags, self.kind = status, message, flags, kind
        self.pod, self.container, self.links = pod, container, links
        self.attributes = attributes or {}
        self.container_id, self.sandbox_id = container_id, sandbox_id
        # What podspand decides (lib/otel/outcome.h) is its own test's; here a span with status Error has failed.
        self.outcome = outcome if outcome is not None else int(status == 2)
        self.why = why if why is not None else message or None

    def otlp(self):
        out = field(1, self.trace) + field(2, self.id)
        if self.parent:
            out += field(4, self.parent)
        out += field(5, self.name) + field(6, self.kind) + fixed64(7, self.start) + fixed64(8, self.end)
        for key, value in self.attributes.items():
            out += key_value(9, key, value)
        for trace, why in self.links:
            out += field(13, field(1, trace) + field(2, b"\x11" * 8) + key_value(4, "podspan.link", why))
        if self.status or self.message:
            out += field(15, field(2, self.message) + field(3, self.status))
        return out + fixed32(16, self.flags)


def traces_data(spans, node="worker-1"):
    resource = field(1, b"".join([key_value(1, "service.name", spans[0].service), key_value(1, "k8s.node.name", node)]))
    scope = field(1, field(1, "podspan") + field(2, "0.1.0"))
    return field(1, resource + field(2, scope + b"".join(field(2, s.otlp()) for s in spans)))


def schema():
    """The statements of lib/node/storeschema.h, which both programs use as they are."""
    text = (ROOT / "lib" / "node" / "storeschema.h").read_text()

    def macro(name):
        body = re.search(rf"#define {name}\s((?:.*\\\n)*.*)", text)[1]
        return "".join(macro(m[2]) if m[2] else json.loads(m[1])
                       for m in re.finditer(r'("(?:[^"\\]|\\.)*")|(STORESCHEMA_SQL_\d)', body))

    return macro("STORESCHEMA_SQL")


class Store:
    def __init__(self, directory):
        self.dir = directory
        self.dir.mkdir(exist_ok=True)
        self.db = sqlite3.connect(self.dir / "podspan.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(schema())
        self.meta("schema", 3)

    def meta(self, key, value):
        self.db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))

    def add(self, *spans, state=1, received=T0):
        data = traces_data(spans)
        self.db.execute("BEGIN")
        batch = self.db.execute(
            "INSERT INTO batch(received_ns, state, n_spans, size, traces) VALUES (?, ?, ?, ?, ?)",
            (received, state, len(spans), len(data), data)).lastrowid
        self.db.executemany(
            f"INSERT INTO span VALUES ({', '.join('?' * 19)})",
            [(batch, s.trace, s.id, s.parent, s.start, s.end, s.kind, s.status, s.flags, s.name, s.service,
              *(s.pod or (None, None, None)), s.container, s.container_id, s.sandbox_id, s.outcome, s.why)
             for s in spans])
        self.db.execute("COMMIT")
        return batch


POD = ("uid-web", "web-7d4b9", "default")
PAUSE = ("uid-db", "db-0", "prod")


def pod_start(store):
    """A pod start as the design describes it."""
    store.add(
        Span(1, "runtime.v1.RuntimeService/RunPodSandbox", 0, 124, pod=POD),
        Span(5, "runtime.v1.RuntimeService/CreateContainer", 130, 30, pod=POD, container="web"),
        Span(6, "runtime.v1.RuntimeService/StartContainer", 162, 44, pod=POD, container="web"))
    store.add(
        Span(2, "cni.setup_pod_network", 3.2, 50, parent=1, service="containerd", kind=1),
        Span(3, "container.NewTask", 55, 60, parent=1, service="containerd", kind=1))
    store.add(Span(4, "createRuntime", 108, 1.5, parent=3, service="podspan-hook", pod=POD, kind=1))
    store.add(Span(7, "createRuntime", 180, 2, parent=6, service="podspan-hook", pod=POD, container="web", kind=1))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    yield store
    store.db.close()


def podspan(tmp_path, *args, env=None, check=0, text=True):
    full = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "TMPDIR": str(tmp_path), **(env or {})}
    done = subprocess.run(
        [PODSPAN, "--state-dir", tmp_path / "state", "--store-dir", tmp_path / "store", *args],
        env=full, capture_output=True, timeout=60)
    assert check is None or done.returncode == check, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    if not text:
        return done
    return done.stdout.decode() if check != 1 and check != 2 else done.stderr.decode()


def podspan_json(tmp_path, *args, **kwargs):
    return json.loads(podspan(tmp_path, *args, "--json", **kwargs))


def on_terminal(tmp_path, *args, columns=100, env=None):
    """What a person sees in a terminal of so many columns."""
    import fcntl
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    full = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "xterm-256color", **(env or {})}
    process = subprocess.Popen(
        [PODSPAN, "--state-dir", tmp_path / "state", "--store-dir", tmp_path / "store", *args],
        env=full, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL)
    os.close(slave)
    out = b""
    while True:
        readable, _, _ = select.select([master], [], [], 30)
        assert readable, "no output"
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        out += data
    os.close(master)
    assert process.wait(30) == 0, out
    return out.decode().replace("\r\n", "\n")


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# traces


def test_traces_lists_the_newest_first(tmp_path, store):
    pod_start(store)
    other = bytes(15) + b"\x07"
    store.add(Span(9, "runtime.v1.RuntimeService/StopPodSandbox", 5000, 12, trace=other, pod=PAUSE, status=2,
                   message="boom"))
    traces = podspan_json(tmp_path, "traces")["traces"]
    assert [t["trace_id"] for t in traces] == [other.hex(), TRACE.hex()]
    start = traces[1]
    assert start["spans"] == 7 and start["errors"] == 0 and start["status"] == "ok"
    assert start["duration_ns"] == 206 * MS
    assert start["pod_name"] == "web-7d4b9" and start["pod_namespace"] == "default" and start["pod_uid"] == "uid-web"
    assert start["start"] == "2025-11-21T10:00:00.000000000Z" and start["start_unix_nano"] == str(T0)
    assert start["operation"] == "runtime.v1.RuntimeService/RunPodSandbox" and start["services"] == 3
    assert traces[0]["status"] == "error"

    text = podspan(tmp_path, "traces")
    lines = text.splitlines()
    assert lines[0].split() == ["START", "DURATION", "SPANS", "STATUS", "POD", "OPERATION", "TRACE", "WHY"]
    assert "prod/db-0" in lines[1] and "StopPodSandbox" in lines[1] and "error" in lines[1]
    assert "2025-11-21 10:00:00.000" in lines[2] and "206 ms" in lines[2] and TRACE.hex() in lines[2]


@pytest.mark.parametrize("args, found", [
    (["--pod", "web-7d4b9"], "a"), (["--pod", "default/web-7d4b9"], "a"), (["--pod", "uid-web"], "a"),
    (["--pod", "prod/web-7d4b9"], ""), (["--namespace", "prod"], "b"), (["--container", "web"], "a"),
    (["--container", "db"], ""), (["--service", "podspan-hook"], "a"), (["--name", "StopPod"], "b"),
    (["--name", "%"], ""), (["--errors"], "b"), (["--slower-than", "100ms"], "a"), (["--slower-than", "206ms"], ""),
    (["--until", "@1763719201"], "a"), (["--since", "2025-11-21 10:00:01"], "b"), (["-n", "1"], "b"),
    (["--service", "containerd", "--errors"], ""), (["--pod", "web-7d4b9", "--namespace", "default"], "a"),
    (["--since", "2025-11-21T10:00Z", "--until", "2025-11-22"], "ba"),
])
def test_traces_filters(tmp_path, store, args, found):
    pod_start(store)
    other = bytes(15) + b"\x07"
    store.add(Span(9, "runtime.v1.RuntimeService/StopPodSandbox", 5000, 12, trace=other, pod=PAUSE, status=2))
    ids = {"a": TRACE.hex(), "b": other.hex()}
    traces = podspan_json(tmp_path, "traces", *args, check=0 if found else 3)["traces"]
    assert [t["trace_id"] for t in traces] == [ids[c] for c in found]


def test_traces_without_a_pod(tmp_path, store):
    """A container of podman's: the trace has the name of the span that its phase is part of, and the container."""
    container = "c0ffee" * 10 + "beef"
    conmon = Span(9, "conmon", 0, 80, service="podspan-watch", container_id=container)
    # Phases begin with what they are phases of; either can have the lower id.
    store.add(Span(1, "start-up", 0, 5, parent=9, service="podspan-watch", container_id=container), conmon,
              Span(10, "wait for the engine", 5, 9, parent=9, service="podspan-watch", container_id=container))
    trace, = podspan_json(tmp_path, "traces")["traces"]
    assert (trace["operation"], trace["service"]) == ("conmon", "podspan-watch")
    assert trace["container_id"] == container and "pod_uid" not in trace and "container_name" not in trace
    assert " container c0ffeec0ffee " in podspan(tmp_path, "traces").splitlines()[1]


def test_traces_counts_a_span_in_two_batches_once(tmp_path, store):
    span = Span(1, "RunPodSandbox", 0, 10, pod=POD)
    store.add(span, state=0)
    store.add(span, state=1)
    assert podspan_json(tmp_path, "traces")["traces"][0]["spans"] == 1


# trace


def test_trace_is_a_tree_with_everything(tmp_path, store):
    pod_start(store)
    text = podspan(tmp_path, "trace", TRACE.hex())
    lines = text.splitlines()
    assert TRACE.hex() in lines[0] and "pod default/web-7d4b9" in lines[0] and "node worker-1" in lines[0]
    assert "total 206 ms" in lines[1] and "7 spans" in lines[1]
    names = [re.search(r"(RunPodSandbox|cni.setup_pod_network|container.NewTask|createRuntime|CreateContainer|"
                       r"StartContainer)", line) for line in lines[4:]]
    assert [n.group(1) for n in names if n] == [
        "RunPodSandbox", "cni.setup_pod_network", "container.NewTask", "createRuntime", "CreateContainer",
        "StartContainer", "createRuntime"]
    assert "├─ cni.setup_pod_network" in text and "└─ container.NewTask" in text and "   └─ createRuntime" in text
    assert "█" in text and "\x1b" not in text


@pytest.mark.parametrize("what", ["4bf9", "4BF92F3577", "web-7d4b9", "default/web-7d4b9", "uid-web"])
def test_trace_by_prefix_and_pod(tmp_path, store, what):
    pod_start(store)
    store.add(Span(9, "runtime.v1.RuntimeService/StopPodSandbox", 5000, 12, trace=b"\x4b" * 16, pod=POD))
    assert TRACE.hex() in podspan(tmp_path, "trace", what)


def test_trace_prefers_the_start_of_a_pod_and_takes_the_newest_without(tmp_path, store):
    store.add(Span(1, "RunPodSandbox", 0, 1, trace=b"\x01" * 16, pod=POD))
    store.add(Span(1, "RunPodSandbox", 10, 1, trace=b"\x02" * 16, pod=POD))
    store.add(Span(1, "StopContainer", 20, 1, trace=b"\x03" * 16, pod=POD))
    store.add(Span(1, "StopContainer", 30, 1, trace=b"\x04" * 16, pod=PAUSE))
    assert "02" * 16 in podspan(tmp_path, "trace", "web-7d4b9")
    assert "04" * 16 in podspan(tmp_path, "trace", "db-0")


def test_trace_of_a_pod_tells_of_its_others(tmp_path, store):
    pod_start(store)
    told = "The pod has 1 other trace: podspan traces --pod default/web-7d4b9\n"
    assert "other trace" not in podspan(tmp_path, "trace", "default/web-7d4b9")
    store.add(Span(9, "runtime.v1.RuntimeService/StopPodSandbox", 5000, 12, trace=b"\x4b" * 16, pod=POD))
    assert podspan(tmp_path, "trace", "default/web-7d4b9").endswith(told)
    assert "other trace" not in podspan(tmp_path, "trace", TRACE.hex())
    assert "resourceSpans" in podspan_json(tmp_path, "trace", "default/web-7d4b9")


def test_trace_tells_of_ambiguous_and_unknown_ids(tmp_path, store):
    for last in (1, 2):
        store.add(Span(1, "a", 0, 1, trace=b"\xab" * 15 + bytes([last])))
    told = podspan(tmp_path, "trace", "abab", check=1)
    assert "ab" * 15 + "01" in told and "ab" * 15 + "02" in told
    assert "ab" * 15 + "02" in podspan(tmp_path, "trace", "ab" * 15 + "02")
    assert b"no trace or pod" in podspan(tmp_path, "trace", "ffff", check=3, text=False).stderr
    assert b"no trace or pod" in podspan(tmp_path, "trace", "nosuchpod", check=3, text=False).stderr


def test_trace_shows_orphans_links_errors_and_unsampled(tmp_path, store):
    linked = b"\x22" * 16
    store.add(
        Span(1, "RunPodSandbox", 0, 100, pod=POD),
        Span(2, "inner", 5, 10, parent=1, status=2, message="no space left"),
        Span(3, "lost-child", 20, 10, parent=99, links=[(linked, "start")]),
        Span(4, "secret", 30, 10, parent=3, flags=0))
    text = podspan(tmp_path, "trace", TRACE.hex())
    line = {name: next(x for x in text.splitlines() if name in x) for name in ("inner", "lost-child", "secret")}
    assert "✗ no space left" in line["inner"]
    assert "┄ lost-child" in line["lost-child"] and f"→ linked to {linked.hex()} (start)" in line["lost-child"]
    assert "not sampled" in line["secret"] and "not sampled" not in line["inner"]
    assert "1 failed" in text and "┄ the parent span is not in this store" in text


def test_trace_survives_rings_and_self_parents(tmp_path, store):
    store.add(Span(1, "ring-a", 0, 1, parent=2), Span(2, "ring-b", 1, 1, parent=1), Span(3, "self", 2, 1, parent=3),
              Span(4, "under-ring", 3, 1, parent=2), Span(5, "zero-parent", 4, 1, parent=bytes(8)))
    text = podspan(tmp_path, "trace", TRACE.hex())
    for name in ("ring-a", "ring-b", "self", "under-ring", "zero-parent"):
        assert len([x for x in text.splitlines() if name in x]) == 1
    assert "5 spans" in text


def test_trace_keeps_a_start_readable_beside_a_late_stop(tmp_path, store):
    hour = 3_600_000
    store.add(Span(1, "RunPodSandbox", 0, 100, pod=POD), Span(2, "container", 50, hour - 50, parent=1),
              Span(3, "poststop", hour, 5, parent=1))
    text = podspan(tmp_path, "trace", TRACE.hex())
    bar = next(x for x in text.splitlines() if "RunPodSandbox" in x)
    assert bar.count("█") > 20
    assert "without work is drawn short" in text


def test_trace_json_is_otlp(tmp_path, store):
    attributes = {"s": "x", "i": -5, "big": 1 << 40, "b": True, "d": 1.5, "nan": float("nan"), "y": b"\x00\xff",
                  "l": ["a", 1], "m": {"k": "v"}}
    store.add(Span(1, "root", 0, 1, pod=POD, attributes=attributes, status=2, message="bad",
                   links=[(b"\x22" * 16, "start")]),
              Span(7, "stranger", 0, 1, trace=b"\x33" * 16))
    store.add(Span(2, "child", 0, 1, parent=1))
    document = podspan_json(tmp_path, "trace", TRACE.hex())
    assert list(document) == ["resourceSpans"] and len(document["resourceSpans"]) == 2
    resource = document["resourceSpans"][0]
    assert {"key": "k8s.node.name", "value": {"stringValue": "worker-1"}} in resource["resource"]["attributes"]
    scope = resource["scopeSpans"][0]
    assert scope["scope"] == {"name": "podspan", "version": "0.1.0"}
    (span,) = scope["spans"]
    assert span["traceId"] == TRACE.hex() and span["spanId"] == "0000000000000001" and "parentSpanId" not in span
    assert span["startTimeUnixNano"] == str(T0) and span["endTimeUnixNano"] == str(T0 + MS)
    assert span["kind"] == 2 and span["flags"] == 1 and span["status"] == {"message": "bad", "code": 2}
    assert span["links"][0]["traceId"] == "22" * 16
    values = {a["key"]: a["value"] for a in span["attributes"]}
    assert values == {
        "s": {"stringValue": "x"}, "i": {"intValue": "-5"}, "big": {"intValue": str(1 << 40)}, "b": {"boolValue": True},
        "d": {"doubleValue": 1.5}, "nan": {"doubleValue": "NaN"}, "y": {"bytesValue": "AP8="},
        "l": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}},
        "m": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}}
    child = document["resourceSpans"][1]["scopeSpans"][0]["spans"][0]
    assert child["parentSpanId"] == "0000000000000001" and child["status"] == {}


def test_trace_json_takes_a_span_of_two_batches_from_the_last(tmp_path, store):
    store.add(Span(1, "root", 0, 1), state=0)
    store.add(Span(1, "root", 0, 1, attributes={"podspan.kept": "error"}), state=1)
    document = podspan_json(tmp_path, "trace", TRACE.hex())
    (resource,) = document["resourceSpans"]
    (span,) = resource["scopeSpans"][0]["spans"]
    assert span["attributes"][0]["key"] == "podspan.kept"


def test_trace_of_many_spans_is_bounded(tmp_path, store):
    total = 30_000
    for first in range(0, total, 5000):
        store.add(*(Span(i + 1, f"span-{i}", i / 100, 1, parent=(i // 2) or None) for i in range(first, first + 5000)))
    begin = time.monotonic()
    text = podspan(tmp_path, "trace", TRACE.hex())
    assert time.monotonic() - begin < 20
    assert f"The first 10000 of {total} spans are shown" in text and len(text.splitlines()) < 10_010
    document = podspan_json(tmp_path, "trace", TRACE.hex())
    assert sum(len(s["spans"]) for r in document["resourceSpans"] for s in r["scopeSpans"]) == total


# What failed, and what did not. The outcome of each span alone is podspand's (lib/otel/outcome.h); what the stop calls make of
# it is decided here.

OK, FAILED, EXITED, KILLED, UNKNOWN = range(5)
CALL = "runtime.v1.RuntimeService/"


def end(outcome=KILLED, why="SIGTERM", end_ms=100, container="c1", sandbox="s1", trace=TRACE, span=2, **kwargs):
    attributes = {"container.id": container, **kwargs.pop("attributes", {"podspan.process.signal": why})}
    return Span(span, "wait_for_exit_code", end_ms - 50, 50, parent=1, trace=trace, service="podspan-watch", kind=1,
                status=2, outcome=outcome, why=why, container_id=container, sandbox_id=sandbox, pod=POD,
                attributes=attributes, **kwargs)


def stop(store, identifier, kind, began_ms):
    store.db.execute("INSERT INTO stop(id, kind, began_ns) VALUES (?, ?, ?)", (identifier, kind, T0 + began_ms * MS))


def line_of(text, name):
    return next(line for line in text.splitlines() if name in line)


def test_a_refused_start_has_failed_and_says_why(tmp_path, store):
    """Not an error by OpenTelemetry's convention, but the commonest failure of a start."""
    words = 'failed to reserve sandbox name "web_default_uid-web_0"'
    store.add(Span(1, CALL + "RunPodSandbox", 0, 3, pod=POD, outcome=FAILED, why=f"FAILED_PRECONDITION: {words}",
                   attributes={"rpc.response.status_code": "FAILED_PRECONDITION", "podspan.rpc.message": words}))
    (trace,) = podspan_json(tmp_path, "traces", "--errors")["traces"]
    assert trace["status"] == "error" and trace["errors"] == 1 and trace["why"] == f"FAILED_PRECONDITION: {words}"
    assert line_of(podspan(tmp_path, "traces"), "RunPodSandbox").endswith(words)
    text = podspan(tmp_path, "trace", TRACE.hex())
    assert f"✗ FAILED_PRECONDITION: {words}" in line_of(text, "RunPodSandbox") and "1 failed" in text


@pytest.mark.parametrize("stopped, failed", [
    (("c1", 2, 40), False), (("s1", 2, 40), False), (("c1", 1, 40), False), (None, True),
    (("c1", 2, 101), True), (("c2", 2, 40), True), (("s1", 1, 40), True)])
def test_a_stopped_container_has_not_failed(tmp_path, store, stopped, failed):
    store.add(Span(1, CALL + "StartContainer", 0, 10, pod=POD), end())
    if stopped:
        stop(store, *stopped)
    podspan(tmp_path, "traces", "--errors", check=0 if failed else 3)
    (trace,) = podspan_json(tmp_path, "traces")["traces"]
    assert (trace["status"], trace["errors"]) == (("error", 1) if failed else ("ok", 0))
    assert trace.get("why") == ("SIGTERM" if failed else None)
    text = podspan(tmp_path, "trace", TRACE.hex())
    assert ("✗ SIGTERM" if failed else "■ stopped: SIGTERM") in line_of(text, "wait_for_exit_code")
    assert ("1 failed" in text) == failed


def test_a_container_stopped_by_the_begin_of_its_id_has_not_failed(tmp_path, store):
    """As `crictl stop` does it."""
    for number, short in ((1, True), (2, False)):
        store.add(end(EXITED, "exit code 1", trace=bytes([number]) * 16, container=f"{number}" * 64,
                      attributes={"process.exit.code": 1}))
        stop(store, f"{number}" * (13 if short else 11), 2, 40)
    traces = {trace["trace_id"]: trace["status"] for trace in podspan_json(tmp_path, "traces")["traces"]}
    assert traces == {"01" * 16: "ok", "02" * 16: "error"}


def test_a_stop_call_in_flight_counts(tmp_path, store):
    """Its span comes when it has ended: of StopPodSandbox seconds after the container's."""
    store.add(Span(1, CALL + "StartContainer", 0, 10, pod=POD), end(EXITED, "exit code 1", attributes={"process.exit.code": 1}))
    assert podspan_json(tmp_path, "traces")["traces"][0]["why"] == "exit code 1"
    (tmp_path / "state").mkdir()
    context_file(tmp_path / "state", "StopPodSandbox", T0 + 40 * MS, os.getpid(), own_start_time(), sandbox_id="s1")
    assert podspan_json(tmp_path, "traces")["traces"][0]["status"] == "ok"
    assert "■ stopped: exit code 1" in podspan(tmp_path, "trace", TRACE.hex())


def test_what_is_not_known_is_said_to_be_unknown(tmp_path, store):
    store.add(Span(1, CALL + "StartContainer", 0, 10, pod=POD),
              end(UNKNOWN, "how it ended is not known", attributes={"podspan.incomplete": True}))
    text = podspan(tmp_path, "trace", TRACE.hex())
    assert "? how it ended is not known" in line_of(text, "wait_for_exit_code") and "failed" not in text
    assert podspan_json(tmp_path, "traces")["traces"][0]["status"] == "ok"
    # A container that ended a moment ago: the stop call has its span in a moment.
    store.add(end(span=3, trace=b"\x07" * 16, start_ns=time.time_ns()))
    assert "? SIGTERM (stopped or not" in podspan(tmp_path, "trace", "07070707")


@pytest.mark.parametrize("attributes, status, message, outcome, why", [
    ({"process.exit.code": 3}, 2, "", EXITED, "exit code 3"),
    ({"process.exit.code": 139, "podspan.process.signal": "SIGSEGV"}, 2, "", KILLED, "SIGSEGV"),
    ({"process.exit.code": 137, "podspan.process.signal": "SIGKILL", "podspan.oom_killed": True}, 2, "", FAILED,
     "OOM killed (SIGKILL)"),
    ({}, 2, "", FAILED, "the span does not say why"),
    ({"process.exit.code": 1, "error.type": "1"}, 2,
     'time="2026-11-21T10:00:00Z" level=error msg="runc create failed: exec: \\"nosuch\\": \x1b[31mnot found"', FAILED,
     'exit code 1: runc create failed: exec: "nosuch": \\x1b[31mnot found')])
def test_trace_says_why(tmp_path, store, attributes, status, message, outcome, why):
    """From the batch, also where the row of a converted store says nothing."""
    store.add(Span(1, "runc create", 0, 10, pod=POD, status=status, message=message, outcome=outcome, why="",
                   attributes=attributes, container_id="c1"))
    line = line_of(podspan(tmp_path, "trace", TRACE.hex()), "runc create")
    assert line.endswith(f"✗ {why}") and "✗ error" not in line


# Hostile strings


HOSTILE = "evil\x1b]0;owned\x07\x1b[31m\u009b31m\u202egnp.exe\x7f\nnext"


def test_terminal_escapes_never_reach_the_terminal(tmp_path, store):
    store.add(Span(1, HOSTILE, 0, 1, pod=("u", HOSTILE, HOSTILE), container=HOSTILE, service=HOSTILE, status=2,
                   message=HOSTILE, links=[(b"\x22" * 16, HOSTILE)], attributes={HOSTILE: HOSTILE}))
    for args in (["traces"], ["trace", TRACE.hex()], ["trace", TRACE.hex(), "--json"], ["traces", "--json"]):
        out = podspan(tmp_path, *args, text=False).stdout.decode()
        bad = [c for c in out if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or ord(c) == 0x202E]
        assert not bad, (args, bad)
        seen = plain(on_terminal(tmp_path, *args))
        assert not [c for c in seen if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or ord(c) == 0x202E]
    document = podspan_json(tmp_path, "trace", TRACE.hex())
    assert document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == HOSTILE
    assert "evil\\x1b]0;owned\\x07" in podspan(tmp_path, "trace", TRACE.hex())
    told = podspan(tmp_path, "trace", HOSTILE.replace("\n", ""), check=0 and 3 or 3, text=False).stderr
    assert b"\x1b" not in told


def test_invalid_utf8_is_replaced(tmp_path, store):
    store.add(Span(1, b"bad\xff\xc3name", 0, 1, pod=POD))
    store.db.execute("UPDATE span SET name = CAST(x'626164FFC36E616D65' AS TEXT)")
    assert podspan_json(tmp_path, "traces")["traces"][0]["operation"] == "bad\ufffd\ufffdname"
    assert "bad\\xff\\xc3name" in podspan(tmp_path, "trace", TRACE.hex())


def test_ascii_and_foreign_locales(tmp_path, store):
    pod_start(store)
    store.add(Span(50, "größe", 1, 1, parent=1))
    for kwargs in ({"env": {"LC_ALL": "C"}}, {}):
        args = [] if kwargs else ["--ascii"]
        out = podspan(tmp_path, "trace", TRACE.hex(), *args, **kwargs)
        assert out.isascii() and "|- cni.setup_pod_network" in out and "gr\\u00f6\\u00dfe" in out and "=" in out


# The terminal


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 200])
def test_the_waterfall_fits_the_terminal(tmp_path, store, columns):
    pod_start(store)
    store.add(Span(40, "long " * 30, 10, 5, parent=1, status=2, message="message " * 40))
    out = on_terminal(tmp_path, "trace", TRACE.hex(), columns=columns)
    assert "\x1b[" in out
    for line in plain(out).splitlines()[4:]:
        assert len(line) <= max(columns, 48), line
    assert "RunPod" in out


def test_colours_only_where_they_belong(tmp_path, store):
    pod_start(store)
    assert "\x1b[" in on_terminal(tmp_path, "trace", TRACE.hex())
    assert "\x1b[" not in on_terminal(tmp_path, "trace", TRACE.hex(), env={"NO_COLOR": "1"})
    assert "\x1b[" not in on_terminal(tmp_path, "trace", TRACE.hex(), env={"TERM": "dumb"})
    assert "\x1b[" not in on_terminal(tmp_path, "trace", TRACE.hex(), "--color", "never")
    assert "\x1b[" not in podspan(tmp_path, "trace", TRACE.hex())
    assert "\x1b[" in podspan(tmp_path, "trace", TRACE.hex(), "--color=always")


# Stores that are not there, or not ours


def test_store_errors_are_clear(tmp_path):
    assert "no store at" in podspan(tmp_path, "traces", check=1)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "podspan.db").write_bytes(b"this is no database at all, but long enough" * 100)
    assert "not a database" in podspan(tmp_path, "traces", check=1)
    (tmp_path / "store" / "podspan.db").write_bytes(b"")
    assert "not a podspan store" in podspan(tmp_path, "traces", check=1)


def test_another_schema_version_is_refused(tmp_path, store):
    store.db.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    assert "schema version 99" in podspan(tmp_path, "traces", check=1)
    store.db.execute("UPDATE meta SET value = 1 WHERE key = 'schema'")
    assert "podspand converts it when it is restarted" in podspan(tmp_path, "traces", check=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_unprivileged_reader(tmp_path, store):
    """A member of the group who may not write: with podspand running, after it stopped, and without any right."""
    pod_start(store)
    for directory in (tmp_path, *tmp_path.parents):
        if directory != pathlib.Path("/") and directory != pathlib.Path("/tmp"):
            os.chmod(directory, os.stat(directory).st_mode | 0o011)
    for path in (BUILD, *BUILD.parents):
        if not os.stat(path).st_mode & 0o001:
            pytest.skip("the build directory is not for others")

    def as_nobody(*args):
        return subprocess.run(
            [PODSPAN, "--store-dir", tmp_path / "store", *args], capture_output=True, timeout=30,
            preexec_fn=lambda: (os.setgroups([]), os.setgid(4711), os.setuid(65534)))

    def hand_over():
        os.chown(tmp_path / "store", -1, 4711)
        os.chmod(tmp_path / "store", 0o750)
        for path in (tmp_path / "store").iterdir():
            os.chown(path, -1, 4711)
            os.chmod(path, 0o640)

    hand_over()
    done = as_nobody("traces")
    assert done.returncode == 0 and TRACE.hex() in done.stdout.decode(), done.stderr

    # As after kill -9: the files of a running podspand, but nobody who has them open.
    killed = tmp_path / "killed"
    killed.mkdir()
    for path in (tmp_path / "store").iterdir():
        shutil.copyfile(path, killed / path.name)
    store.db.close()
    (tmp_path / "store").rename(tmp_path / "closed")
    killed.rename(tmp_path / "store")
    assert (tmp_path / "store" / "podspan.db-wal").stat().st_size > 0
    hand_over()
    done = as_nobody("traces")
    assert done.returncode == 0 and TRACE.hex() in done.stdout.decode(), done.stderr
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "closed").rename(tmp_path / "store")
    hand_over()
    assert not (tmp_path / "store" / "podspan.db-wal").exists()
    done = as_nobody("traces")
    assert done.returncode == 0 and TRACE.hex() in done.stdout.decode(), done.stderr
    os.chmod(tmp_path / "store" / "podspan.db", 0o600)
    done = as_nobody("traces")
    assert done.returncode == 1 and b"group podspan" in done.stderr


def test_reading_while_the_writer_writes(tmp_path, store):
    pod_start(store)
    store.db.execute("BEGIN IMMEDIATE")
    store.db.execute("INSERT INTO meta VALUES ('x', 'y')")
    assert len(podspan_json(tmp_path, "traces")["traces"]) == 1
    store.db.execute("ROLLBACK")


# inflight


def context_file(state, operation, start, pid, pid_start, **keys):
    directory = state / "context" / "live"
    directory.mkdir(parents=True, exist_ok=True)
    keys = {"operation": operation, "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "start": start, "seq": 1, "pid": pid,
            "pid_start": pid_start, **keys}
    quoted = ["podspan-context 1"]
    for key, value in keys.items():
        value = "".join(c if 0x21 <= ord(c) <= 0x7E and c != "%" else "".join(f"%{b:02X}" for b in c.encode())
                        for c in str(value))
        quoted.append(f"{key}={value}")
    name = f"1-{operation}-x-x-x-{pid}-{len(list(directory.iterdir())):x}"
    (directory / name).write_text("\n".join(quoted) + "\n")


def own_start_time():
    return pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]


def test_inflight_needs_nothing_but_the_files(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    assert podspan(tmp_path, "inflight", "--no-leaf") == "nothing in flight\n"
    assert podspan_json(tmp_path, "inflight", "--no-leaf") == {"inflight": []}
    now = time.time_ns()
    alive = (os.getpid(), own_start_time())
    context_file(state, "StartContainer", now - 2 * 10**9, *alive, pod_uid="u", pod_name="web", pod_namespace="default",
                 container_name="app", container_id="c" * 64, sandbox_id="f" * 64, deadline=now + 60 * 10**9)
    context_file(state, "RunPodSandbox", now - 100 * 10**9, *alive, pod_uid="u2", pod_name=HOSTILE, pod_namespace="x")
    context_file(state, "StopContainer", now - 50 * 10**9, 999_999_999, 1)

    calls = podspan_json(tmp_path, "inflight", "--no-leaf")["inflight"]
    assert [c["operation"] for c in calls] == ["RunPodSandbox", "StartContainer"]
    assert calls[1]["container_name"] == "app" and calls[1]["trace_id"] == "ab" * 16 and calls[1]["sampled"]
    assert 2 * 10**9 <= calls[1]["age_ns"] < 60 * 10**9 and calls[0]["pod_name"] == HOSTILE
    every = podspan_json(tmp_path, "inflight", "--no-leaf", "--all")["inflight"]
    assert [c["stale"] for c in every] == [False, True, False]

    text = podspan(tmp_path, "inflight", "--no-leaf", "-a")
    assert "default/web" in text and "cccccccccccc " in text and "StopContainer (stale)" in text and "\x1b" not in text
    assert "1m 40s" in text.splitlines()[1]


def test_inflight_without_state_is_an_error(tmp_path):
    assert "is podspan-cri running?" in podspan(tmp_path, "inflight", "--no-leaf", check=1)


# status


PRODUCERS = ["podspan-cri", "podspan-hook", "podspan-watch", "podspan-conmon", "podspan-shim", "podspand",
             "podspan-probe"]


def counters_file(state, cells):
    state.mkdir(exist_ok=True)
    data = bytearray(64 + 16 * 64 * 8)
    data[:28] = b"podspan-counters" + struct.pack("=III", 1, 16, 64)
    for (producer, counter), value in cells.items():
        struct.pack_into("=Q", data, 64 + (producer * 64 + counter) * 8, value)
    (state / "counters").write_bytes(data)


def ledger(store, **entries):
    store.db.executemany("INSERT OR REPLACE INTO ledger VALUES (?, ?)", entries.items())


def watch_record(folder, boot=None, **keys):
    folder.mkdir(exist_ok=True)
    keys = {"state": "running", "missing": "", "reason": "", "pid": 1, "since_ns": time.time_ns() - 60 * 10**9, **keys,
            "boot": boot or pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    path = folder / "watch-state"
    path.write_text("podspan-watch 1\n" + "".join(f"{key} {value}\n" for key, value in keys.items()))
    path.chmod(0o644)


@pytest.mark.parametrize("keys, state, text", [
    (None, "not started", "podspan-watch not started\n"),
    ({"state": "running"}, "restarting", "podspan-watch restarting: its process died without a word"),
    ({"state": "refused", "missing": "btf", "reason": "no /sys/kernel/btf/vmlinux"}, "refused",
     "podspan-watch refused, lacks: btf: no /sys/kernel/btf/vmlinux, 1m"),
    ({"state": "refused", "missing": "capability", "reason": "bpf(): EPERM"}, "refused", "lacks: capability: bpf(): EPERM"),
    ({"state": "refused", "missing": "namespace", "reason": "x"}, "refused", "lacks: namespace: x"),
    ({"state": "refused", "missing": "kernel", "reason": "x"}, "refused", "lacks: kernel: x"),
    ({"state": "failed", "reason": "no memory"}, "restarting", "podspan-watch restarting: no memory"),
    ({"state": "stopped", "reason": ""}, "stopped", "podspan-watch stopped, 1m"),
    ({"state": "running", "boot": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}, "not started", "podspan-watch not started\n"),
    ({"state": "nonsense"}, "unknown", "podspan-watch unknown: Bad message"),
])
def test_status_names_podspan_watch(tmp_path, keys, state, text):
    (tmp_path / "state").mkdir()
    if keys is not None:
        watch_record(tmp_path / "state", **keys)
    watch = podspan_json(tmp_path, "status")["podspan_watch"]
    assert watch["state"] == state and watch.get("missing") == (keys or {}).get("missing")
    assert text in podspan(tmp_path, "status")


@pytest.mark.parametrize("keys, severity, text", [
    (None, None, ""),
    ({"state": "stopped"}, None, ""),
    ({"state": "running", "boot": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}, None, ""),
    ({"state": "refused", "missing": "btf", "reason": "no /sys/kernel/btf/vmlinux"}, "warning",
     "btf: no /sys/kernel/btf/vmlinux"),
    ({"state": "failed", "reason": "no memory"}, "warning", "no memory"),
    ({"state": "nonsense"}, "note", "Bad message"),
])
def test_doctor_names_podspan_watch(tmp_path, keys, severity, text):
    (tmp_path / "state").mkdir()
    if keys is not None:
        watch_record(tmp_path / "state", **keys)
    findings = json.loads(podspan(tmp_path, "doctor", "--json", check=None))["findings"]
    found = [(f["severity"], f["evidence"]) for f in findings if f["id"] == "podspan.watch"]
    assert found == ([(severity, text)] if severity else [])


def test_status_of_a_running_podspan_watch(tmp_path):
    """What runs holds a lock on its record."""
    import fcntl

    watch_record(tmp_path / "state")
    path = tmp_path / "state" / "watch-state"
    with open(path, "rb") as reader, open(path, "r+b") as record:
        fcntl.fcntl(reader, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))  # F_OFD_SETLK
        assert podspan_json(tmp_path, "status")["podspan_watch"]["state"] == "restarting"
        fcntl.fcntl(reader, 37, struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        fcntl.fcntl(record, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        assert podspan_json(tmp_path, "status")["podspan_watch"]["state"] == "running"
        assert "podspan-watch running for 1m" in podspan(tmp_path, "status")


def test_status_counts_monitors(tmp_path):
    before = podspan_json(tmp_path, "status")["monitors"]
    assert before["known"] and before["seen"] == "process name in /proc"
    shutil.copy("/bin/sleep", tmp_path / "podspan-conmon")
    with subprocess.Popen([tmp_path / "podspan-conmon", "60"]) as monitor:
        try:
            deadline = time.monotonic() + 10
            while podspan_json(tmp_path, "status")["monitors"]["count"] <= before["count"]:
                assert time.monotonic() < deadline
            assert "of the name podspan-conmon" in podspan(tmp_path, "status")
        finally:
            monitor.kill()


CRI_SOCKETS = ["cri.sock", "run/crio/crio.sock", "run/containerd/containerd.sock"]


@pytest.fixture
def short_path():
    """A socket's name has 107 bytes at most."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield pathlib.Path(folder)


@pytest.mark.parametrize("name", CRI_SOCKETS)
def test_status_names_a_bypass(short_path, name):
    tmp_path = short_path
    path = tmp_path / "state" / name
    path.parent.mkdir(parents=True)
    assert podspan_json(tmp_path, "status")["bypass"] == {"state": "absent"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert podspan_json(tmp_path, "status")["bypass"] == {"state": "off", "socket": str(path)}
        assert "\nbypass " not in podspan(tmp_path, "status")
    path.rename(f"{path}.bypass")
    path.symlink_to("/run/containerd/containerd.sock")
    assert podspan_json(tmp_path, "status")["bypass"] == {
        "state": "on", "socket": str(path), "runtime": "/run/containerd/containerd.sock"}
    assert f"on: podspan-cri sees no calls; {path} leads to /run/containerd/containerd.sock" in podspan(tmp_path, "status")


def open_way(tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory != pathlib.Path("/") and directory != pathlib.Path("/tmp"):
            os.chmod(directory, os.stat(directory).st_mode | 0o011)
    for path in (BUILD, *BUILD.parents):
        if not os.stat(path).st_mode & 0o001:
            pytest.skip("the build directory is not for others")


def as_user(tmp_path, *args, groups=()):
    """As a user who is not root, in group 4711 (of podspan) or in none."""
    done = subprocess.run(
        [PODSPAN, "--state-dir", tmp_path / "state", "--store-dir", tmp_path / "store", *args],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, capture_output=True, timeout=60,
        preexec_fn=lambda: (os.setgroups(groups), os.setgid(65534), os.setuid(65534)))
    return done.returncode, done.stdout.decode()


def hand_to_group(tmp_path):
    """What podspand makes, with its modes: 3770 and 2750, files 0640, the lock its own."""
    for directory, mode in ((tmp_path / "state", 0o3770), (tmp_path / "store", 0o2750)):
        directory.mkdir(exist_ok=True)
        os.chown(directory, -1, 4711)
        os.chmod(directory, mode)
        for path in directory.iterdir():
            os.chown(path, -1, 4711)
            if not path.is_symlink() and path.is_file():
                os.chmod(path, 0o600 if path.name == "podspand.lock" else 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_members_of_the_group_get_true_answers(tmp_path, store):
    """What root sees, a member of group podspan sees; what somebody else cannot see is unknown."""
    import fcntl

    pod_start(store)
    open_way(tmp_path)
    ledger(store, **{"in": 7})
    counters_file(tmp_path / "state", {(0, 0): 5, (0, 1): 3})
    watch_record(tmp_path / "state", state="refused", missing="btf", reason="none")
    with open(tmp_path / "store" / "podspand.lock", "w") as lock:
        hand_to_group(tmp_path)
        for held in (True, False):
            fcntl.flock(lock, fcntl.LOCK_EX if held else fcntl.LOCK_UN)
            root = podspan_json(tmp_path, "status")
            code, out = as_user(tmp_path, "status", "--json", groups=[4711])
            member = json.loads(out)
            assert code == 0 and root["podspand"]["state"] == ("running" if held else "not running")
            # A lock that nobody holds is not seen by those who may not open it.
            assert member["podspand"]["state"] == ("running" if held else "unknown")
            for part in ("spans", "podspan_watch", "bypass", "counters", "store", "monitors"):
                assert member[part] == root[part], part
    code, out = as_user(tmp_path, "status", "--json")
    other = json.loads(out)
    assert code == 0 and other["podspand"]["state"] == "unknown" and other["podspan_watch"]["state"] == "unknown"
    assert other["podspan_cri"]["state"] == "unknown" and other["bypass"]["state"] == "unknown"
    assert other["spans"] == {"known": False} and not other["store"]["readable"] and other["state_error"]
    code, out = as_user(tmp_path, "status")
    assert "what producers lost is unknown" in out and "no counters yet" not in out


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_doctor_of_members_and_of_others(tmp_path, store):
    """Findings about podspan itself: a member's are root's; nobody is told that something is wrong that he cannot see."""
    now = time.time_ns()
    conf = tmp_path / "podspan.conf"
    conf.write_text("[podspan]\ntracing_endpoint = \"127.0.0.1:9\"\n")
    open_way(tmp_path)
    store.meta("endpoint", "127.0.0.1:9")
    store.meta("last_export_ok_ns", str(now))
    counters_file(tmp_path / "state", {(0, 1): 3})

    def own(out):
        return {f["id"]: (f["severity"], re.sub(r"[0-9.]+ (ms|s)", "T", f["text"])) for f in json.loads(out)["findings"]
                if f["id"].startswith("podspan")}

    import fcntl

    with open(tmp_path / "store" / "podspand.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hand_to_group(tmp_path)
        os.chmod(conf, 0o644)
        root = own(podspan(tmp_path, "doctor", "--config", conf, "--json", check=None))
        assert root["podspan.collector"] == ("ok", "spans reach the collector: last success T ago")
        assert root["podspand.running"][0] == "ok" and root["podspan.drops"][0] == "warning"
        assert own(as_user(tmp_path, "doctor", "--config", conf, "--json", groups=[4711])[1]) == root

        # What another collector answered is no news of this one.
        store.meta("last_export_ok_endpoint", "127.0.0.1:8")
        moved = own(podspan(tmp_path, "doctor", "--config", conf, "--json", check=None))
        assert moved["podspan.collector"][0] == "error" and "nothing was exported yet" in moved["podspan.collector"][1]
        assert podspan_json(tmp_path, "--config", conf, "status")["export"].get("last_ok") is None
        store.db.execute("UPDATE meta SET value = '127.0.0.1:9' WHERE key = 'last_export_ok_endpoint'")
        assert podspan_json(tmp_path, "--config", conf, "status")["export"]["last_ok"]

        os.chmod(conf, 0o600)
        other = own(as_user(tmp_path, "doctor", "--config", conf, "--json")[1])
        assert other["podspan.config"] == (
            "note", "podspan's configuration cannot be read: whether it is right is unknown")
        assert other["podspan.drops"] == ("note", "the counters cannot be read: whether spans were dropped is unknown")
        assert other["podspand.running"] == ("note", "whether podspand is running cannot be seen")
        os.chmod(conf, 0o644)
        other = own(as_user(tmp_path, "doctor", "--config", conf, "--json")[1])
        assert other["podspan.collector"][0] == "error" and "nobody answers at 127.0.0.1:9" in other["podspan.collector"][1]


def test_status_of_nothing(tmp_path):
    document = podspan_json(tmp_path, "status")
    assert document["podspand"]["state"] == "not running" and document["podspan_cri"]["state"] == "not seen"
    assert not document["store"]["readable"] and "no store at" in document["store"]["error"]
    assert "no store at" in podspan(tmp_path, "status")


def test_status_tells_what_there_is(tmp_path, store):
    import fcntl

    now = time.time_ns()
    pod_start(store)
    store.add(Span(60, "x", 0, 1), state=2, received=now)
    store.add(Span(61, "x", 0, 1), state=0, received=now)
    store.meta("endpoint", "collector:4317")
    store.meta("last_export_ok_ns", str(now - 10**9))
    store.meta("last_export_error", "UNAVAILABLE: \x1b[31mno\x1b[0m")
    store.meta("last_export_error_ns", str(now))
    store.meta("started_ns", str(now - 3600 * 10**9))
    store.meta("node", "worker-1")
    ledger(store, exported=5, local=2, rejected=1, refused=2, retention=3, **{"in": 20})
    counters_file(tmp_path / "state", {(0, 0): 5, (0, 1): 3, (1, 4): 2, (5, 15): 77, (5, 17): 70, (5, 18): 1, (5, 22): 4})
    document = podspan_json(tmp_path, "status")
    assert document["spans"] == {
        "known": True, "in": 20, "exported": 5, "local": 2, "pending": 7, "dropped": 6, "unexplained": 0, "kept": 4, "lost": 5,
        "dropped_by": {"rejected": 1, "refused": 2, "retention": 3, "too_large": 0, "invalid": 0, "store_full": 0}}
    assert document["counters"]["podspan-cri"]["spans_written"] == 5
    assert document["counters"]["podspan-cri"]["drop_no_space"] == 3 and document["counters"]["podspan-hook"]["drop_io"] == 2
    assert sorted(document["counters"]) == sorted(PRODUCERS)
    assert document["store"]["pending"]["spans"] == 7 and document["store"]["exported"]["spans"] == 1
    assert document["store"]["local"]["spans"] == 1 and document["store"]["max_size"] == 512 << 20
    assert document["export"]["endpoint"] == "collector:4317" and document["export"]["pending_spans"] == 7
    assert document["export"]["lag_ns"] > 10**9 and document["export"]["last_ok_unix_nano"] == str(now - 10**9)
    assert document["node"] == "worker-1" and document["podspand"]["state"] == "not running"

    text = podspan(tmp_path, "status")
    assert "7 spans pending" in text and "20 in = 5 exported + 2 local only + 7 pending + 6 dropped\n" in text
    assert "dropped: 1 rejected by the collector; 2 refused by the collector; 3 removed by the store's bounds" in text
    assert "5 lost before podspand" in text and "4 exported by a tail rule" in text and "not accounted for" not in text
    ledger(store, local=3)
    assert "-1 spans are not accounted for" in podspan(tmp_path, "status")
    assert "drop_no_space" in text and "agent_timeouts" not in text and "\x1b" not in text
    assert "UNAVAILABLE: \\x1b[31mno" in text

    with open(tmp_path / "store" / "podspand.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert podspan_json(tmp_path, "status")["podspand"]["state"] == "running"
    assert podspan_json(tmp_path, "status")["podspand"]["state"] == "not running"

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "state" / "cri.sock"))
        assert podspan_json(tmp_path, "status")["podspan_cri"]["state"] == "not seen"
        listener.listen()
        assert podspan_json(tmp_path, "status")["podspan_cri"] == {
            "state": "running", "socket": str(tmp_path / "state" / "cri.sock")}


@pytest.mark.parametrize("name", CRI_SOCKETS)
def test_status_sees_podspan_cri_at_each_of_its_sockets(short_path, name):
    path = short_path / "state" / name
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        running = {"state": "running", "socket": str(path)}
        assert podspan_json(short_path, "status")["podspan_cri"] == running
        path.rename(f"{path}.bypass")
        path.symlink_to("/run/containerd/containerd.sock")
        assert podspan_json(short_path, "status")["podspan_cri"] == running


def test_status_believes_no_name_of_another_mount_namespace(tmp_path):
    """The kernel's list has the names that processes gave, in whatever mount namespace."""
    path = tmp_path / "state" / "cri.sock"
    path.parent.mkdir()
    script = (f"mount -t tmpfs tmpfs {path.parent} && exec {sys.executable} -c 'import socket, time; s = socket.socket(1); "
              f"s.bind(\"{path}\"); s.listen(); print(flush=True); time.sleep(60)'")
    with subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
                          stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.read(1) == b"\n" and str(path) in pathlib.Path("/proc/net/unix").read_text()
            assert podspan_json(tmp_path, "status")["podspan_cri"] == {"state": "not seen", "socket": None}
        finally:
            other.kill()


# config, usage


def test_config_tells_value_and_origin(tmp_path):
    conf = tmp_path / "podspan.conf"
    conf.write_text("[podspan]\ntracing_endpoint = \"collector:4317\"\n")
    entries = {e["key"]: e for e in podspan_json(tmp_path, "--config", conf, "config")["config"]}
    assert entries["tracing_endpoint"] == {"key": "tracing_endpoint", "value": "collector:4317", "origin": f"{conf}:2"}
    assert entries["enable_tracing"]["origin"] == "default"
    text = podspan(tmp_path, "config", "--config", conf)
    assert "collector:4317" in text and f"{conf}:2" in text
    conf.write_text("[podspan]\nno_such_key = 1\n")
    assert f"{conf}:2" in podspan(tmp_path, "config", "--config", conf, check=1)


@pytest.mark.parametrize("args", [
    [], ["nonsense"], ["trace"], ["trace", "a", "b"], ["traces", "x"], ["traces", "--since", "whenever"],
    ["traces", "-n", "0"], ["traces", "-n", "-1"], ["traces", "--slower-than", "5"], ["--color", "blue", "status"],
    ["traces", "--bogus"], ["inflight", "x"], ["status", "x"], ["config", "x"], ["probe", "--timeout", "0"],
    ["probe", "--runtime-endpoint", "tcp://1.2.3.4:5"], ["probe", "--", "true"],
])
def test_usage_errors(tmp_path, args):
    done = podspan(tmp_path, *args, check=2, text=False)
    assert done.stdout == b"" and done.stderr


@pytest.mark.parametrize("command", [[], ["traces"], ["trace"], ["inflight"], ["status"], ["config"], ["probe"]])
def test_help_and_version(tmp_path, command):
    assert podspan(tmp_path, *command, "--help").startswith("Usage: podspan")
    assert podspan(tmp_path, *command, "--version") == "podspan 0.1.0\n"


def test_a_full_disk_is_told(tmp_path, store):
    pod_start(store)
    with open("/dev/full", "w") as full:
        for args in (["traces"], ["traces", "--json"], ["trace", "4bf9"], ["status"], ["config"]):
            done = subprocess.run([PODSPAN, "--store-dir", tmp_path / "store", "--state-dir", tmp_path / "state", *args],
                                  stdout=full, stderr=subprocess.PIPE, timeout=30)
            assert done.returncode == 1 and b"standard output: No space left on device" in done.stderr, args


# probe, as far as it goes without a runtime (the runtimes' tests run it for real)


def test_probe_without_a_runtime(tmp_path):
    (tmp_path / "state" / "spool").mkdir(parents=True)
    told = podspan(tmp_path, "probe", "--runtime-endpoint", f"unix://{tmp_path}/none.sock", check=1)
    assert f"Version: UNAVAILABLE: the runtime does not listen at {tmp_path}/none.sock (No such file" in told
    document = json.loads(podspan(tmp_path, "probe", "--json", "--runtime-endpoint", f"{tmp_path}/none.sock", check=1,
                                  text=False).stdout)
    assert not document["ok"] and "UNAVAILABLE" in document["error"] and document["calls"][0]["status"] == "UNAVAILABLE"
    # Its own spans are in the spool: the failed call and the root.
    assert len(list((tmp_path / "state" / "spool").glob("1-*.otlp"))) == 4


def test_probe_gives_up_on_a_silent_runtime(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        begin = time.monotonic()
        told = podspan(tmp_path, "probe", "--timeout", "1s", "--runtime-endpoint", tmp_path / "silent.sock", check=1)
        assert time.monotonic() - begin < 20
        assert "DEADLINE_EXCEEDED" in told or "UNAVAILABLE" in told


# The probe against a runtime of ours: what it says, in which order, and that nothing is left, whatever fails.


def fields(data):
    """The fields of a protobuf message as {number: [value, ...]}."""
    out, i = {}, 0

    def read():
        nonlocal i
        value = shift = 0
        while True:
            byte = data[i]
            i += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while i < len(data):
        tag = read()
        if tag & 7 == 0:
            value = read()
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or read()
            value = data[i:i + size]
            i += size
        out.setdefault(tag >> 3, []).append(value)
    return out


class Runtime:
    """A CRI runtime that makes nothing, but remembers what it was asked for."""

    def __init__(self, path, fail=None, slow=None, version="1.0", leaves=False, driver=None, parent=None):
        """`leaves`: a failed RunPodSandbox leaves its sandbox. `driver`: what RuntimeConfig says (bytes; None: it is not
        implemented). `parent`: takes a cgroup_parent and returns why it is refused, or None."""
        import concurrent.futures

        import grpc

        self.calls, self.traceparents, self.requests = [], [], {}
        self.sandboxes, self.containers = {}, set()
        self.fail, self.slow, self.version = fail or {}, slow or {}, version
        self.leaves, self.driver, self.parent, self.parents = leaves, driver, parent, []
        self.grpc = grpc
        runtime = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, details):
                name = details.method.rsplit("/", 1)[1]
                return grpc.unary_unary_rpc_method_handler(
                    lambda request, context: runtime.answer(name, request, context))

        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[Handler()])
        self.server.add_insecure_port(f"unix:{path}")
        self.server.start()

    def answer(self, name, request, context):
        self.calls.append(name)
        self.requests[name] = message = fields(request)
        self.traceparents.append(dict(context.invocation_metadata()).get("traceparent"))
        result = b""
        if name == "Version":
            result = field(1, "0.1.0") + field(2, "fake") + field(3, self.version) + field(4, "v1")
        elif name == "RuntimeConfig":
            if self.driver is None:
                context.abort(self.grpc.StatusCode.UNIMPLEMENTED, "unknown method RuntimeConfig")
            result = self.driver
        elif name == "RunPodSandbox":
            config = fields(message[1][0])
            self.parents.append(fields(config[8][0]).get(1, [b""])[0].decode())
            refused = self.parent and self.parent(self.parents[-1])
            sandbox = "s" * 63 + str(len(self.parents))
            if self.leaves or not (refused or name in self.fail):
                self.sandboxes[sandbox] = config
            if refused:
                context.abort(self.grpc.StatusCode.UNKNOWN, refused)
            result = field(1, sandbox)
        elif name == "ListPodSandbox":
            result = b"".join(field(1, field(1, key) + field(2, value[1][0])) for key, value in self.sandboxes.items())
        elif name == "ImageStatus":
            result = field(1, field(1, "image-id"))
        elif name == "CreateContainer" and name not in self.fail:
            self.containers.add("c" * 64)
            result = field(1, "c" * 64)
        elif name == "RemoveContainer":
            self.containers.discard(message[1][0].decode())
        elif name == "RemovePodSandbox":
            self.sandboxes.pop(message[1][0].decode(), None)
        if name in self.slow:
            self.slow[name].wait(20)
        if name in self.fail:
            context.abort(self.grpc.StatusCode.INTERNAL, self.fail[name])
        return result

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(None)


START = ["Version", "ImageStatus", "RuntimeConfig", "RunPodSandbox", "CreateContainer", "StartContainer"]
END = ["StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"]


def probe_dirs(tmp_path):
    (tmp_path / "state" / "spool").mkdir(parents=True)


def log_dirs(tmp_path):
    return list(tmp_path.glob("podspan-probe-*"))


def collect(tmp_path, store, stop):
    """podspand's part: from the spool to the store."""
    text = lambda kv: fields(fields(kv)[2][0]).get(1, [b""])[0].decode()
    attributes = lambda message, number: {
        fields(kv)[1][0].decode(): text(kv) for kv in message.get(number, []) if 1 in fields(fields(kv)[2][0])}
    db = sqlite3.connect(store.dir / "podspan.db", isolation_level=None)
    while not stop.is_set():
        for path in (tmp_path / "state" / "spool").glob("1-*.otlp"):
            data = path.read_bytes()
            db.execute("BEGIN")
            batch = db.execute("INSERT INTO batch(received_ns, state, n_spans, size, traces) VALUES (1, 0, 1, 1, ?)",
                               (data,)).lastrowid
            for resource in map(fields, fields(data)[1]):
                about = attributes(fields(resource[1][0]), 1)
                for scope in map(fields, resource[2]):
                    for span in map(fields, scope[2]):
                        times = [struct.unpack("<Q", span[n][0])[0] for n in (7, 8)]
                        db.execute(
                            f"INSERT INTO span VALUES ({', '.join('?' * 16)}, NULL, 0, NULL)",
                            (batch, span[1][0], span[2][0], span.get(4, [None])[0], *times, span[6][0],
                             fields(span[15][0]).get(3, [0])[0] if 15 in span else 0, 1, span[5][0].decode(),
                             about["service.name"], about.get("k8s.pod.uid"), about.get("k8s.pod.name"),
                             about.get("k8s.namespace.name"), None, None))
            db.execute("COMMIT")
            path.unlink()
        stop.wait(0.05)
    db.close()


@pytest.fixture
def collector(tmp_path, store):
    import fcntl
    import threading

    probe_dirs(tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=collect, args=(tmp_path, store, stop))
    thread.start()
    with open(store.dir / "podspand.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield store
    stop.set()
    thread.join()


def test_probe_runs_a_pod_and_shows_its_trace(tmp_path, collector):
    with Runtime(tmp_path / "cri.sock", version="1\x1b[31m") as runtime:
        args = ("probe", "--runtime-endpoint", f"unix://{tmp_path}/cri.sock", "--image", "busybox:1")
        document = json.loads(podspan(tmp_path, *args, "--json", "--", "sleep", "5"))
        assert runtime.calls == START + END and not runtime.sandboxes and not runtime.containers
        assert document["ok"] and document["error"] is None and document["runtime_version"] == "1\x1b[31m"
        assert [c["method"].rsplit("/")[1] for c in document["calls"]] == START + END
        assert {c["method"].rsplit("/")[1]: c["status"] for c in document["calls"]} == {
            **dict.fromkeys(START + END, "OK"), "RuntimeConfig": "UNIMPLEMENTED"}

        # Each call has a span of its own, sampled, and the runtime was given that span's context.
        spans = [s for r in document["trace"]["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]]
        (root,) = [s for s in spans if s["name"] == "podspan probe"]
        calls = {s["spanId"]: s for s in spans if s is not root}
        assert len(calls) == 10 and all(s["parentSpanId"] == root["spanId"] for s in calls.values())
        for parent in runtime.traceparents:
            version, trace, span, flags = parent.split("-")
            assert (version, trace) == ("00", document["trace_id"]) and int(flags, 16) & 1 and span in calls
        # What only newer runtimes have is no failure of an older one.
        assert not any(s.get("status") for s in spans)
        resource = {a["key"]: a["value"].get("stringValue") for a in
                    document["trace"]["resourceSpans"][0]["resource"]["attributes"]}
        assert resource["service.name"] == "podspan-probe" and resource["k8s.pod.uid"] == document["pod_uid"]

        config = fields(runtime.requests["RunPodSandbox"][1][0])
        assert [v[0].decode() for v in (fields(config[1][0])[n] for n in (1, 2, 3))] == [
            document["pod_name"], document["pod_uid"], "podspan-probe"]
        container = fields(runtime.requests["CreateContainer"][2][0])
        assert container[3] == [b"sleep", b"5"] and fields(container[2][0])[1] == [b"busybox:1"]

        text = podspan(tmp_path, *args)
        assert "podspan probe" in text and "├─ " in text and "RunPodSandbox" in text
        assert "pod podspan-probe/podspan-probe-" in text
    assert not log_dirs(tmp_path)


@pytest.mark.parametrize("method", ["RunPodSandbox", "CreateContainer", "StartContainer", "StopContainer",
                                    "StopPodSandbox"])
def test_probe_takes_everything_away_when_a_call_fails(tmp_path, method):
    probe_dirs(tmp_path)
    with Runtime(tmp_path / "cri.sock", fail={method: "out of \x1b[31mluck"}) as runtime:
        told = podspan(tmp_path, "probe", "--runtime-endpoint", tmp_path / "cri.sock", "--image", "x", check=1)
        assert f"{method}: INTERNAL: out of \\x1b[31mluck" in told
        assert not runtime.sandboxes and not (runtime.containers and method != "StopContainer")
        if method == "RunPodSandbox":
            assert runtime.calls[-2:] == ["RunPodSandbox", "ListPodSandbox"]
    assert not log_dirs(tmp_path)


def test_probe_takes_away_the_sandbox_of_a_failed_run(tmp_path):
    """CNI fails, and so does undoing it: the runtime says that it made no pod, and has one."""
    probe_dirs(tmp_path)
    other = {1: [field(1, "other") + field(2, "other-uid")]}
    args = ("probe", "--runtime-endpoint", tmp_path / "cri.sock")
    with Runtime(tmp_path / "cri.sock", fail={"RunPodSandbox": "failed to setup network"}, leaves=True) as runtime:
        runtime.sandboxes["o" * 64] = other
        assert "RunPodSandbox: INTERNAL: failed to setup network" in podspan(tmp_path, *args, check=1)
        assert runtime.sandboxes == {"o" * 64: other}
        assert runtime.calls[-3:] == ["ListPodSandbox", "StopPodSandbox", "RemovePodSandbox"]
        # It cannot be taken away either: its id is said.
        runtime.fail["RemovePodSandbox"] = "plugin not found"
        told = podspan(tmp_path, *args, check=1)
        assert "failed to setup network" in told and "crictl rmp -f " + "s" * 63 + "2" in told


RUNC = 'runc create failed: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/k8s.io/x" instead'


@pytest.mark.parametrize("driver, parent, parents", [
    (None, None, [""]),
    (b"", None, [""]),
    (field(1, b"\x08\x01"), None, [""]),
    (field(1, b""), None, ["system.slice"]),
    (None, lambda p: None if p.endswith(".slice") else RUNC, ["", "system.slice"]),
    # RuntimeConfig speaks of the default handler, and this one is another.
    (field(1, b""), lambda p: p and "configured with cgroupfs cgroup manager, but received systemd slice as parent: " + p,
     ["system.slice", ""]),
    (field(1, b"\x08\x01"), lambda p: None if p.endswith(".slice") else RUNC, ["", "system.slice"]),
], ids=["not-told", "told-nothing", "cgroupfs", "systemd", "not-told-systemd", "other-handler", "other-handler-systemd"])
def test_probe_finds_the_cgroup_parent(tmp_path, driver, parent, parents):
    """It runs its pod with either cgroup driver, whether the runtime says which it has or not, and leaves nothing."""
    probe_dirs(tmp_path)
    with Runtime(tmp_path / "cri.sock", driver=driver, parent=parent, leaves=True) as runtime:
        done = podspan(tmp_path, "probe", "--json", "--image", "x", "--runtime-endpoint", tmp_path / "cri.sock", check=3,
                       text=False)
        document = json.loads(done.stdout)
        assert document["ok"] and document["error"] is None
        assert runtime.parents == parents and not runtime.sandboxes and not runtime.containers


def test_probe_gives_up_where_neither_cgroup_parent_is_taken(tmp_path):
    probe_dirs(tmp_path)
    with Runtime(tmp_path / "cri.sock", parent=lambda _: RUNC, leaves=True) as runtime:
        told = podspan(tmp_path, "probe", "--runtime-endpoint", tmp_path / "cri.sock", check=1)
        assert "RunPodSandbox: UNKNOWN: runc create failed" in told
        assert runtime.parents == ["", "system.slice"] and not runtime.sandboxes


@pytest.mark.parametrize("listener", ["own", "passed"])
def test_probe_names_the_runtime_behind_podspan_cri(tmp_path, listener):
    """With a runtime that is dead, the one at fault is that one, not podspan-cri's socket."""
    probe_dirs(tmp_path)
    listen, runtime = tmp_path / "cri.sock", tmp_path / "runtime.sock"
    command = [BUILD / "cri-hooks" / "podspan-cri", "--runtime", runtime, "--state-dir", tmp_path / "state"]
    with socket.socket(socket.AF_UNIX) as passed:
        if listener == "passed":
            # As systemd does: who made the socket says nothing, the link that `podspan install` laid does.
            passed.bind(str(listen))
            passed.listen()
            (tmp_path / "cri.sock.bypass").symlink_to(runtime)
            command = ["/bin/bash", "-c", 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', str(passed.fileno()), *command]
        else:
            command += ["--listen", listen]
        process = subprocess.Popen([str(part) for part in command], pass_fds=[passed.fileno()], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not pathlib.Path(f"{listen}.upgrade").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            args = ("probe", "--runtime-endpoint", f"unix://{listen}")
            told = podspan(tmp_path, *args, check=1)
            assert f"podspan-cri listens at {listen}, but the runtime behind it does not: {runtime} (No such file" in told
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(runtime))
            assert f"{runtime} (Connection refused)" in podspan(tmp_path, *args, check=1)
            runtime.unlink()
            with Runtime(runtime):
                podspan(tmp_path, *args, check=3, text=False)
        finally:
            process.terminate()
            process.wait(20)
    if listener == "passed":
        listen.unlink()
        assert f"podspan-cri does not listen at {listen} (No such file" in podspan(tmp_path, *args, check=1)


@pytest.mark.parametrize("method, signals", [("RunPodSandbox", 1), ("RunPodSandbox", 2), ("StartContainer", 1),
                                             ("StopContainer", 1)])
def test_probe_takes_everything_away_after_ctrl_c(tmp_path, method, signals):
    import signal
    import threading

    probe_dirs(tmp_path)
    slow = threading.Event()
    with Runtime(tmp_path / "cri.sock", slow={method: slow}) as runtime:
        process = subprocess.Popen(
            [PODSPAN, "--state-dir", tmp_path / "state", "--store-dir", tmp_path / "store", "probe", "--image", "x",
             "--runtime-endpoint", tmp_path / "cri.sock"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(tmp_path)})
        deadline = time.monotonic() + 20
        while method not in runtime.calls:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        slow.set()
        _, err = process.communicate(timeout=40)
        assert process.returncode == 1 and b"interrupted" in err
        assert not runtime.sandboxes and not runtime.containers
        assert runtime.calls[-1] == "RemovePodSandbox"
    assert not log_dirs(tmp_path)


def test_probe_gives_up_a_call_at_its_deadline_and_takes_away_what_it_made(tmp_path):
    import threading

    probe_dirs(tmp_path)
    slow = threading.Event()
    with Runtime(tmp_path / "cri.sock", slow={"RunPodSandbox": slow}) as runtime:
        told = podspan(tmp_path, "probe", "--timeout", "300ms", "--runtime-endpoint", tmp_path / "cri.sock", check=1)
        assert "RunPodSandbox: DEADLINE_EXCEEDED" in told
        assert runtime.calls[-3:] == ["ListPodSandbox", "StopPodSandbox", "RemovePodSandbox"]
        assert not runtime.sandboxes
        slow.set()


def test_probe_without_a_collector_says_so(tmp_path):
    (tmp_path / "state").mkdir()
    with Runtime(tmp_path / "cri.sock") as runtime:
        done = podspan(tmp_path, "probe", "--runtime-endpoint", tmp_path / "cri.sock", check=3, text=False)
        assert b"nobody collects spans" in done.stderr
        (tmp_path / "state" / "spool").mkdir()
        done = podspan(tmp_path, "probe", "--runtime-endpoint", tmp_path / "cri.sock", check=3, text=False)
        assert b"podspand is not running" in done.stderr
        (tmp_path / "state" / "spool").rename(tmp_path / "spool")
        assert runtime.calls == 2 * ["Version", "RuntimeConfig", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]
        done = podspan(tmp_path, "probe", "--keep", "--runtime-endpoint", tmp_path / "cri.sock", check=3, text=False)
        assert b"still there: sandbox sss" in done.stderr and runtime.sandboxes
        assert len(log_dirs(tmp_path)) == 1
