"""Every real peer does its job here without podspan: when one of these fails, the machine is to blame."""

import json
import time

import grpc
import pytest

from lib import cri, images, otlp
from lib.backends import Collector, Jaeger
from lib.containerd import VERSIONS, Containerd
from lib.crio import Crio
from lib.paths import peer
from lib.podman import Podman
from lib.process import Daemon, accepts
from lib.spans import SERVER, Caller

RUNTIMES = [(f"containerd-{version}-{runtime}", lambda version=version, runtime=runtime: Containerd(version, runtime))
            for version in VERSIONS for runtime in ("runc", "crun")]
RUNTIMES += [(f"crio-{runtime}", lambda runtime=runtime: Crio(runtime)) for runtime in ("runc", "crun")]


@pytest.mark.parametrize("make", [make for _, make in RUNTIMES], ids=[name for name, _ in RUNTIMES])
def test_a_pod_runs(make):
    """Pod, container, exec, log, from-scratch image, stop and remove, on every runtime."""
    with make() as runtime, runtime.client() as client:
        pod = cri.Pod(runtime).run(client)
        main = pod.start(client, "main", command=["sh", "-c", "echo hello; exec sleep 1000"])
        pod.start(client, "scratch", image=images.SCRATCH, command=[], read_only=True)
        answer = client("ExecSync", container_id=main, cmd=["hostname"], timeout=10)
        assert answer.stdout.decode().strip() == pod.name
        assert "hello" in pod.log("main")
        assert "running" in pod.log("scratch")
        assert [item["metadata"]["uid"] for item in cri.crictl_json(runtime.socket, "pods")["items"]] == [pod.uid]
        pod.remove(client)
        assert not client("ListPodSandbox").items
        assert not client("ListContainers").containers


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_podman_calls_hooks(runtime, tmp_path):
    """podman calls hooks of a hooks.d folder, also for a from-scratch image."""
    record = tmp_path / "state.json"
    with Podman(runtime, hooks={"createRuntime": [["/bin/sh", "-c", f"cat > {record}"]]}) as podman:
        assert podman.run(images.BUSYBOX, "echo", "running").stdout == "running\n"
        assert json.loads(record.read_text())["status"] in ("created", "creating")


def test_podman_in_a_user_namespace(tmp_path):
    """podman and crun run a container in a user namespace, with hooks."""
    record = tmp_path / "state.json"
    with Podman("crun", hooks={"createRuntime": [["/bin/sh", "-c", f"cat > {record}"]]}) as podman:
        done = podman.run("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", images.BUSYBOX, "cat",
                          "/proc/self/uid_map")
        assert done.stdout.split() == ["0", "100000", "65536"]
        assert json.loads(record.read_text())["id"]


def otlp_request(name="work"):
    """One span, as bytes."""
    caller = Caller()
    span = otlp.Messages["Span"](trace_id=bytes.fromhex(caller.trace_id), span_id=bytes.fromhex(caller.span_id),
                                 name=name, kind=SERVER, start_time_unix_nano=time.time_ns(),
                                 end_time_unix_nano=time.time_ns())
    resource = otlp.Messages["Resource"](attributes=[otlp.Messages["KeyValue"](
        key="service.name", value=otlp.Messages["AnyValue"](string_value="tests"))])
    return caller, otlp.Messages["ExportTraceServiceRequest"](resource_spans=[otlp.Messages["ResourceSpans"](
        resource=resource, scope_spans=[otlp.Messages["ScopeSpans"](spans=[span])])]).SerializeToString()


def export(endpoint, body, credentials=None, timeout=10):
    """Sends one export request."""
    channel = grpc.secure_channel(endpoint, credentials) if credentials else grpc.insecure_channel(endpoint)
    with channel:
        return channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(
            body, timeout=timeout, wait_for_ready=True)


def test_collector_and_jaeger():
    """What the Collector gets, it writes down and Jaeger shows."""
    with Jaeger() as jaeger, Collector(forward_to=jaeger.endpoint) as collector:
        caller, body = otlp_request()
        export(collector.endpoint, body)
        span = collector.wait_for(lambda spans: spans, "the Collector has the span").one(service="tests")
        assert (span.trace_id, span.span_id, span.kind) == (caller.trace_id, caller.span_id, SERVER)
        span = jaeger.wait_for_trace(caller.trace_id, bool, "Jaeger has the span").one(service="tests")
        assert (span.span_id, span.name, span.kind) == (caller.span_id, "work", SERVER)
        assert "tests" in jaeger.services()
        assert jaeger.find("tests").trace_ids() == {caller.trace_id}
        assert not jaeger.trace(Caller().trace_id)


def test_scripted_receiver(tmp_path):
    """The tests' own receiver answers as told and remembers."""
    certificates = otlp.Certificates(tmp_path)
    credentials = grpc.ssl_channel_credentials(
        certificates.server.read_bytes(), certificates.client_key.read_bytes(), certificates.client.read_bytes())
    with otlp.Receiver(tls=certificates, require_client_certificate=True) as receiver:
        receiver.script(otlp.Answer(grpc.StatusCode.UNAVAILABLE, "not now", retry_after=1.5), otlp.Answer(rejected=1),
                        otlp.Answer(hang=30))
        endpoint = f"localhost:{receiver.port}"
        with pytest.raises(grpc.RpcError) as error:
            export(endpoint, otlp_request()[1], credentials)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(error.value.trailing_metadata())["grpc-status-details-bin"]
        assert otlp.Messages["RpcStatus"].FromString(details).details[0].type_url.endswith("google.rpc.RetryInfo")
        answer = otlp.Messages["ExportTraceServiceResponse"].FromString(
            export(endpoint, otlp_request()[1], credentials))
        assert answer.partial_success.rejected_spans == 1
        with pytest.raises(grpc.RpcError) as error:
            export(endpoint, otlp_request()[1], credentials, timeout=0.5)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        export(endpoint, otlp_request("last")[1], credentials)
        assert [len(request.spans) for request in receiver.requests] == [1, 1, 1, 1]
        assert receiver.spans[-1].name == "last"


@pytest.mark.parametrize("make", [
    lambda endpoint: Containerd("2.3.7", otel_endpoint=f"http://{endpoint}"),
    lambda endpoint: Crio("runc", tracing=f'enable_tracing = true\ntracing_endpoint = "{endpoint}"'),
], ids=["containerd-2.3.7", "crio"])
def test_runtime_follows_a_callers_trace(make):
    """containerd 2 and CRI-O put their own spans into the trace of the caller."""
    with otlp.Receiver() as receiver, make(receiver.endpoint) as runtime, runtime.client() as client:
        caller = Caller()
        cri.Pod(runtime).run(client, traceparent=caller.traceparent)
        receiver.wait_for(lambda spans: [span for span in spans.of(trace_id=caller.trace_id)
                                         if span.parent_id == caller.span_id], "the runtime's span under the caller's")


@pytest.mark.parametrize("make", [
    lambda registry: Containerd("1.6.20", registries=[registry.address]),
    lambda registry: Containerd("2.3.7", registries=[registry.address]),
    lambda registry: Crio("runc", registries=[registry.address]),
], ids=["containerd-1.6.20", "containerd-2.3.7", "crio"])
def test_pull(make):
    """An image is pulled from the tests' own registry."""
    with images.Registry() as registry, make(registry) as runtime, runtime.client() as client:
        answer = client("PullImage", image=cri.message("ImageSpec", image=registry.reference("busybox")))
        assert answer.image_ref


@pytest.mark.parametrize("make", [lambda: Containerd("2.3.7"), lambda: Crio("runc")], ids=["containerd", "crio"])
def test_go_proxy(make):
    """The Go proxy of the benchmarks forwards calls, their metadata and their errors."""
    with make() as runtime:
        socket = runtime.folder / "proxy.sock"
        proxy = Daemon("goproxy", [peer("goproxy", "goproxy"), "-listen", socket, "-runtime", runtime.socket],
                       runtime.folder)
        try:
            proxy.wait_until(lambda: accepts(socket), "listens")
            with runtime.client(socket) as client:
                assert client("Version").runtime_name in ("containerd", "cri-o")
                pod = cri.Pod(runtime).run(client)
                pod.start(client)
                pod.remove(client)
                with pytest.raises(grpc.RpcError) as error:
                    client.raw("/runtime.v1.RuntimeService/NoSuchMethod")
                assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        finally:
            proxy.stop()
