"""The OOM killer in a container's cgroup of version 2; version 1 is what CRI-O's and podman's tests have here.

Of podspan-conmon alone: conmon 2.1.6 takes another hierarchy's path where /proc/PID/cgroup names several.
"""

import time
from contextlib import closing

import pytest

from lib.conmon import Run, shell
from lib.monitors import fixture_everything_ends, fixture_which, subject_only  # noqa: F401  (fixtures)
from lib.process import wait_for
from lib.unified import Unified, events
from test_conmon_faults import State, cpu_seconds


@pytest.fixture(name="cgroup")
def fixture_cgroup(tmp_path):
    """A cgroup of its own."""
    with Unified(f"{tmp_path.parents[2].name}-oom") as cgroup:
        yield cgroup


def start(one, cgroup, **counters):
    """As an engine does it: moves the monitor into the container's cgroup before it lets it go on."""
    one.spawn()
    cgroup.enter(one.spawned_pid)
    cgroup.cover(**counters)
    one.release().settle()
    one.message()


def oom_files(one):
    """Which of the two files are there."""
    return [path.exists() for path in (one.persist / "oom", one.bundle / "oom")]


@subject_only
@pytest.mark.parametrize("counters", [{"oom": 1, "oom_kill": 1}, {"oom": 1}, {"oom": 1, "oom_kill": 1, "oom_group_kill": 1}],
                         ids=["killed", "not killed", "group"])
def test_while_it_runs(which, counters, cgroup, tmp_path):
    """A counter moves: the files are there while the container goes on."""
    with closing(Run(which, tmp_path, shell("read x; exit 5"), "-i")) as one:
        start(one, cgroup)
        assert oom_files(one) == [False, False]
        cgroup.change(**counters)
        wait_for(lambda: oom_files(one) == [True, True], "the files that tell of it")
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 5
        assert one.exit_file() == "5"


@subject_only
@pytest.mark.parametrize("how", ["limit", "reclaim", "removed"])
def test_nothing_to_tell(which, how, cgroup, tmp_path):
    """Counters that are no OOM, and the cgroup's end: no file, and no loop."""
    with closing(Run(which, tmp_path, shell("read x; exit 5"), "-i")) as one:
        start(one, cgroup)
        if how == "removed":
            cgroup.remove()
        else:
            cgroup.change(**({"max": 9} if how == "limit" else {"low": 3, "high": 4}))
        before = cpu_seconds(one.pid)
        time.sleep(0.2)
        assert cpu_seconds(one.pid) - before <= 0.05
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 5
        assert oom_files(one) == [False, False]


@subject_only
def test_at_the_end(which, cgroup, tmp_path):
    """The killer takes the container itself: the event may come after the exit."""
    state = State(tmp_path)
    script = f"read x; printf '{events(oom=1, oom_kill=1)}' 1<>{cgroup.folder}/memory.events; kill -9 $$"
    with closing(Run(which, tmp_path, shell(script.replace("\n", "\\n")), "-i", env=state.env)) as one:
        start(one, cgroup)
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 137
        assert oom_files(one) == [True, True]
        assert one.exit_file() == "137"
        end = state.one("wait_for_exit_code")
        assert end.attributes["podspan.oom_killed"] is True
        assert end.attributes["podspan.memory.max_bytes"] == 54321
        assert end.attributes["podspan.cpu.time_ns"] == 1234000
        assert end.attributes["podspan.memory.events.oom_kill"] == 1
        assert end.attributes["podspan.exit.verdict"] == "unknown"
        assert end.attributes["podspan.exit.missing"] == "oom_scope"


@subject_only
@pytest.mark.parametrize("exec_", [False, True], ids=["container", "exec"])
def test_before_the_watch(which, exec_, cgroup, tmp_path):
    """What has happened in a container's cgroup when its runtime is done is its own; an exec's has a past."""
    state = State(tmp_path)
    options = {"exec_": True, "exec_attach": True, "api": 1} if exec_ else {}
    with closing(Run(which, tmp_path, shell("read x; exit 1"), "-i", env=state.env, **options)) as one:
        one.spawn()
        cgroup.enter(one.spawned_pid)
        cgroup.cover(oom=1, oom_kill=1)
        one.release().settle()
        if exec_:
            one.attach_message()
            one.second_start()
        one.message()
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 1
        assert oom_files(one) == [not exec_, not exec_]
        end = state.one("wait_for_exit_code")
        # It has outlived the kill, which was another process's.
        assert end.attributes["podspan.oom_killed"] is False
        assert [name for name, _ in end.events if name == "oom_kill"] == ([] if exec_ else ["oom_kill"])


@subject_only
def test_another_process(which, cgroup, tmp_path):
    """The killer takes another process: the files are there, and the span has the time, but not the end."""
    state = State(tmp_path)
    with closing(Run(which, tmp_path, shell("read x; kill -9 $$"), "-i", env=state.env)) as one:
        start(one, cgroup)
        before = time.time_ns()
        cgroup.change(oom=1, oom_kill=1)
        wait_for(lambda: oom_files(one) == [True, True], "the files that tell of it")
        after = time.time_ns()
        time.sleep(1.5)  # longer than it takes to see that the container goes on
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 137
        end = state.one("wait_for_exit_code")
        assert end.attributes["podspan.oom_killed"] is False
        (name, at), = end.events
        assert name == "oom_kill" and before <= at <= after
