"""Spans as the tests look at them, wherever they were read from."""

import dataclasses
import secrets

UNSET, OK, ERROR = 0, 1, 2
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5
NO_PARENT = ""
SHOWN = 60  # spans in an error message


@dataclasses.dataclass
class Span:
    """One span; ids are hexadecimal, times are nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict
    resource: dict
    status: int = UNSET
    status_message: str = ""
    links: list = dataclasses.field(default_factory=list)
    flags: int = 0
    trace_state: str = ""
    events: list = dataclasses.field(default_factory=list)
    event_attributes: list = dataclasses.field(default_factory=list)

    @property
    def service(self):
        """service.name."""
        return self.resource.get("service.name")

    @property
    def method(self):
        """RunPodSandbox, of runtime.v1.RuntimeService/RunPodSandbox."""
        return self.name.rpartition("/")[2]

    @property
    def pod(self):
        """The pod's UID, namespace and name."""
        return tuple(self.resource.get(key) for key in ("k8s.pod.uid", "k8s.namespace.name", "k8s.pod.name"))

    def __str__(self):
        return f"{self.trace_id[:8]} {self.span_id} <- {self.parent_id or '-':16} {self.service}: {self.name}"


def value_of(any_value):
    """A Python value for an OTLP AnyValue message."""
    for field, value in any_value.ListFields():
        if field.name == "array_value":
            return [value_of(item) for item in value.values]
        if field.name == "kvlist_value":
            return attributes_of(value.values)
        return value
    return None


def attributes_of(pairs):
    """A dict for OTLP KeyValue messages; a key that is there twice is an error in any producer."""
    result = {pair.key: value_of(pair.value) for pair in pairs}
    if len(result) != len(pairs):
        raise ValueError(f"an attribute is there twice: {sorted(pair.key for pair in pairs)}")
    return result


def from_otlp(message):
    """All spans of an ExportTraceServiceRequest (or of TracesData, which is the same)."""
    result = []
    for group in message.resource_spans:
        resource = attributes_of(group.resource.attributes)
        for scope in group.scope_spans:
            result += [Span(
                span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name, span.kind,
                span.start_time_unix_nano, span.end_time_unix_nano, attributes_of(span.attributes), resource,
                span.status.code, span.status.message,
                [(link.trace_id.hex(), link.span_id.hex()) for link in span.links], span.flags,
                span.trace_state, [(event.name, event.time_unix_nano) for event in span.events],
                [attributes_of(event.attributes) for event in span.events])
                for span in scope.spans]
    return result


class Spans(list):
    """A list of spans that can be asked questions."""

    def __getitem__(self, key):
        return Spans(super().__getitem__(key)) if isinstance(key, slice) else super().__getitem__(key)

    def of(self, service=None, method=None, pod=None, trace_id=None, stage=None):
        """The spans that fit everything given; pod is a UID."""
        return Spans(span for span in self if
                     (service is None or span.service == service) and
                     (method is None or span.method == method) and
                     (pod is None or span.resource.get("k8s.pod.uid") == pod) and
                     (trace_id is None or span.trace_id == trace_id) and
                     (stage is None or span.attributes.get("oci.hook.stage") == stage))

    def one(self, **wanted):
        """The only span that fits."""
        found = self.of(**wanted)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans for {wanted}, not 1, among:\n{self}")
        return found[0]

    def trace_ids(self):
        """The ids of the traces."""
        return {span.trace_id for span in self}

    def ancestors(self, span):
        """The known spans above a span, nearest first."""
        known = {candidate.span_id: candidate for candidate in self}
        result = Spans()
        while span.parent_id in known and len(result) <= len(self):
            span = known[span.parent_id]
            result.append(span)
        return result

    def __str__(self):
        lines = [str(span) for span in sorted(self, key=lambda span: (span.trace_id, span.start))]
        if len(lines) > SHOWN:
            lines[SHOWN:] = [f"… and {len(lines) - SHOWN} more"]
        return "\n".join(lines)


class Caller:
    """A trace of a caller of ours, as kubelet's would be."""

    def __init__(self, sampled=True):
        self.trace_id, self.span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.sampled = sampled

    @property
    def traceparent(self):
        """The header."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
