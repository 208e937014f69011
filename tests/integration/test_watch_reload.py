"""podspan-watch and SIGHUP: what changes, what does not, and that nothing is lost by it."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lib.otlp import Receiver
from lib.podspan import Podspan
from lib.process import Daemon
from lib.watch import Watch, bundle, has, of, one as one_span

LIVES = 15


class Rig:
    """podspan-watch with a configuration outside of what it may read for other reasons, and containers without a pod."""

    def __init__(self, stack):
        self.receiver = stack.enter_context(Receiver())
        self.podspan = stack.enter_context(Podspan(self.receiver.endpoint))
        self.folder = Path(tempfile.mkdtemp(prefix="podspan-etc-", dir="/dev/shm"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.podspan.config = self.folder / "podspan.conf"
        self.configure("tracing_sampling_rate_per_million = 0\nexplain_time = false")
        self.watch = stack.enter_context(Watch(self.podspan))
        self._bundle = bundle(self.podspan.folder / "bundle")
        self._n = 0

    def configure(self, text):
        """Replaces the file, as an editor does."""
        new = self.podspan.config.with_suffix(".new")
        new.write_text(f"[podspan]\n{text}\n", encoding="utf-8")
        new.rename(self.podspan.config)

    def reload(self, text=None):
        """A new configuration, and SIGHUP."""
        if text is not None:
            self.configure(text)
        self.watch.reload()

    def live(self):
        """A container's whole life; returns its id."""
        self._n += 1
        name = f"reload-{os.getpid()}-{time.monotonic_ns()}-{self._n}"
        crun, pid = f"crun --root {self.podspan.folder}/crun", self.podspan.folder / f"{name}.init"
        # Before its program runs, a container that is killed has no life.
        daemon = Daemon(name, ["sh", "-ec", f"""
            {crun} create --bundle {self._bundle} --pid-file {pid} {name}
            {crun} start {name}
            until grep -qx sleep /proc/$(cat {pid})/comm; do sleep 0.01; done
            {crun} delete --force {name}"""], self.podspan.folder)
        try:
            assert daemon.wait() == 0, daemon.log()
        finally:
            daemon.stop()
        return name

    def told(self, container):
        """Waits for the spans of a container."""
        whole = has("crun create", "crun delete", "wait_for_exit_code", container=container)
        return of(self.receiver.wait_for(whole, f"the life of {container}\n{self.watch.daemon.log()}"), container=container)

    def size(self):
        """Descriptors, and memory in bytes."""
        return len(os.listdir(f"/proc/{self.watch.daemon.pid}/fd")), self.watch.memory()


@pytest.fixture(name="rig")
def fixture_rig():
    """The rig."""
    with contextlib.ExitStack() as stack:
        yield Rig(stack)


def _explained(spans):
    return any("podspan.work.busy_ns" in span.attributes for span in spans)


def _is_late(spans):
    return one_span(spans, name="wait_for_exit_code").trace_id != one_span(spans, name="crun create").trace_id


def test_reload(rig):
    """What can change does at once; a file that is wrong, or that it may not read, changes nothing and is told."""
    unsampled = rig.live()
    rig.reload("tracing_sampling_rate_per_million = 1000000\nexplain_time = false")
    spans = rig.told(rig.live())
    assert not _explained(spans) and not _is_late(spans)

    rig.reload("tracing_sampling_rate_per_million = 1000000\nstart_window = 1ns\nenable_tracing = false")
    spans = rig.told(rig.live())
    assert _explained(spans) and _is_late(spans)
    assert "enable_tracing changes with the next start" in rig.watch.daemon.log()

    # Switched off while it may be at work.
    rig.reload("tracing_sampling_rate_per_million = 1000000\nexplain_time = false")
    rig.reload("tracing_sampling_rate_per_million = 0\nstart_window = soon")
    assert f"The configuration stays as it was: {rig.podspan.config}:3: start_window: " in rig.watch.daemon.log()
    moved = rig.folder.rename(f"{rig.folder}.moved")
    try:
        rig.folder.mkdir()
        rig.configure("tracing_sampling_rate_per_million = 0")
        rig.reload()
    finally:
        shutil.rmtree(rig.folder)
        moved.rename(rig.folder)
    log = rig.watch.daemon.log()
    if "no Landlock" not in log:
        assert f"The configuration stays as it was: {rig.podspan.config}: Permission denied" in log
        assert not _is_late(rig.told(rig.live()))
    rig.reload("tracing_sampling_rate_per_million = 1000000\nstart_window = 1ns")
    assert _is_late(rig.told(rig.live()))
    assert not of(rig.receiver.spans, container=unsampled)


def test_reload_under_load(rig):
    """A thousand SIGHUPs while containers come and go: nothing is lost or told twice, and no memory."""
    configurations = [f"tracing_sampling_rate_per_million = 1000000\nstart_window = {window}\nexplain_time = {explains}"
                      for window, explains in (("1h", "true"), ("2h", "false"))]
    rig.reload(configurations[0])
    over, sizes = threading.Event(), []

    def hang_up():
        for number in range(1000):
            rig.reload(configurations[number % 2])
            if number % 100 == 99:
                sizes.append(rig.size())
        over.set()

    thread = threading.Thread(target=hang_up)
    thread.start()
    containers = [rig.live() for _ in range(LIVES)]
    thread.join()
    assert over.is_set()
    for container in containers:
        spans = rig.told(container)
        for name in ("crun create", "crun delete", "wait_for_exit_code"):
            assert len(of(spans, name=name)) == 1
        assert len({span.trace_id for span in spans}) == 1
        assert not any("podspan.incomplete" in span.attributes for span in spans)
    assert rig.podspan.cli_json("status")["counters"]["podspan-watch"]["watch_lost"] == 0
    print(sizes)
    fds, memory = zip(*sizes)
    assert max(fds) <= min(fds) + 6 and max(memory[-3:]) <= max(memory[:3]) + 300_000
