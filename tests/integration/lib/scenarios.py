"""Tests that every runtime has to pass; the test modules call them with theirs."""

import collections

import grpc
import pytest

from . import cri
from .checks import (CRI, HOOK, check_history, check_hook_under, check_poststop, check_start, check_stop, has_methods,
                     has_start)
from .node import node, own_spans
from .otlp import Receiver
from .spans import ERROR, NO_PARENT, SERVER, Caller


def one_trace(make, create_call, poststart_call="StartContainer"):
    """A pod's start is one trace with hooks under the calls that cause them; its end leads back to it.

    create_call is the call in which the runtime creates a container: StartContainer with containerd, CreateContainer
    with CRI-O. poststart_call differs with CRI-O and runc 1.1, which runs poststart hooks at the end of `runc create`
    (runc 1.2 and crun: in `start`). For a sandbox no hooks run: containerd applies the base runtime spec to containers
    only, and CRI-O starts no pause process for a pod whose containers have pid namespaces of their own.
    """
    with node(make) as one:
        pod = one.pod()
        main = pod.containers["main"]
        spans = one.backend.wait_for(has_start(pod, n_hooks=2), "the start of the pod")
        calls = check_start(spans, pod, main)
        assert calls["RunPodSandbox"].parent_id == NO_PARENT
        check_hook_under(spans, calls[create_call], pod, "createRuntime", main)
        check_hook_under(spans, calls[poststart_call], pod, "poststart", main)
        start_trace = calls["RunPodSandbox"].trace_id
        assert one.client("ExecSync", container_id=main, cmd=["false"], timeout=10).exit_code == 1
        pod.remove(one.client)
        spans = one.backend.wait_for(
            lambda spans: has_methods(pod, "StopPodSandbox", "RemovePodSandbox", "StopContainer", "RemoveContainer")(
                spans) and spans.of(stage="poststop", pod=pod.uid), "the end of the pod")
        check_stop(spans, pod, start_trace)
        check_history(one.podspan.store, pod, main)
        check_poststop(spans, pod, main, start_trace)
        assert len({span.span_id for span in spans}) == len(spans), f"a span came twice:\n{spans}"
        assert {span.service for span in spans} <= {CRI, HOOK}


def callers_trace(name, make):
    """With a caller's traceparent everything is in the caller's trace, and the call goes on as it was."""
    with Receiver() as receiver, node(make, backend=receiver,
                                      runtime_options=own_spans(name, receiver.endpoint)) as one:
        caller = Caller()
        pod = one.pod(caller)
        spans = receiver.wait_for(
            lambda spans: has_start(pod, 2)(spans) and len(runtime_calls(spans.of(trace_id=caller.trace_id))) >= 3,
            "the start of the pod, also the runtime's own")
        calls = check_start(spans, pod, pod.containers["main"])
        for span in calls.values():
            assert (span.trace_id, span.parent_id) == (caller.trace_id, caller.span_id)
        for span in runtime_calls(spans.of(trace_id=caller.trace_id)):
            assert span.parent_id == caller.span_id, f"the traceparent was changed on its way:\n{spans}"
        assert spans.of(service=HOOK, pod=pod.uid).trace_ids() == {caller.trace_id}


def without_a_caller(name, make):
    """Without a caller's trace the runtime's own spans become children of ours."""
    with Receiver() as receiver, node(make, backend=receiver,
                                      runtime_options=own_spans(name, receiver.endpoint)) as one:
        pod = one.pod()
        spans = receiver.wait_for(
            lambda spans: has_start(pod, 2)(spans) and
            len(runtime_calls(spans.of(trace_id=spans.of(pod=pod.uid)[0].trace_id))) >= 3,
            "the start of the pod, also the runtime's own")
        calls = check_start(spans, pod, pod.containers["main"])
        for method, ours in calls.items():
            below = [span for span in runtime_calls(spans) if ours in spans.ancestors(span)]
            assert below, f"the runtime's spans are not under {method}:\n{spans}"
            assert {span.trace_id for span in below} == {ours.trace_id}


def runtime_calls(spans):
    """The server spans that a runtime itself made of CRI calls."""
    return [span for span in spans if span.service not in (CRI, HOOK) and span.kind == SERVER and
            span.name.startswith("runtime.v1.")]


def _every_kind_of_call(runtime, client):
    """The same calls in the same order, whoever is between."""
    pod = cri.Pod(runtime).run(client)
    pod.start(client)
    for method in ("Version", "Status", "ListPodSandbox", "ListContainers", "ListImages"):
        client(method)
    client("ExecSync", container_id=pod.containers["main"], cmd=["true"], timeout=10)
    with pytest.raises(grpc.RpcError):
        client("StartContainer", container_id="0" * 64)
    pod.remove(client)


def rate_0_changes_nothing(name, make):
    """At rate 0 the runtime records as many traces, of the same calls, with podspan-cri in front as without."""
    with Receiver() as theirs, node(make, runtime_options=own_spans(name, theirs.endpoint),
                                    podspan_options={"rate": 0}) as one:
        counts = []
        for client in (one.direct, one.client):
            theirs.wait_quiet()
            before = len(theirs.spans)
            _every_kind_of_call(one.runtime, client)
            spans = theirs.wait_quiet()[before:]
            calls = runtime_calls(spans)
            counts.append((len({span.trace_id for span in calls}), collections.Counter(span.name for span in calls),
                           all(span.parent_id == NO_PARENT for span in calls)))
        assert counts[0][0] >= 10, f"the runtime records too little to compare: {counts[0]}"
        assert counts[0] == counts[1]
        assert not one.backend.requests, f"rate 0, nobody sampled, yet exported:\n{one.backend.spans}"


def rate_0_follows_the_caller(make):
    """At rate 0 a sampled caller's trace is exported, an unsampled one is kept in the local store only."""
    with node(make, podspan_options={"rate": 0}) as one:
        unsampled, sampled = Caller(sampled=False), Caller()
        quiet, loud = one.pod(unsampled), one.pod(sampled)
        spans = one.backend.wait_for(has_start(loud, 2), "the sampled trace")
        check_start(spans, loud, loud.containers["main"])
        assert one.backend.wait_quiet().trace_ids() == {sampled.trace_id}
        assert quiet.name in one.podspan.cli("trace", unsampled.trace_id)


def failed_call(make):
    """A call that fails is a span with the reason; the client gets the runtime's own error."""
    with node(make, stages=()) as one:
        pod = cri.Pod(one.runtime).run(one.client)
        errors = []
        for client in (one.direct, one.client):
            with pytest.raises(grpc.RpcError) as error:
                pod.create(client, "broken", image="localhost/no-such-image:1")
            errors.append((error.value.code(), error.value.details()))
        assert errors[0] == errors[1]
        spans = one.backend.wait_for(has_methods(pod, "CreateContainer"), "the failed call")
        span = spans.one(service=CRI, method="CreateContainer")
        code = errors[0][0].name
        assert span.attributes["error.type"] == code
        assert span.attributes["rpc.response.status_code"] == code
        assert (span.status == ERROR) == (code in (
            "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))
        assert span.attributes["k8s.container.name"] == "broken"


def pull_and_secrets(make, registry):
    """A pull belongs to the pod that waits for it; no secret is in any span."""
    with node(make, runtime_options={"registries": [registry.address]}) as one:
        pod = cri.Pod(one.runtime).run(one.client)
        one.client("PullImage", image=cri.message("ImageSpec", image=registry.reference("busybox")),
                   auth=cri.message("AuthConfig", username="joe", password="hunter2-password"),
                   sandbox_config=pod.config())
        pod.start(one.client, image=registry.reference("busybox"), command=["sh", "-c", "sleep 1000 # argument-secret"],
                  environment={"TOKEN": "environment-secret"})
        spans = one.backend.wait_for(lambda spans: has_start(pod, 2)(spans) and has_methods(pod, "PullImage")(spans),
                                     "pull and start")
        pull = spans.one(service=CRI, method="PullImage")
        assert pull.name == "runtime.v1.ImageService/PullImage"
        assert pull.pod == (pod.uid, pod.namespace, pod.name)
        assert pull.trace_id == spans.one(service=CRI, method="RunPodSandbox").trace_id
        assert pull.attributes["container.image.name"].startswith(registry.address)
        text = repr(list(spans))
        for secret in ("hunter2", "environment-secret", "argument-secret"):
            assert secret not in text
        for file in one.podspan.state.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert not any(secret in content for secret in (b"hunter2", b"environment-secret", b"argument-secret"))


def polls_are_no_spans(make):
    """Fast polls and probes become no spans."""
    with node(make, stages=()) as one:
        pod = one.pod()
        for _ in range(20):
            for method in ("Version", "Status", "ListPodSandbox", "ListContainers", "ListImages"):
                one.client(method)
            one.client("ExecSync", container_id=pod.containers["main"], cmd=["true"], timeout=10)
        one.backend.wait_for(has_start(pod, 0), "the start of the pod")
        spans = one.backend.wait_quiet()
        assert {span.method for span in spans} == {"RunPodSandbox", "CreateContainer", "StartContainer"}


def identity_survives_a_restart(make):
    """podspan-cri, killed and started again, knows the pods of calls that only name an id."""
    with node(make, stages=()) as one:
        pod = one.pod()
        one.backend.wait_for(has_start(pod, 0), "the start of the pod")
        one.podspan.interceptor.kill()
        one.podspan.restart_interceptor()
        one.reconnect()
        one.client("ListPodSandbox")
        one.client("ListContainers")
        pod.remove(one.client)
        spans = one.backend.wait_for(
            has_methods(pod, "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"), "the end")
        for method in ("StopContainer", "RemoveContainer"):
            span = spans.one(service=CRI, method=method)
            assert span.pod == (pod.uid, pod.namespace, pod.name)
            assert span.attributes["k8s.container.name"] == "main"


def crictl_works(make):
    """crictl drives a whole pod through podspan-cri."""
    with node(make) as one:
        pod = one.pod()
        main = pod.containers["main"]
        assert cri.crictl(one.socket, "exec", "--sync", "--timeout", "10", main, "hostname").strip() == pod.name
        assert [item["id"] for item in cri.crictl_json(one.socket, "pods")["items"]] == [pod.sandbox_id]
        assert cri.crictl_json(one.socket, "inspect", main)["status"]["id"] == main
        assert cri.crictl(one.socket, "exec", main, "echo", "streamed").strip() == "streamed"
        cri.crictl(one.socket, "stopp", pod.sandbox_id)
        cri.crictl(one.socket, "rmp", pod.sandbox_id)
        assert not cri.crictl_json(one.socket, "pods")["items"]
        one.backend.wait_for(has_methods(pod, "StopPodSandbox", "RemovePodSandbox"), "the end of the pod")
