"""What must be true of podspan's spans, whichever the runtime."""

import contextlib
import sqlite3

from .spans import SERVER, UNSET

CRI, HOOK = "podspan-cri", "podspan-hook"
START_METHODS = ("RunPodSandbox", "CreateContainer", "StartContainer")
SLACK = 10_000_000  # a file's birth time comes from a clock that ticks every few milliseconds


def has_start(pod, n_hooks=1):
    """A condition: the CRI spans of a pod's start and some hook spans of it are there."""
    def condition(spans):
        ours = spans.of(pod=pod.uid)
        methods = {span.method for span in ours.of(service=CRI)}
        return methods.issuperset(START_METHODS) and len(ours.of(service=HOOK)) >= n_hooks
    return condition


def has_methods(pod, *methods):
    """A condition: these calls about a pod have become spans."""
    return lambda spans: {span.method for span in spans.of(service=CRI, pod=pod.uid)}.issuperset(methods)


def check_cri_span(span, pod, service="RuntimeService"):
    """A successful call: name, kind, identity, attributes, times."""
    assert span.name == f"runtime.v1.{service}/{span.method}"
    assert span.kind == SERVER
    assert span.pod == (pod.uid, pod.namespace, pod.name)
    assert span.attributes["rpc.system.name"] == "grpc"
    assert span.attributes["rpc.method"] == span.name
    assert span.status == UNSET and "error.type" not in span.attributes
    assert 0 < span.start < span.end
    assert len(span.trace_id) == 32 and int(span.trace_id, 16) and int(span.span_id, 16)


def check_start(spans, pod, container_id):
    """The three calls of a pod's start; returns {method: span}."""
    calls = {method: spans.one(service=CRI, pod=pod.uid, method=method) for method in START_METHODS}
    for span in calls.values():
        check_cri_span(span, pod)
        assert span.attributes["podspan.sandbox.id"] == pod.sandbox_id
    for method in ("CreateContainer", "StartContainer"):
        assert calls[method].attributes["container.id"] == container_id
        assert calls[method].attributes["k8s.container.name"] == "main"
    assert len({span.trace_id for span in calls.values()}) == 1, f"more than one trace:\n{spans}"
    return calls


def hooks_of(spans, container_id, stage):
    """The hook spans of a stage of one container."""
    return [span for span in spans.of(service=HOOK, stage=stage) if span.attributes.get("container.id") == container_id]


def check_hook_under(spans, call, pod, stage, container_id):
    """The container's hook of the stage ran under this call, inside its time, and knows its pod."""
    candidates = [span for span in hooks_of(spans, container_id, stage) if call in spans.ancestors(span)]
    assert candidates, f"no {stage} hook under {call}:\n{spans}"
    for span in candidates:
        assert span.trace_id == call.trace_id
        assert span.pod == (pod.uid, pod.namespace, pod.name)
        assert call.start - SLACK <= span.start <= span.end <= call.end + SLACK


def check_stop(spans, pod, start_trace):
    """The calls of a pod's end have its identity and lead back to its start."""
    for method in ("StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"):
        span = spans.one(service=CRI, pod=pod.uid, method=method)
        check_cri_span(span, pod)
        assert start_trace in {span.trace_id, *(trace for trace, _ in span.links)}, f"{span} does not lead to the start"
        # Pod.remove() gives no time; a removal and a sandbox's stop have no number of their own.
        assert span.attributes["podspan.stop.method"] == method
        assert span.attributes.get("podspan.stop.grace_ms") == (0 if method == "StopContainer" else None)


def check_history(store, pod, container_id):
    """What a question about a container's end asks the store for."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/podspan.db?mode=ro", uri=True)) as db:
        stops = set(db.execute("SELECT id, kind, method, grace_ms FROM stop WHERE kind = 2"))
        probes = db.execute("SELECT pod_uid, outcome, why FROM span WHERE container_id = ? AND name LIKE '%/ExecSync'",
                            (container_id,)).fetchall()
    assert stops >= {(container_id, 2, 3, 0), (container_id, 2, 5, None), (pod.sandbox_id, 2, 4, None),
                     (pod.sandbox_id, 2, 6, None)}
    assert set(probes) == {(pod.uid, 2, "exit code 1")}


def check_poststop(spans, pod, container_id, start_trace):
    """A container's poststop hook is under the call that ended it, or linked to its start."""
    hooks = [span for span in hooks_of(spans, container_id, "poststop") if span.pod[0] == pod.uid]
    assert hooks, f"no poststop hook:\n{spans}"
    for span in hooks:
        linked = start_trace in {span.trace_id, *(trace for trace, _ in span.links)}
        under = any(above.service == CRI and above.pod == span.pod for above in spans.ancestors(span))
        assert linked or under, f"{span} leads nowhere:\n{spans}"
        assert span.pod == (pod.uid, pod.namespace, pod.name)
