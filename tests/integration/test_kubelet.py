"""podspan between a real kubelet 1.34 and its runtime."""

import pytest

from lib import images
from lib.checks import CRI, HOOK, SLACK, START_METHODS, check_cri_span, check_hook_under
from lib.kubelet import Kubelet, StaticPod, container
from lib.node import CONTAINERD, CRIO, MODERN, node
from lib.otlp import Receiver
from lib.paths import REPO
from lib.process import wait_for
from lib.spans import CLIENT, NO_PARENT

CONTAINERS = ("init", "main", "side")
START = {("RunPodSandbox", None)} | {(method, name) for method in START_METHODS[1:] for name in CONTAINERS}
# Kubelet removes the sandbox itself a minute later.
END = {("StopPodSandbox", None), ("StopContainer", "main"), ("StopContainer", "side")} | {
    ("RemoveContainer", name) for name in CONTAINERS}
# The call in which the runtime creates a container, and with it the one that createRuntime hooks belong to.
both_runtimes = pytest.mark.parametrize(
    "make, create_call", [(CONTAINERD[MODERN], "StartContainer"), (CRIO["crio-runc"], "CreateContainer")],
    ids=[MODERN, "crio-runc"])


def _static_pod(name, **main):
    """Two containers after an init container, and an exec probe every second."""
    return StaticPod(name, [container("main", probe=["true"], **main), container("side")],
                     init=[container("init", ["true"])])


def _calls(spans, pod):
    """{(method, container name): span} of a pod's CRI calls."""
    return {(span.method, span.attributes.get("k8s.container.name")): span
            for span in spans.of(service=CRI, pod=pod.uid)}


def _has_start(pod, *more):
    """A condition: all calls of the pod's start are there, all that is above them, and each container's hooks."""
    def condition(spans):
        calls = _calls(spans, pod)
        hooks = {span.attributes.get("k8s.container.name") for span in spans.of(service=HOOK, stage="createRuntime")}
        return calls.keys() >= START | set(more) and hooks.issuperset(CONTAINERS) and all(
            (spans.ancestors(span) or [span])[-1].parent_id == NO_PARENT for span in calls.values())
    return condition


def _count(one, method):
    """How many calls of a method podspan-cri has counted."""
    return sum(entry["last_hour"]["calls"] for entry in one.podspan.cli_json("status")["calls"]
               if entry["method"].endswith(f"/{method}"))


def _wait_for_probes(one, n):
    before = _count(one, "ExecSync")
    wait_for(lambda: _count(one, "ExecSync") >= before + n, "exec probes", interval=0.2)


def _check_start(spans, pod, create_call):
    """Identity, and each container's hook under the call that created it; returns the calls."""
    calls = _calls(spans, pod)
    assert calls.keys() >= START
    for (method, _), span in calls.items():
        check_cri_span(span, pod, "ImageService" if method == "PullImage" else "RuntimeService")
    sandbox = calls["RunPodSandbox", None]
    assert sandbox.attributes["podspan.pod.config_source"] == "file"
    assert 0 <= sandbox.attributes["podspan.pod.wait_ms"] < 60_000
    for name in CONTAINERS:
        for method in START_METHODS[1:]:
            assert calls[method, name].attributes["podspan.sandbox.id"] == sandbox.attributes["podspan.sandbox.id"]
        call = calls[create_call, name]
        check_hook_under(spans, call, pod, "createRuntime", call.attributes["container.id"])
    return calls


@both_runtimes
def test_kubelets_trace(make, create_call):
    """Every call of a start is a child of kubelet's own span; polls and probes are none; the end leads to the start,
    also after podspan-cri was killed."""
    with Receiver() as receiver, node(make, backend=receiver) as one, \
            Kubelet(one.socket, one.runtime.cgroup, tracing=receiver.endpoint) as kubelet:
        pod = kubelet.run(_static_pod("traced"))
        spans = receiver.wait_for(_has_start(pod), "the start of the pod")
        calls = _check_start(spans, pod, create_call)
        for span in calls.values():
            parent, *_, root = spans.ancestors(span)
            assert (parent.service, parent.kind, parent.name) == ("kubelet", CLIENT, span.name)
            assert (root.service, root.name) == ("kubelet", "syncPod")
            assert parent.start <= span.start <= span.end <= parent.end + SLACK
        # Kubelet starts the containers after the init container's end in another trace.
        sandbox = calls["RunPodSandbox", None]
        for name in CONTAINERS:
            span = calls["CreateContainer", name]
            assert span.trace_id == sandbox.trace_id or (sandbox.trace_id, sandbox.span_id) in span.links

        _wait_for_probes(one, 2)
        assert len(receiver.spans.of(service=CRI)) == len(START), f"more than the start:\n{receiver.spans}"

        one.podspan.interceptor.kill()
        one.podspan.restart_interceptor()
        _wait_for_probes(one, 1)
        kubelet.remove(pod)
        calls = _calls(receiver.wait_for(lambda spans: _calls(spans, pod).keys() >= END, "the end of the pod"), pod)
        starts = {calls[call].trace_id for call in START}
        for call in END:
            assert calls[call].pod == (pod.uid, pod.namespace, pod.name)
            assert starts & {trace for trace, _ in calls[call].links}, f"{calls[call]} does not lead to the start"


@both_runtimes
def test_without_kubelets_trace(make, create_call):
    """Kubelet traces nothing: a pod's start is one trace of ours, a pull and the init container included."""
    with images.Registry() as registry, \
            node(make, runtime_options={"registries": [registry.address]}) as one, \
            Kubelet(one.socket, one.runtime.cgroup) as kubelet:
        pod = kubelet.run(_static_pod("untraced", image=registry.reference("busybox"), imagePullPolicy="Always"))
        spans = one.backend.wait_for(_has_start(pod, ("PullImage", None)), "the start of the pod")
        calls = _check_start(spans, pod, create_call)
        sandbox = calls["RunPodSandbox", None]
        assert sandbox.parent_id == NO_PARENT
        assert {span.trace_id for span in calls.values()} == {sandbox.trace_id}
        assert {span.service for span in spans} == {CRI, HOOK}


def test_our_lines_for_kubelet():
    """The file that is installed for kubelet, with the paths of here: it sends kubelet to podspan-cri, and traces."""
    with Receiver() as receiver, node(CONTAINERD[MODERN], stages=(), backend=receiver) as one:
        name = "90-podspan.conf"
        text = (REPO / "conf.d" / "kubelet" / name).read_text(encoding="utf-8")
        for ours, here in [("/run/podspan/run/containerd/containerd.sock", str(one.socket)),
                           ("endpoint: localhost:4317", f"endpoint: {receiver.endpoint}"),
                           ("samplingRatePerMillion: 10000", "samplingRatePerMillion: 1000000")]:
            assert ours in text
            text = text.replace(ours, here)
        with Kubelet(one.runtime.socket, one.runtime.cgroup, drop_ins={name: text}):
            receiver.wait_for(lambda spans: spans.of(service="kubelet"), "kubelet's spans")
            wait_for(lambda: _count(one, "ListPodSandbox") > 0, "kubelet's calls", interval=0.2)
