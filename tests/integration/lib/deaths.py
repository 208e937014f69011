"""Spans as podspan's programs send them about ends of containers, put into the spool for podspand to take in."""

import os
import secrets
import time

from .otlp import Messages
from .process import wait_for

S, MS = 10**9, 10**6
MIB = 1 << 20


def _value(value):
    if isinstance(value, bool):
        return {"bool_value": value}
    return {"int_value": value} if isinstance(value, int) else {"string_value": value}


def _attributes(attributes):
    return [{"key": key, "value": _value(value)} for key, value in attributes.items() if value is not None]


class Pod:
    """A pod whose spans a test makes up."""

    def __init__(self, name="web-7d9f8c6b5-x2k4j", namespace="default", uid=None):
        self.name, self.namespace = name, namespace
        self.uid = uid or "-".join(secrets.token_hex(n) for n in (4, 2, 2, 2, 6))
        self.sandbox = secrets.token_hex(32)


class Spool:
    """Writes spans to the spool of a Podspan, and waits until they are in the store."""

    def __init__(self, podspan):
        self._podspan = podspan
        self._n = 0

    def send(self, *spans):
        """Sends spans of one file each; they are stored when it returns."""
        spool = self._podspan.state / "spool"
        for span in spans:
            self._n += 1
            name = f"1-{time.time_ns():020d}-{os.getpid()}-{self._n}.otlp"
            (spool / f".{name}").write_bytes(span.SerializeToString())
            os.rename(spool / f".{name}", spool / name)
        wait_for(lambda: not [path for path in spool.iterdir() if path.suffix == ".otlp"], "podspand takes the spans in", 30)


def span(name, start, end, pod=None, service="podspan-watch", status=0, message="", events=(), **attributes):
    """One file: TracesData is ExportTraceServiceRequest on the wire; attributes are OTLP's with _ for a dot where no such name has one."""
    resource = {"service.name": service}
    if pod:
        resource |= {"k8s.pod.uid": pod.uid, "k8s.pod.name": pod.name, "k8s.namespace.name": pod.namespace}
    given = attributes.pop("attributes", {})
    if attributes:
        raise TypeError(f"unknown: {attributes}")
    return Messages["ExportTraceServiceRequest"](resource_spans=[{
        "resource": {"attributes": _attributes(resource)},
        "scope_spans": [{"spans": [{
            "trace_id": secrets.token_bytes(16), "span_id": secrets.token_bytes(8), "name": name, "kind": 1,
            "start_time_unix_nano": start, "end_time_unix_nano": end, "attributes": _attributes(given),
            "status": {"code": status, "message": message},
            "events": [{"time_unix_nano": at, "name": event, "attributes": _attributes(about)}
                       for at, event, about in events]}]}]}])


def death(start, end, verdict, pod=None, container=None, container_name="main", attempt=0, code=None, signal=None,
          oom_killed=None, events=(), missing=None, **facts):
    """The span of a container's life. facts: podspan.KEY with _ for the first dots, as kill_origin="host"."""
    names = {"kill_container": "podspan.kill.container.id", "oom_limit": "podspan.oom.limit_bytes",
             "oom_program": "podspan.oom.victim.program", "oom_pid": "podspan.oom.victim.pid",
             "oom_rss": "podspan.oom.victim.rss_bytes", "stop_asked": "podspan.stop.asked_ns",
             "stop_grace": "podspan.stop.grace_ms"}
    attributes = {"container.id": container or secrets.token_hex(32), "podspan.exit.verdict": verdict,
                  "podspan.exit.missing": missing, "process.exit.code": code, "podspan.process.signal": signal,
                  "podspan.oom_killed": oom_killed}
    if pod:
        attributes |= {"k8s.container.name": container_name, "podspan.sandbox.id": pod.sandbox,
                       "k8s.container.restart_count": attempt}
    attributes |= {names.get(key, "podspan." + key.replace("_", ".", 1)): value for key, value in facts.items()}
    return span("wait_for_exit_code", start, end, pod, events=events, attributes=attributes,
                status=2 if code else 0)


def call(method, start, end, pod, container=None, container_name=None, attempt=None, status=None, message="", grace=None):
    """The span of a CRI call, as podspan-cri has it."""
    return span(f"runtime.v1.RuntimeService/{method}", start, end, pod, service="podspan-cri",
                status=2 if status not in (None, "NOT_FOUND") else 0, message=message, attributes={
                    "rpc.system.name": "grpc", "rpc.response.status_code": status or "OK", "podspan.rpc.end": "trailers",
                    "container.id": container, "k8s.container.name": container_name,
                    "k8s.container.restart_count": attempt, "podspan.sandbox.id": pod.sandbox,
                    "podspan.stop.grace_ms": grace})
