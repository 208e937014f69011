"""`podspan doctor` judges the export by its outcome: what the collector answered, never that somebody listens."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lib.otlp import Certificates, Receiver
from lib.podspan import Podspan
from lib.process import free_port, wait_for
from test_export import arrived, make_spans

WAIT = 40


def finding(podspan):
    """What doctor says about podspan's own export; the node is nobody's, the exit code says nothing here."""
    found = json.loads(podspan.cli("doctor", "--json", check=False))["findings"]
    (one,) = [each for each in found if each["id"] == "podspan.collector"]
    return one


def said(podspan):
    """All that a person reads of it."""
    one = finding(podspan)
    return f"{one['severity']}: {one['text']}\n{one['evidence']}\n{one['fix']}"


@contextlib.contextmanager
def tcp(serve):
    """A listener on 127.0.0.1 that treats each connection as told."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        ended = threading.Event()
        held = []

        def run():
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    held.append(listener.accept()[0])
                    serve(held[-1])

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


@contextlib.contextmanager
def http(_):
    """A web server, as on the collector's port for OTLP over HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", {}
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def silent(_):
    """It accepts, and that is all."""
    with tcp(lambda connection: None) as endpoint:
        yield endpoint, {"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}


@contextlib.contextmanager
def closing(_):
    """It accepts and hangs up."""
    with tcp(lambda connection: connection.close()) as endpoint:
        yield endpoint, {}


@contextlib.contextmanager
def tls_for_plaintext(folder):
    """Plaintext to a port that wants TLS."""
    with Receiver(tls=Certificates(folder)) as receiver:
        yield receiver.endpoint, {}


@contextlib.contextmanager
def plaintext_for_tls(_):
    """TLS to a plaintext port."""
    with Receiver() as receiver:
        yield f"https://localhost:{receiver.port}", {}


@contextlib.contextmanager
def unknown_authority(folder):
    """TLS with a certificate that nobody here has signed."""
    with Receiver(tls=Certificates(folder)) as receiver:
        yield f"https://localhost:{receiver.port}", {}


CASES = {
    http: ("speaks", "4317"), silent: ("accepts connections and says nothing", "OTLP over gRPC"),
    closing: ("closes the connection", "log"), tls_for_plaintext: ("", "https://"),
    plaintext_for_tls: ("nothing was ever exported", "http://"),
    unknown_authority: ("nothing was ever exported", "authority"),
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_peer_that_takes_no_spans_is_an_error(tmp_path, make):
    """Each of these accepts a connection, and none was ever given a span."""
    text, fix = CASES[make]
    with make(tmp_path) as (endpoint, env), Podspan(endpoint, env=env) as podspan:
        make_spans(podspan)
        wait_for(lambda: podspan.cli_json("status")["export"]["last_error_message"], "a failed export", WAIT)
        one = finding(podspan)
        assert one["severity"] == "error", said(podspan)
        assert text in one["text"] and ("nothing was exported yet" in one["text"] or "nothing was ever" in one["text"]), one
        assert fix in one["fix"], one
        assert "last success: never; 1 spans wait, for up to" in one["evidence"] and "last error: " in one["evidence"], one
        assert "answers" not in said(podspan)


def test_nobody_listens():
    """As before."""
    with Podspan(f"127.0.0.1:{free_port()}") as podspan:
        one = finding(podspan)
        assert one["severity"] == "error" and "refused" in one["evidence"] and "nothing was exported yet" in one["text"]


def test_only_a_success_is_a_success():
    """A collector that nobody exported to is no finding of being well; then it is; then it is gone."""
    with Receiver() as receiver, Podspan(receiver.endpoint, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}) as podspan:
        one = finding(podspan)
        assert one["severity"] == "note" and "whether it takes spans is not known" in one["text"], one

        receiver.wait_for(arrived(*make_spans(podspan)), "the span")
        wait_for(lambda: podspan.cli_json("status")["export"]["last_ok"], "a success", WAIT)
        one = finding(podspan)
        assert one["severity"] == "ok" and "last success" in one["text"] and "0 spans wait" in one["evidence"], one

        receiver.stop()
        make_spans(podspan)
        wait_for(lambda: podspan.cli_json("status")["export"]["last_error_message"], "a failure", WAIT)
        one = finding(podspan)
        assert one["severity"] == "error" and "last success" in one["text"], one

        receiver.start()
        wait_for(lambda: finding(podspan)["severity"] == "ok", "well again", WAIT)


def test_another_endpoint_begins_anew():
    """What one collector took says nothing about the next one."""
    with Receiver() as first, Receiver() as second, Podspan(first.endpoint) as podspan:
        first.wait_for(arrived(*make_spans(podspan)), "the span")
        wait_for(lambda: finding(podspan)["severity"] == "ok", "a success", WAIT)
        text = podspan.config.read_text(encoding="utf-8")
        podspan.config.write_text(text.replace(first.endpoint, second.endpoint), encoding="utf-8")
        one = finding(podspan)
        assert one["severity"] == "warning" and "was not reloaded" in one["text"], one
        podspan.agent.stop()
        podspan.start_agent()
        one = finding(podspan)
        assert one["severity"] == "note" and "nothing was exported yet" in one["text"], one
