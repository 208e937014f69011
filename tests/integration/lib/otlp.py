"""An OTLP gRPC receiver that does what a test tells it, and remembers everything."""

import collections
import concurrent.futures
import dataclasses
import threading
import time

import grpc

from . import protoc
from .process import Failed, free_port, run, wait_for
from .spans import Spans, from_otlp

Messages = protoc.compile_file("otlp.proto")
_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


@dataclasses.dataclass
class Answer:
    """How to answer one export: code and message, seconds for RetryInfo, a partial success, seconds of silence."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    retry_after: float = None
    rejected: int = 0
    hang: float = 0

    def details(self):
        """google.rpc.Status with RetryInfo, serialized."""
        delay = Messages["Duration"](seconds=int(self.retry_after), nanos=int(self.retry_after % 1 * 1e9))
        info = Messages["Any"](type_url="type.googleapis.com/google.rpc.RetryInfo",
                               value=Messages["RetryInfo"](retry_delay=delay).SerializeToString())
        return Messages["RpcStatus"](code=self.code.value[0], message=self.message, details=[info]).SerializeToString()


@dataclasses.dataclass
class Request:
    """One export as it came in."""

    at: float
    metadata: dict
    spans: Spans
    size: int
    accepted: bool
    deadline: float


class Certificates:
    """A self-signed certificate for localhost, and one for a client."""

    def __init__(self, folder):
        self.server, self.server_key = self._make(folder, "server")
        self.client, self.client_key = self._make(folder, "client")

    @staticmethod
    def _make(folder, name):
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out",
            certificate)
        return certificate, key


def _json_attributes(attributes):
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue"}
    return [{"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}
             if type(value) in kinds else {"stringValue": str(value)}} for key, value in attributes.items()]


def to_json(spans):
    """OTLP JSON of spans: an ExportTraceServiceRequest, as a dict."""
    return {"resourceSpans": [{
        "resource": {"attributes": _json_attributes(span.resource)},
        "scopeSpans": [{"spans": [{
            "traceId": span.trace_id, "spanId": span.span_id, "parentSpanId": span.parent_id, "name": span.name,
            "kind": span.kind, "startTimeUnixNano": str(span.start), "endTimeUnixNano": str(span.end),
            "attributes": _json_attributes(span.attributes), "status": {"code": span.status}}]}]} for span in spans]}


class Receiver:
    """Listens on 127.0.0.1; without instructions it accepts everything, up to the Collector's 4 MiB per message."""

    def __init__(self, tls=None, require_client_certificate=False, max_message=4 << 20):
        self.port = free_port()
        self.requests = []
        self._script, self._always = collections.deque(), Answer()
        self._tls, self._require_client_certificate, self._max_message = tls, require_client_certificate, max_message
        self._lock, self._server, self._stopped = threading.Lock(), None, threading.Event()

    @property
    def endpoint(self):
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def script(self, *answers):
        """The answers to the next exports, one each."""
        with self._lock:
            self._script.extend(answers)

    def always(self, answer):
        """The answer when there is no script."""
        self._always = answer

    def start(self):
        """Starts to listen, also again after a stop, on the same port."""
        self._stopped.clear()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[
            ("grpc.max_receive_message_length", self._max_message), ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {
            "Export": grpc.unary_unary_rpc_method_handler(self._export)}),))
        if self._tls:
            credentials = grpc.ssl_server_credentials(
                [(self._tls.server_key.read_bytes(), self._tls.server.read_bytes())],
                root_certificates=self._tls.client.read_bytes() if self._require_client_certificate else None,
                require_client_auth=self._require_client_certificate)
            port = self._server.add_secure_port(self.endpoint, credentials)
        else:
            port = self._server.add_insecure_port(self.endpoint)
        if port != self.port:
            raise Failed(f"cannot listen on {self.endpoint}")
        self._server.start()
        return self

    def stop(self):
        """Stops to listen; connections are closed."""
        self._stopped.set()
        self._server.stop(0).wait()

    def _next_answer(self):
        with self._lock:
            return self._script.popleft() if self._script else self._always

    def _export(self, body, context):
        answer = self._next_answer()
        spans = Spans(from_otlp(Messages["ExportTraceServiceRequest"].FromString(body)))
        self.requests.append(Request(
            time.monotonic(), dict(context.invocation_metadata()), spans, len(body),
            answer.code is grpc.StatusCode.OK and not answer.hang, context.time_remaining()))
        if answer.hang:
            self._stopped.wait(answer.hang)
        if answer.retry_after is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", answer.details()),))
        if answer.code is not grpc.StatusCode.OK:
            context.abort(answer.code, answer.message)
        if answer.rejected:
            return Messages["ExportTraceServiceResponse"](partial_success=Messages["ExportTracePartialSuccess"](
                rejected_spans=answer.rejected, error_message=answer.message)).SerializeToString()
        return b""

    @property
    def spans(self):
        """Every span of every accepted export."""
        return Spans(span for request in list(self.requests) if request.accepted for span in request.spans)

    def wait_for(self, condition, what, timeout=20.0):
        """Waits until condition(spans) is true of the accepted spans; returns them."""
        try:
            wait_for(lambda: condition(self.spans), what, timeout, interval=0.05)
        except Failed as error:
            raise Failed(f"{error}; received:\n{self.spans}") from None
        return self.spans

    def wait_quiet(self, seconds=1.5, timeout=30.0):
        """Waits until nothing has come for some seconds; returns the accepted spans."""
        begin = time.monotonic()
        wait_for(lambda: time.monotonic() - max([begin] + [request.at for request in self.requests[-1:]]) >= seconds,
                 "the exporter is quiet", timeout, interval=0.1)
        return self.spans

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
