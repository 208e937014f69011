"""podspan with containerd 1.6.20 and 2.3.7, runc and crun."""

import collections
import json
import time

import grpc
import pytest

from lib import cri, images, scenarios
from lib.checks import CRI, HOOK, START_METHODS, check_cri_span, check_hook_under, has_methods
from lib.containerd import Containerd
from lib.node import CONTAINERD, MODERN, node
from lib.otlp import Receiver
from lib.podspan import Podspan
from lib.process import wait_for
from lib.spans import Caller

N_PODS = 100
every_version = pytest.mark.parametrize("make", CONTAINERD.values(), ids=CONTAINERD.keys())
both_runc = pytest.mark.parametrize("make", [CONTAINERD["containerd-1.6.20-runc"], CONTAINERD[MODERN]],
                                    ids=["1.6.20", "2.3.7"])


@every_version
def test_pod_is_one_trace(make):
    scenarios.one_trace(make, create_call="StartContainer")


def test_callers_trace():
    scenarios.callers_trace(MODERN, CONTAINERD[MODERN])


def test_without_a_callers_trace():
    scenarios.without_a_caller(MODERN, CONTAINERD[MODERN])


def test_rate_0_changes_nothing():
    scenarios.rate_0_changes_nothing(MODERN, CONTAINERD[MODERN])


def test_rate_0_follows_the_caller():
    scenarios.rate_0_follows_the_caller(CONTAINERD[MODERN])


@both_runc
def test_failed_call(make):
    scenarios.failed_call(make)


@both_runc
def test_pull_and_secrets(make):
    with images.Registry() as registry:
        scenarios.pull_and_secrets(make, registry)


def test_polls_are_no_spans():
    scenarios.polls_are_no_spans(CONTAINERD[MODERN])


@both_runc
def test_identity_survives_a_restart(make):
    scenarios.identity_survives_a_restart(make)


@both_runc
def test_crictl(make):
    scenarios.crictl_works(make)


@pytest.mark.parametrize("image, command, read_only", [
    (images.SCRATCH, (), False), (images.BUSYBOX, ("sleep", "1000"), True), (images.SCRATCH, (), True),
], ids=["from-scratch", "read-only", "from-scratch-read-only"])
def test_hooks_in_bare_containers(image, command, read_only):
    """Hooks run for images without a shell or a library, and on a read-only root."""
    with node(CONTAINERD[MODERN]) as one:
        pod = one.pod(container={"image": image, "command": command, "read_only": read_only})
        main = pod.containers["main"]
        status = one.client("ContainerStatus", container_id=main).status
        assert status.state == cri.CONTAINER_RUNNING, f"{status.reason}: {status.message}"
        spans = one.backend.wait_for(lambda spans: {
            span.attributes["oci.hook.stage"] for span in spans.of(service=HOOK)
            if span.attributes.get("container.id") == main} >= {"createRuntime", "poststart"}, "hooks of the container")
        assert spans.of(service=HOOK).trace_ids() == spans.of(service=CRI).trace_ids()


def test_annotation_is_a_link():
    """A trace named by a pod's annotation is linked to, never followed."""
    with node(CONTAINERD[MODERN], stages=()) as one:
        other = Caller()
        pod = cri.Pod(one.runtime, annotations={"tracing.k8s.io/traceparent": other.traceparent}).run(one.client)
        span = one.backend.wait_for(has_methods(pod, "RunPodSandbox"), "the sandbox").one(
            service=CRI, method="RunPodSandbox")
        check_cri_span(span, pod)
        assert span.trace_id != other.trace_id
        assert (other.trace_id, other.span_id) in span.links


def _run_all(one, pods, callers, method, **arguments_of):
    """Makes one call for every pod, all at once; returns the answers."""
    calls = [one.client.call_async(method, deadline=300, traceparent=caller.traceparent if caller else None, **{
        key: value(pod) for key, value in arguments_of.items()}) for pod, caller in zip(pods, callers)]
    return [call.result() for call in calls]


def test_100_pods_in_parallel():
    """Pods started all at once, half of them with a caller's trace: every span has the right pod."""
    with node(CONTAINERD[MODERN]) as one:
        pods = [cri.Pod(one.runtime, namespace=f"team-{number % 7}") for number in range(N_PODS)]
        callers = [Caller() if number % 2 else None for number in range(N_PODS)]
        for pod in pods:
            pod.logs.mkdir(parents=True)
        for pod, answer in zip(pods, _run_all(one, pods, callers, "RunPodSandbox", config=cri.Pod.config)):
            pod.sandbox_id = answer.pod_sandbox_id
        answers = _run_all(one, pods, callers, "CreateContainer", pod_sandbox_id=lambda pod: pod.sandbox_id,
                           config=lambda pod: pod.container_config("main"), sandbox_config=cri.Pod.config)
        for pod, answer in zip(pods, answers):
            pod.containers["main"] = answer.container_id
        _run_all(one, pods, callers, "StartContainer", container_id=lambda pod: pod.containers["main"])
        spans = one.backend.wait_for(
            lambda spans: len(spans.of(service=CRI)) >= 3 * N_PODS and len(spans.of(service=HOOK)) >= 2 * N_PODS,
            "the spans of all pods", timeout=60)
        _check_pods(spans, pods, callers)


def _check_pods(spans, pods, callers):
    """Every pod has its spans, and no trace has spans of two pods."""
    pod_of = {}
    for span in spans:
        assert pod_of.setdefault(span.trace_id, span.pod) == span.pod, "a trace has spans of two pods"
    assert len(pod_of) == len(pods)
    for pod, caller in zip(pods, callers):
        mine = spans.of(pod=pod.uid)
        calls = mine.of(service=CRI)
        assert collections.Counter(span.method for span in calls) == collections.Counter(START_METHODS)
        for span in calls:
            check_cri_span(span, pod)
            assert span.attributes["podspan.sandbox.id"] == pod.sandbox_id
            assert span.method == "RunPodSandbox" or span.attributes["container.id"] == pod.containers["main"]
        if caller:
            assert {span.trace_id for span in mine} == {caller.trace_id}
            assert {span.parent_id for span in calls} == {caller.span_id}
        for stage in ("createRuntime", "poststart"):
            check_hook_under(mine, mine.one(service=CRI, method="StartContainer"), pod, stage, pod.containers["main"])


class _Absent:
    """A runtime that is not there yet."""

    kind = "containerd"

    def __init__(self, socket):
        self.socket = socket


def test_runtime_absent_then_back(tmp_path):
    """Without a runtime the client is told UNAVAILABLE; when the runtime comes, calls work at once."""
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan:
        link = tmp_path / "runtime.sock"
        socket = podspan.intercept(_Absent(link))
        with cri.CriClient(socket) as client:
            begin = time.monotonic()
            with pytest.raises(grpc.RpcError) as error:
                client("Version", deadline=10)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - begin < 5
        with Containerd("2.3.7") as runtime:
            link.symlink_to(runtime.socket)
            with cri.CriClient(socket) as client:
                assert client("Version", deadline=10).runtime_name == "containerd"


def test_inflight_without_the_agent():
    """What hangs right now is shown from the context files alone, also when podspand is dead."""
    with node(CONTAINERD[MODERN]) as one:
        pod = one.pod(container={"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]})
        one.podspan.agent.kill()
        call = one.client.call_async("StopContainer", container_id=pod.containers["main"], timeout=4)
        shown = wait_for(lambda: "StopContainer" in (text := one.podspan.cli("inflight")) and text, "inflight shows it",
                         timeout=3.5)
        assert pod.name in shown
        assert any("StopContainer" in str(item) for item in _items(one.podspan.cli_json("inflight")))
        call.result()
        # The reply goes on first, the file goes then.
        wait_for(lambda: "StopContainer" not in one.podspan.cli("inflight"), "inflight shows it no more", timeout=3)


def _items(value):
    """The entries of a JSON answer, whether it is a list or an object that holds one."""
    if isinstance(value, dict):
        return next((entry for entry in value.values() if isinstance(entry, list)), [])
    return value


def test_command_line():
    """traces, trace, status and config show a pod that ran."""
    with node(CONTAINERD[MODERN]) as one:
        pod = one.pod()
        spans = one.backend.wait_for(lambda spans: len(spans.of(service=HOOK)) >= 2, "the pod's spans")
        trace_id = spans.one(service=CRI, method="RunPodSandbox").trace_id
        assert any(trace_id in str(item) for item in _items(one.podspan.cli_json("traces")))
        for what in (trace_id, pod.name):
            text = one.podspan.cli("trace", what)
            for shown in ("RunPodSandbox", "CreateContainer", "StartContainer", pod.name):
                assert shown in text, f"{shown} is not in:\n{text}"
        assert trace_id in str(one.podspan.cli_json("trace", trace_id))
        status = one.podspan.cli_json("status")
        assert (status["podspand"]["state"], status["podspan_cri"]["state"]) == ("running", "running")
        assert one.backend.endpoint in str(one.podspan.cli_json("config"))


# A CNI plugin that never sets up a network, and fails as well to take down the first time: containerd then keeps the sandbox.
FAILING_PLUGIN = """#!/bin/sh
cat > /dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}'; exit 0 ;;
DEL) [ -e "$0.failed" ] && exit 0; touch "$0.failed" ;;
esac
echo '{"cniVersion": "0.4.0", "code": 999, "msg": "no address left"}'
exit 1
"""


@both_runc
def test_probe_leaves_nothing_where_cni_fails(make):
    """RunPodSandbox fails and the runtime keeps the sandbox: the probe takes it away."""
    with node(make, runtime_options={"cni_script": FAILING_PLUGIN}) as one:
        document = json.loads(one.podspan.cli("probe", "--json", "--runtime-endpoint", f"unix://{one.socket}", check=False))
        assert not document["ok"] and "no address left" in document["error"]
        assert (one.runtime.folder / "cni-plugins/script.failed").exists(), "taking down was tried, and failed"
        calls = [call["method"].rpartition("/")[2] for call in document["calls"]]
        after = calls[calls.index("RunPodSandbox") + 1:]
        # containerd 2 has taken it away by then, 1.6 keeps it.
        assert after[0] == "ListPodSandbox"
        assert after[1:] == (["StopPodSandbox", "RemovePodSandbox"] if make.args[0] == "1.6.20" else [])
        assert not one.direct("ListPodSandbox").items


@both_runc
def test_probe_tries_a_slice_for_the_systemd_driver(make):
    """SystemdCgroup = true, kubeadm's default: runc is given a slice. On this host there is no systemd to ask for it, so
    that is as far as the pod gets here; the guest runs it."""
    with node(make, runtime_options={"systemd_cgroup": True}) as one:
        document = json.loads(one.podspan.cli("probe", "--json", "--runtime-endpoint", f"unix://{one.socket}", check=False))
        calls = {}
        for call in document["calls"]:
            calls.setdefault(call["method"].rpartition("/")[2], []).append(call)
        assert not document["error"] or "slice:prefix:name" not in document["error"], document["error"]
        told = calls["RuntimeConfig"][0]["status"] == "OK"
        assert told == (make.args[0] != "1.6.20"), "containerd 2 says which driver it has"
        tries = calls["RunPodSandbox"]
        if not told:
            assert "slice:prefix:name" in tries[0]["message"] and len(tries) == 2
        assert "slice:prefix:name" not in tries[-1]["message"]
        assert not one.direct("ListPodSandbox").items


def test_probe():
    """`podspan probe` runs a pod through the socket, shows its trace and leaves nothing."""
    with node(CONTAINERD[MODERN]) as one:
        text = one.podspan.cli("probe", "--runtime-endpoint", f"unix://{one.socket}", "--image", images.SCRATCH)
        assert "RunPodSandbox" in text and "StartContainer" in text
        assert not one.direct("ListPodSandbox").items
