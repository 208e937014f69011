"""podspan-watch's times beside independent ones: strace's of the runtime and all below it, and a hook's own clock."""

import re
import shutil
import time
from dataclasses import dataclass

import pytest

from lib.otlp import Receiver
from lib.podspan import Podspan
from lib.process import Daemon, run
from lib.watch import Watch, bundle, has, hook, of, one

SLACK = 1_000_000  # what the two may differ by, in nanoseconds
CALL = re.compile(r"^(?P<pid>\d+) +(?P<time>\d+\.\d+) (?:<\.\.\. )?(?P<call>\w+)(?P<rest>.*)$")
EXIT = re.compile(r"^(?P<pid>\d+) +(?P<time>\d+\.\d+) \+\+\+ (?:exited|killed)")


@dataclass
class Call:
    """A system call as strace saw it: entered and left, in nanoseconds of the wall clock."""

    pid: int
    name: str
    text: str
    begin: int
    end: int


def _nanoseconds(text):
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))


def _read(path):
    """The calls, and when each process was gone {pid: time}."""
    calls, open_calls, exits = [], {}, {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := EXIT.match(line):
            exits[int(match["pid"])] = _nanoseconds(match["time"])
        elif match := CALL.match(line):
            pid, at, rest = int(match["pid"]), _nanoseconds(match["time"]), match["rest"]
            if rest.startswith(" resumed>"):
                # Threads end with an execve, whoever called it goes on as the first of them.
                call = open_calls.pop((pid, match["call"]), None)
                if call:
                    call.end = at
                continue
            elapsed = re.search(r"<(\d+\.\d+)>$", rest)
            call = Call(pid, match["call"], rest, at, at + (_nanoseconds(elapsed[1]) if elapsed else 0))
            calls.append(call)
            if "<unfinished" in rest or "<detached" in rest:
                open_calls[pid, call.name] = call
    return calls, exits


def _inside(time_ns, begin, end, what):
    assert begin - SLACK <= time_ns <= end + SLACK, f"{what} at {time_ns}, not in {begin} … {end}"


def _threads(pid, calls):
    """A process and its threads."""
    threads = {pid}
    for call in calls:
        made = re.search(r"CLONE_THREAD.* = (\d+)", call.text)
        if call.pid in threads and made:
            threads.add(int(made[1]))
    return threads


def _check_command(span, calls, exits, program):
    """A command begins with its program's first execve, and ends with its process."""
    pid = span.attributes["process.pid"]
    execs = [call for call in calls if call.pid == pid and call.name == "execve" and program in call.text.split(",")[0]]
    _inside(span.start, execs[0].begin, execs[0].end, f"{span.name} begins")
    leaving = [call.begin for call in calls if call.pid in _threads(pid, calls) and call.name == "exit_group"]
    _inside(span.end, max(leaving, default=exits[pid] - SLACK), exits[pid], f"{span.name} ends")
    return pid


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_create(runtime, tmp_path):
    """`create` with two hooks, one of which asks the clock itself."""
    clock, identifier, trace = tmp_path / "clock", f"{runtime}-{time.monotonic_ns()}", tmp_path / "strace"
    stages = {"createRuntime": [hook(tmp_path, "clock-hook",
                                     f"date +%s%N >{clock}; /bin/sleep 0.05; date +%s%N >>{clock}"),
                                hook(tmp_path, "short-hook", "exit 0")]}
    with Receiver() as receiver, Podspan(receiver.endpoint) as podspan, Watch(podspan):
        folder = bundle(podspan.folder / "bundle", stages)
        command = [shutil.which(runtime), "--root", tmp_path / "root"]
        # strace goes on until the container has gone, too.
        strace = ["strace", "-f", "-q", "-ttt", "-T", "-s", "200", "--seccomp-bpf", "-o", trace, "-e", "signal=none",
                  "-e", "trace=execve,exit_group,clone,clone3,fork,vfork"]
        daemon = Daemon("strace", [*strace, *command, "create", "--bundle", folder, identifier], tmp_path)
        try:
            spans = receiver.wait_for(has(f"{runtime} create", "clock-hook", "short-hook", container=identifier),
                                      f"the spans of create; {daemon.log()}")
            run(*command, "delete", "--force", identifier)
            assert daemon.wait() == 0, daemon.log()
        finally:
            daemon.stop()
    calls, exits = _read(trace)
    create = one(spans, name=f"{runtime} create", container=identifier)
    pid = _check_command(create, calls, exits, f"/{runtime}")

    for name in ("clock-hook", "short-hook"):
        span = one(spans, name=name, container=identifier)
        assert span.parent_id == create.span_id
        _check_command(span, calls, exits, f"/{name}")
    slow = one(spans, name="clock-hook", container=identifier)
    first, last = (int(line) for line in clock.read_text(encoding="ascii").split())
    assert slow.start - SLACK <= first <= last <= slow.end + SLACK
    sleep = one(spans, name="sleep", container=identifier)
    _check_command(sleep, calls, exits, "/bin/sleep")
    assert 50e6 <= sleep.end - sleep.start <= last - first + SLACK

    # Start-up ends with the first process that the runtime makes; a thread is none.
    phases = sorted(of(spans, parent=create.span_id), key=lambda span: span.start)
    start_up = next(span for span in phases if span.name == "start-up")
    assert start_up.start == create.start
    children = [call for call in calls if call.pid in _threads(pid, calls) and "CLONE_THREAD" not in call.text and
                call.name in ("clone", "clone3", "fork", "vfork") and call.begin < slow.start]
    assert any(call.begin - SLACK <= start_up.end <= call.end + SLACK for call in children), (start_up.end, children)
    assert max(span.end for span in phases) <= create.end
