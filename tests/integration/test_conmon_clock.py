"""The wall clock is stepped under podspan-conmon: deadlines stay, exit codes are there, logs and spans have their order.

The program that is installed is static, which no library gets under: this is the same, linked dynamically.
"""

import contextlib
import datetime
import time

import pytest

from lib.clock import Clock
from lib.conmon import Monitor, Run, process, shell
from lib.monitors import fixture_everything_ends  # noqa: F401  (fixtures)
from lib.paths import built
from lib.process import wait_for
from test_conmon_faults import Disk, State

HOUR = 3600


@pytest.fixture(name="which")
def fixture_which():
    """The monitor under test."""
    return Monitor("podspan-conmon", built("conmon-dynamic"))


@pytest.fixture(name="clock")
def fixture_clock():
    """A clock that can be stepped."""
    return Clock()


steps = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])


def seconds_of(record):
    """A record's time as time.time() has it."""
    return datetime.datetime.fromisoformat(record.stamp[:26] + record.stamp[29:]).timestamp()


def near(record, clock):
    """Is it of this moment by that clock?"""
    return abs(seconds_of(record) - (time.time() + clock.seconds)) < 60


@steps
def test_container(which, clock, step, tmp_path):
    """Records before and after a step, an unfinished line and a reopening across it, and the end."""
    state = State(tmp_path)
    script = "echo one; read x; printf rest; read x; echo; echo two; read x; echo three; exit 7"
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(Run(which, tmp_path, shell(script), "-i", env={**state.env, **clock.env}))
        one.message()
        client = stack.enter_context(one.attach())
        one.wait_log(b"one\n")
        assert near(one.log()[0], clock)
        client.send(b"\n")
        client.read_until(b"rest")
        clock.step(step)
        one.wait_log(b"one\nrest")  # after the same 100 ms as ever, not an hour
        client.send(b"\n")
        one.wait_log(b"two\n")
        assert near(one.log()[-1], clock)
        assert [(record.tag, record.content) for record in one.log()] == [
            ("F", b"one"), ("P", b"rest"), ("F", b""), ("F", b"two")]
        clock.step(-2 * step)
        old = one.log_path.rename(tmp_path / "old")
        one.ctl(b"2 0 0\n")
        wait_for(one.log_path.exists, "the new log")
        client.send(b"\n")
        assert one.wait() == 7
        took = time.monotonic() - begin
        assert (one.exit_file(), one.persist_file()) == ("7", "7")
        record, = one.log()
        assert record.content == b"three" and near(record, clock)
        assert old.read_bytes().endswith(b" two\n")
    spans = state.spans()
    assert {span.name for span in spans} >= {"fakeruntime create", "read_loop", "attach", "log_rotate", "wait_for_exit_code"}
    for span in spans:
        assert 0 <= (span.end - span.start) / 1e9 <= took, span
        assert all(span.start <= at <= span.end for _, at in span.events), (span.events, span)


@steps
def test_timeout(which, clock, step, tmp_path):
    """An exec's timeout is as long as it was."""
    begin = time.monotonic()
    with Run(which, tmp_path, process("sleep", "1000"), "-T", "2", exec_=True, foreground=True, env=clock.env) as one:
        wait_for(one.pidfile.exists, "the container")
        clock.step(step)
        assert one.message(timeout=60) == {"exit_code": -1, "message": "command timed out"}
        assert time.monotonic() - begin >= 1.9
        one.wait(60)


@steps
def test_no_timeout(which, clock, step, tmp_path):
    """One that has an hour and a half has not had it."""
    with Run(which, tmp_path, shell("read x; exit 4"), "-i", "-T", str(HOUR // 2), env=clock.env) as one:
        one.message()
        with one.attach() as client:
            clock.step(step)
            client.send(b"\n")
            assert one.wait() == 4
        assert one.exit_file() == "4"


@steps
def test_full_disk_of_exit_files(which, clock, step, tmp_path):
    """What is tried again is tried again at its time."""
    with Disk(tmp_path / "exits", "64k") as disk:
        with Run(which, tmp_path, shell("read x; exit 8"), "-i", exit_dir=disk.path, env=clock.env) as one:
            one.message()
            disk.fill()
            with one.attach() as client:
                client.send(b"\n")
            wait_for(lambda: one.persist_file() == "8", "the end")
            clock.step(step)
            disk.free()
            assert one.wait(40) == 8
            assert one.exit_file() == "8"
