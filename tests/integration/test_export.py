"""From the spool to Collector and Jaeger, and what podspand does when a collector does not behave."""

import secrets
import time

import grpc
import pytest

from lib import cri
from lib.backends import Collector, Jaeger
from lib.checks import CRI, HOOK, START_METHODS, check_start, has_start
from lib.node import CONTAINERD, CRIO, MODERN, node, own_spans
from lib.otlp import Answer, Certificates, Receiver
from lib.podspan import Podspan
from lib.scenarios import runtime_calls
from lib.spans import SERVER, Caller

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("with_caller", [True, False], ids=["callers-trace", "own-trace"])
@pytest.mark.parametrize("name, make", [(MODERN, CONTAINERD[MODERN]), ("crio-runc", CRIO["crio-runc"])],
                         ids=["containerd", "crio"])
def test_collector_and_jaeger(name, make, with_caller):
    """One trace in Jaeger, by way of the Collector: podspan's spans and the runtime's own, ids as they were sent."""
    with Jaeger() as jaeger, Collector(forward_to=jaeger.endpoint) as collector:
        with node(make, backend=collector, runtime_options=own_spans(name, collector.endpoint)) as one:
            caller = Caller() if with_caller else None
            pod = one.pod(caller)

            def complete(spans):
                ours = spans.of(pod=pod.uid)
                return has_start(pod, 2)(spans) and len(runtime_calls(spans.of(trace_id=ours[0].trace_id))) >= 3

            sent = collector.wait_for(complete, "the Collector has the start of the pod")
            calls = check_start(sent, pod, pod.containers["main"])
            trace_id = caller.trace_id if caller else calls["RunPodSandbox"].trace_id
            shown = jaeger.wait_for_trace(trace_id, complete, "Jaeger has the start of the pod")
        _compare(sent.of(trace_id=trace_id), shown)
        assert {CRI, HOOK} < jaeger.services()
        for method in START_METHODS:
            span = shown.one(service=CRI, method=method)
            assert span.parent_id == (caller.span_id if caller else calls[method].parent_id)
            assert span.kind == SERVER and span.resource["k8s.pod.name"] == pod.name
            theirs = [below for below in runtime_calls(shown) if below.method == method]
            assert theirs, f"the runtime's {method} is not in the trace:\n{shown}"
            if caller:
                assert theirs[0].parent_id == caller.span_id
            else:
                assert span in shown.ancestors(theirs[0])


def _compare(sent, shown):
    """Jaeger has the same spans under the same parents as the Collector got."""
    parents = {span.span_id: span.parent_id for span in shown}
    for span in sent.of(service=CRI) + sent.of(service=HOOK):
        assert parents.get(span.span_id) == span.parent_id, f"{span} is not so in Jaeger:\n{shown}"


def make_spans(podspan, count=1):
    """Real spans without a runtime: the hook is called for containers that do not exist; returns their ids."""
    ids = [secrets.token_hex(32) for _ in range(count)]
    for container_id in ids:
        podspan.run_hook("createRuntime", {"ociVersion": "1.0.2", "id": container_id, "status": "creating", "pid": 1,
                                           "bundle": "/", "annotations": {}})
    return ids


def arrived(*ids):
    """A condition: the spans of all these containers are there."""
    return lambda spans: {span.attributes.get("container.id") for span in spans} >= set(ids)


def check_once(spans):
    """Nothing came twice."""
    assert len({span.span_id for span in spans}) == len(spans), f"a span came twice:\n{spans}"


def test_prompt_and_described():
    """A span is exported within 5 s, with the resource that D5 and the issue name; nothing is left in the spool."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        begin = time.monotonic()
        ids = make_spans(podspan)
        spans = receiver.wait_for(arrived(*ids), "the span", timeout=10)
        assert receiver.requests[0].at - begin <= 5
        resource = spans[0].resource
        assert resource["service.name"] == HOOK
        for key in ("host.name", "k8s.node.name", "telemetry.sdk.name", "telemetry.sdk.language",
                    "telemetry.sdk.version"):
            assert resource.get(key), f"{key} is missing in {resource}"
        assert not [file for file in (podspan.state / "spool").iterdir() if file.suffix == ".otlp"]


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED,
                                  grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OUT_OF_RANGE,
                                  grpc.StatusCode.DATA_LOSS], ids=lambda code: code.name)
def test_retried(code):
    """OTLP's retryable codes are retried until it works, and nothing comes twice."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        receiver.script(Answer(code, "later"))
        ids = make_spans(podspan, 3)
        check_once(receiver.wait_for(arrived(*ids), "the spans after a retry", timeout=30))


@pytest.mark.parametrize("answer", [
    Answer(grpc.StatusCode.INVALID_ARGUMENT, "no"), Answer(grpc.StatusCode.UNAUTHENTICATED, "no"),
    Answer(EXHAUSTED, "too much, and no word when to come back"), Answer(rejected=1, message="one was bad"),
], ids=["invalid", "unauthenticated", "exhausted", "partial-success"])
def test_not_retried(answer):
    """What must not be retried is sent once, and does not hold up what follows."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        receiver.script(answer)
        first = make_spans(podspan)
        receiver.wait_for(lambda _: receiver.requests, "the first export")
        time.sleep(3)
        assert len(receiver.requests) == 1, "it was retried"
        second = make_spans(podspan)
        receiver.wait_for(arrived(*second), "what follows")
        sent = [span.attributes.get("container.id") for request in receiver.requests for span in request.spans]
        assert set(sent) == {*first, *second}
        assert podspan.cli_json("status")


@pytest.mark.parametrize("code", [UNAVAILABLE, EXHAUSTED], ids=lambda code: code.name)
def test_retry_info(code):
    """The collector's RetryInfo is obeyed."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        receiver.script(Answer(code, "in 4 s", retry_after=4))
        ids = make_spans(podspan)
        receiver.wait_for(arrived(*ids), "the span after the delay", timeout=30)
        assert receiver.requests[1].at - receiver.requests[0].at >= 3.9


def test_silent_collector():
    """An export has a deadline; after it the spans are sent again."""
    with Receiver() as receiver, Podspan(receiver.endpoint, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}) as podspan:
        receiver.script(Answer(hang=60))
        ids = make_spans(podspan)
        receiver.wait_for(arrived(*ids), "the span after the deadline", timeout=30)
        assert 0 < receiver.requests[0].deadline <= 1.1


def test_headers_and_tls(tmp_path):
    """TLS with the given authority and a client certificate, and the given headers."""
    certificates = Certificates(tmp_path)
    with Receiver(tls=certificates, require_client_certificate=True) as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{receiver.port}",
               "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates.server),
               "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates.client),
               "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificates.client_key),
               "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue,x-token=a%20b"}
        with Podspan(env=env) as podspan:
            receiver.wait_for(arrived(*make_spans(podspan)), "the span over TLS")
            assert receiver.requests[0].metadata["x-tenant"] == "blue"
            assert receiver.requests[0].metadata["x-token"] == "a b"
            shown = podspan.cli("config")
            assert "a b" not in shown and "a%20b" not in shown


def test_untrusted_certificate(tmp_path):
    """Without the authority nothing is sent."""
    with Receiver(tls=Certificates(tmp_path)) as receiver:
        with Podspan(env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{receiver.port}"}) as podspan:
            make_spans(podspan)
            time.sleep(3)
            assert not receiver.requests and podspan.agent.alive()


def test_batches_fit():
    """After an outage the backlog comes in messages that the Collector takes, each span once."""
    receiver = Receiver()
    with Podspan(receiver.endpoint) as podspan:
        ids = make_spans(podspan, 300)
        with receiver:
            check_once(receiver.wait_for(arrived(*ids), "the backlog", timeout=30))
            assert len(receiver.requests) < 100


def test_rate_0_exports_nothing():
    """At rate 0 and without a caller's trace nothing is exported."""
    with Receiver() as receiver, Podspan(receiver.endpoint, rate=0) as podspan:
        make_spans(podspan, 5)
        time.sleep(3)
        assert not receiver.requests


def _quick(call, limit=5):
    """Makes a call that must not be slow."""
    begin = time.monotonic()
    result = call()
    assert time.monotonic() - begin < limit
    return result


def test_outages_lose_nothing():
    """Collector away, podspand killed, both back: calls go on, and every span arrives."""
    with node(CONTAINERD[MODERN]) as one:
        pods = [_quick(one.pod)]
        one.backend.stop()
        pods.append(_quick(one.pod))
        one.podspan.agent.kill()
        pods.append(_quick(one.pod))
        one.backend.start()
        one.podspan.start_agent()
        pods.append(_quick(one.pod))

        def complete(spans):
            return all(has_start(pod, 2)(spans) for pod in pods)

        spans = one.backend.wait_for(complete, "all spans of all pods", timeout=60)
        for pod in pods:
            check_start(spans, pod, pod.containers["main"])


def test_killed_while_exporting():
    """kill -9 in the middle of an export: afterwards everything is there."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        receiver.script(Answer(hang=60))
        ids = make_spans(podspan, 20)
        receiver.wait_for(lambda _: receiver.requests, "an export that hangs")
        podspan.agent.kill()
        ids += make_spans(podspan, 20)
        podspan.start_agent()
        receiver.wait_for(arrived(*ids), "everything", timeout=30)


def test_one_pod_after_another_has_its_own_trace():
    """Two pods are two traces."""
    with node(CONTAINERD[MODERN], stages=()) as one:
        pods = [cri.Pod(one.runtime).run(one.client) for _ in range(2)]
        spans = one.backend.wait_for(lambda spans: len(spans.of(method="RunPodSandbox")) == 2, "both")
        assert len({spans.one(pod=pod.uid, method="RunPodSandbox").trace_id for pod in pods}) == 2
