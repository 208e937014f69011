"""The OpenTelemetry Collector and Jaeger."""

import json
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from .paths import peer
from .process import Daemon, Failed, accepts, free_port, wait_for
from .spans import CLIENT, CONSUMER, ERROR, INTERNAL, OK, PRODUCER, SERVER, UNSET, Span, Spans

_COLLECTOR_CONFIG = """
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:{port}
processors:
  batch:
    timeout: 100ms
exporters:
  file:
    path: {file}
{forward}
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [{exporters}]
"""
_FORWARD = """
  otlp:
    endpoint: {endpoint}
    tls:
      insecure: true
"""
_KINDS = {"internal": INTERNAL, "server": SERVER, "client": CLIENT, "producer": PRODUCER, "consumer": CONSUMER}


class _Backend:
    """One daemon with a folder and an OTLP gRPC port of its own."""

    name = ""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.port = free_port()
        self.daemon = None

    @property
    def endpoint(self):
        """host:port of its OTLP gRPC receiver."""
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts it, also again after a stop, on the same port."""
        self.daemon = Daemon(self.name, self.command(), self.folder, env=self.environment())
        self.daemon.wait_until(self.ready, "ready", timeout=30)

    def stop(self):
        """Stops it."""
        self.daemon.stop()

    def command(self):
        """What to run."""
        raise NotImplementedError

    def environment(self):
        """Additional environment."""
        return {}

    def ready(self):
        """True once it can be used."""
        return accepts(self.port)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _json_value(value):
    kind, content = next(iter(value.items()), (None, None))
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_json_value(item) for item in content.get("values", [])]
    if kind == "kvlistValue":
        return _json_attributes(content.get("values", []))
    return content


def _json_attributes(pairs):
    return {pair["key"]: _json_value(pair.get("value", {})) for pair in pairs}


def _from_otlp_json(batch):
    for group in batch.get("resourceSpans", []):
        resource = _json_attributes(group.get("resource", {}).get("attributes", []))
        for scope in group.get("scopeSpans", []):
            for span in scope.get("spans", []):
                status = span.get("status", {})
                yield Span(
                    span["traceId"], span["spanId"], span.get("parentSpanId", ""), span["name"], span.get("kind", 0),
                    int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]),
                    _json_attributes(span.get("attributes", [])), resource, status.get("code", UNSET),
                    status.get("message", ""),
                    [(link["traceId"], link["spanId"]) for link in span.get("links", [])], span.get("flags", 0),
                    span.get("traceState", ""))


class Collector(_Backend):
    """The Collector; forward_to is the host:port of another OTLP gRPC receiver."""

    name = "collector"

    def __init__(self, forward_to=None):
        super().__init__()
        self._file = self.folder / "spans.jsonl"
        (self.folder / "config.yaml").write_text(_COLLECTOR_CONFIG.format(
            port=self.port, file=self._file, forward=_FORWARD.format(endpoint=forward_to) if forward_to else "",
            exporters="file, otlp" if forward_to else "file"), encoding="utf-8")

    def command(self):
        return [peer("otelcol", "otelcol"), "--config", self.folder / "config.yaml"]

    @property
    def spans(self):
        """Every span received so far."""
        if not self._file.exists():
            return Spans()
        lines = self._file.read_text(encoding="utf-8").split("\n")[:-1]
        return Spans(span for line in lines for span in _from_otlp_json(json.loads(line)))

    def wait_for(self, condition, what, timeout=20.0):
        """Waits until condition(spans) is true; returns them."""
        try:
            wait_for(lambda: condition(self.spans), what, timeout, interval=0.1)
        except Failed as error:
            raise Failed(f"{error}; received:\n{self.spans}") from None
        return self.spans


class Jaeger(_Backend):
    """Jaeger all-in-one with its storage in memory."""

    name = "jaeger"

    def __init__(self):
        super().__init__()
        self._query = free_port()

    def command(self):
        options = {"collector.otlp.grpc.host-port": self.port, "query.http-server.host-port": self._query}
        for other in ("admin.http", "collector.grpc-server", "collector.http-server", "collector.otlp.http",
                      "query.grpc-server"):
            options[f"{other}.host-port"] = free_port()
        return [peer("jaeger", "jaeger"), *(f"--{key}=127.0.0.1:{port}" for key, port in options.items())]

    def environment(self):
        return {"SPAN_STORAGE_TYPE": "memory", "OTEL_TRACES_SAMPLER": "always_off"}

    def ready(self):
        return accepts(self.port) and accepts(self._query)

    def get(self, path):
        """The data of an answer of the JSON API; None if it says that there is no such thing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._query}/api/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def services(self):
        """The service names that Jaeger knows."""
        return set(self.get("services") or [])

    def trace(self, trace_id):
        """The spans of a trace; empty if Jaeger does not know it."""
        return Spans(span for trace in self.get(f"traces/{trace_id}") or [] for span in self._spans(trace))

    def find(self, service, limit=1000):
        """The spans of all traces that a service has part in."""
        return Spans(span for trace in self.get(f"traces?service={service}&limit={limit}&lookback=1h") or []
                     for span in self._spans(trace))

    def wait_for_trace(self, trace_id, condition, what, timeout=20.0):
        """Waits until condition(spans of the trace) is true; returns them."""
        try:
            return wait_for(lambda: (lambda spans: spans if condition(spans) else None)(self.trace(trace_id)), what,
                            timeout, interval=0.1)
        except Failed as error:
            raise Failed(f"{error}; Jaeger has:\n{self.trace(trace_id)}") from None

    @staticmethod
    def _spans(trace):
        processes = {key: {"service.name": process["serviceName"],
                           **{tag["key"]: tag["value"] for tag in process.get("tags", [])}}
                     for key, process in trace["processes"].items()}
        for span in trace["spans"]:
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            references = [(reference["traceID"].zfill(32), reference["spanID"].zfill(16), reference["refType"])
                          for reference in span.get("references", [])]
            trace_id = span["traceID"].zfill(32)
            parents = [span_id for trace, span_id, kind in references if kind == "CHILD_OF" and trace == trace_id]
            yield Span(
                trace_id, span["spanID"].zfill(16), parents[0] if parents else "", span["operationName"],
                _KINDS.get(tags.get("span.kind"), 0), span["startTime"] * 1000,
                (span["startTime"] + span["duration"]) * 1000, tags, processes[span["processID"]],
                {"OK": OK, "ERROR": ERROR}.get(tags.get("otel.status_code"), UNSET),
                tags.get("otel.status_description", ""),
                [(trace, span_id) for trace, span_id, kind in references if kind == "FOLLOWS_FROM"],
                span.get("flags", 0))
