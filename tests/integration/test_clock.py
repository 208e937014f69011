"""The wall clock is stepped while podspan works: spans keep their length, nothing is thrown away, everything arrives."""

import signal
import time

import pytest

from lib import h2wire as h2
from lib.clock import Clock
from lib.otlp import Receiver
from lib.podspan import Podspan
from lib.process import wait_for
from lib.spans import Caller
from lib.tap import RUN, STOP, Tap, run_request
from test_faults import _Backend, _Caller

HOUR = 3600


@pytest.fixture(name="clock", scope="module")
def fixture_clock():
    """One clock; each test leaves it where it came to."""
    return Clock()


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_step_in_a_call(clock, tmp_path, step):
    """A call over a step of an hour is as long as it was, and starts when it did; the next one has the new time; what
    tells whose a call is outlives a restart under the new time."""
    tap = Tap(tmp_path, env=clock.env)
    client, runtime = tap.connect()
    mine, theirs = h2.Peer(), h2.Peer()
    before = time.monotonic()
    start = time.time() + clock.seconds
    up = h2.PREFACE + h2.settings() + mine.call(1, RUN, run_request("stepped"), extra=[
        ("traceparent", Caller().traceparent)])
    client.send(up)
    runtime.expect(up)
    wait_for(tap.live, "the call is in flight")
    clock.step(step)
    time.sleep(0.2)
    runtime.send(h2.settings() + theirs.reply(1, b"\x0a\x04sand"))
    span, = tap.take_spans(1)
    took = time.monotonic() - before
    assert 0.2 <= (span.end - span.start) / 1e9 <= took
    assert abs(span.start / 1e9 - start) < 5
    tap.daemon.signal(signal.SIGTERM)
    assert tap.daemon.wait() == 0
    tap.close_ended()
    assert len([path for path in (tap.state / "context/start").iterdir() if not path.name.startswith(".")]) == 1
    again = Tap(tmp_path, env=clock.env)
    try:
        client, runtime = again.connect()
        mine, theirs = h2.Peer(), h2.Peer()
        start = time.time() + clock.seconds
        stop = h2.PREFACE + h2.settings() + mine.call(1, STOP, b"\x0a\x04sand", extra=[
            ("traceparent", Caller().traceparent)])
        client.send(stop)
        runtime.expect(stop)
        runtime.send(h2.settings() + theirs.reply(1))
        span, = again.take_spans(1)
        assert abs(span.start / 1e9 - start) < 5 and span.end >= span.start
        assert span.resource["k8s.pod.name"] == "stepped", "what was known of the pod is lost"
        assert again.count("context_swept") == 0
    finally:
        again.close()


def test_steps_and_the_agent(clock):
    """podspand over steps of an hour forth and two back, and a restart in its own past: every span arrives once, none is
    thrown away as too old, and commands still answer."""
    with Receiver() as receiver, Podspan(receiver.endpoint, env=clock.env) as podspan, _Backend() as backend:
        caller = _Caller(podspan.intercept(backend))
        came = lambda: [span.span_id for request in receiver.requests for span in request.spans]
        for step in (0, HOUR, -2 * HOUR):
            clock.step(step)
            caller.call(20)
            wait_for(lambda: len(set(came())) == caller.count, f"{caller.count} spans after {step} s, {len(came())} came", 30)
        podspan.agent.stop()
        caller.call(20)
        podspan.start_agent()
        wait_for(lambda: len(set(came())) == caller.count, f"{caller.count} spans after a restart, {len(came())} came", 30)
        caller.close()
        assert len(came()) == len(set(came())), "a span came twice"
        counters = podspan.cli_json("status")["counters"]
        lost = {(producer, name): number for producer, numbers in counters.items() for name, number in numbers.items()
                if number and "drop" in name}
        assert not lost, lost
        assert podspan.cli("inflight").strip() == "nothing in flight"
        assert len(podspan.cli_json("traces", "--limit", "200")["traces"]) == caller.count
