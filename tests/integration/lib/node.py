"""A node: a runtime, podspan in front of it and hooks inside it, and a backend that gets the spans."""

import contextlib
import functools

from . import cri
from .containerd import Containerd
from .crio import Crio
from .otlp import Receiver
from .podspan import STAGES, Podspan

CONTAINERD = {f"containerd-{version}-{runtime}": functools.partial(Containerd, version, runtime)
              for version in ("1.6.20", "2.3.7") for runtime in ("runc", "crun")}
CRIO = {f"crio-{runtime}": functools.partial(Crio, runtime) for runtime in ("runc", "crun")}
MODERN = "containerd-2.3.7-runc"


def own_spans(name, endpoint):
    """Arguments that make a runtime export spans of its own, every trace of them."""
    if name.startswith("crio"):
        return {"tracing": f'enable_tracing = true\ntracing_endpoint = "{endpoint}"\n'
                           "tracing_sampling_rate_per_million = 1000000\n"}
    return {"otel_endpoint": f"http://{endpoint}"}


class Node:
    """What a test works with; `client` goes through podspan-cri, `direct` does not."""

    def __init__(self, podspan, runtime, backend):
        self.podspan, self.runtime, self.backend = podspan, runtime, backend
        self.socket = podspan.intercept(runtime)
        self.client = runtime.client(self.socket)
        self.direct = runtime.client()

    def close(self):
        """Closes the clients."""
        for client in (self.client, self.direct):
            with client:
                pass

    def reconnect(self):
        """A new client, after podspan-cri was restarted."""
        with self.client:
            pass
        self.client = self.runtime.client(self.socket)

    def pod(self, caller=None, container=None, **identity):
        """Runs a pod with one started container through podspan-cri; caller is a spans.Caller."""
        traceparent = caller.traceparent if caller else None
        pod = cri.Pod(self.runtime, **identity).run(self.client, traceparent=traceparent)
        pod.start(self.client, traceparent=traceparent, **(container or {}))
        return pod


@contextlib.contextmanager
def node(make, stages=STAGES, runtime_options=None, backend=None, podspan_options=None):
    """A whole node; without a backend its spans go to a Receiver of its own."""
    with contextlib.ExitStack() as stack:
        if backend is None:
            backend = stack.enter_context(Receiver())
        podspan = stack.enter_context(Podspan(backend.endpoint, **(podspan_options or {})))
        options = {"hooks": podspan.hooks(stages), **(runtime_options or {})}
        if "monitor" in getattr(make, "keywords", {}):
            options["monitor_env"] = podspan.monitor_env
        runtime = stack.enter_context(make(**options))
        result = Node(podspan, runtime, backend)
        stack.callback(result.close)
        yield result
