"""What podspand makes of a spool file is bounded, and a spool that somebody filled with anything does no harm."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from lib.paths import built
from test_agent import Podspand, Span, attribute, field, traces_data

FILE_MAX = 4 << 20
READING_LINE = re.compile(r"(\d) (1-\d{20}-\d+-[0-9a-f]+\.otlp)")


def counter(podspand, name):
    """One of podspand's counters, by its name in `podspan status`."""
    done = subprocess.run([built("podspan"), "status", "--json", "--config", podspand.conf, "--state-dir", podspand.state,
                           "--store-dir", podspand.store], capture_output=True, text=True, timeout=20, check=False)
    return json.loads(done.stdout)["counters"]["podspand"].get(name, 0)


def memory(podspand, what):
    """A figure of /proc/PID/status, in KiB."""
    with open(f"/proc/{podspand.process.pid}/status", encoding="ascii") as status:
        return int(re.search(rf"{what}:\s+(\d+) kB", status.read())[1])


def written(podspand):
    """Bytes that podspand has handed to write(2) and its like so far."""
    with open(f"/proc/{podspand.process.pid}/io", encoding="ascii") as io:
        return int(re.search(r"wchar: (\d+)", io.read())[1])


def large_resource():
    """A legal spool file: one resource attribute of 3.3 MB, 12 000 spans."""
    resource = field(1, attribute("k8s.pod.uid", "uid-1")) + field(1, attribute("large", "x" * 3_300_000))
    spans = b"".join(field(2, field(1, os.urandom(16)) + field(2, os.urandom(8)) + field(7, ("f64", 1)) +
                           field(8, ("f64", 2))) for _ in range(12000))
    data = field(1, field(1, resource) + field(2, spans))
    assert len(data) <= FILE_MAX
    return data


def test_one_large_value():
    """A value that every batch would repeat is cut: the file makes a few times its own size, and all spans are there."""
    with Podspand("none", "tracing_batch_size = 512KiB") as podspand:
        before = written(podspand)
        podspand.put(data=large_resource())
        podspand.wait(lambda: podspand.counter("spans") == 12000, "all spans", 60)
        podspand.drained()
        assert podspand.sql("SELECT sum(n_spans) FROM batch") == [(12000,)]
        assert podspand.sql("SELECT sum(length(traces)) FROM batch")[0][0] < 8 << 20
        assert written(podspand) - before < 64 << 20
        assert memory(podspand, "VmHWM") < 100_000


def suspects(podspand):
    """The note of what is being read: deaths by name."""
    text = (podspand.store / "podspand.reading").read_text(encoding="ascii")
    return {name: int(deaths) for deaths, name in READING_LINE.findall(text)}


def kill_while_reading(podspand, name, deaths):
    """Starts podspand and ends it by SIGKILL while it reads the file."""
    podspand.start(wait=False)
    end = time.monotonic() + 20
    while suspects(podspand).get(name) != deaths:
        assert time.monotonic() < end and podspand.process.poll() is None, f"{name} is not read: {suspects(podspand)}"
    podspand.process.send_signal(signal.SIGKILL)
    podspand.process.wait()


def test_a_file_that_kills():
    """A file that podspand died over twice is set aside and counted, not read a third time; the others are taken in."""
    with Podspand() as podspand:
        podspand.stop()
        (podspand.store / "podspand.reading").write_text("", encoding="ascii")
        # Large enough for the turn to take a while.
        podspand.put(data=traces_data(*(Span(pad="x" * 100) for _ in range(15000))))
        [bad] = [path.name for path in podspand.spool_files()]
        kill_while_reading(podspand, bad, 1)
        assert suspects(podspand) == {bad: 1}
        good = podspand.put(Span(name="good"))
        kill_while_reading(podspand, bad, 2)
        podspand.start()
        podspand.wait(lambda: podspand.sql("SELECT name FROM span") == [("good",)], "the other file is taken in")
        spool = podspand.state / "spool"
        podspand.wait(lambda: [path.name for path in spool.iterdir()] == [f".aside-{bad}"], "nothing else in the spool")
        assert counter(podspand, "agent_set_aside") == 1
        assert len(good) == 1 and bad in podspand.log.read_text()
        podspand.stop()
        assert suspects(podspand) == {}


def test_a_kill_for_another_reason():
    """After one death the file is read again, alone, and taken in; nothing comes twice."""
    with Podspand() as podspand:
        podspand.stop()
        podspand.put(data=traces_data(*(Span(pad="x" * 100) for _ in range(15000))))
        [name] = [path.name for path in podspand.spool_files()]
        kill_while_reading(podspand, name, 1)
        podspand.put(Span())
        podspand.start()
        podspand.wait(lambda: podspand.sql("SELECT count(*), count(DISTINCT span_id) FROM span") == [(15001, 15001)],
                      "all of both", 60)
        podspand.drained()
        assert counter(podspand, "agent_set_aside") == 0


def test_foreign_names():
    """What is no spool file's name is removed and counted; what a later version may want stays for an hour."""
    with Podspand(start=False) as podspand:
        spool = podspand.state / "spool"
        spool.mkdir(parents=True)
        for name in ("x", "core", "1-1-1-1.otlp", "y" * 255, "2-later-version"):
            (spool / name).touch()
        (spool / "directory").mkdir()
        (spool / "full").mkdir()
        (spool / "full" / "something").touch()
        os.symlink("/etc/hostname", spool / "link")
        os.mkfifo(spool / "fifo")
        later, old = spool / "2-later.otlp", spool / "2-old.otlp"
        later.touch()
        old.touch()
        os.utime(old, (1, 1))
        (spool / ".directory").mkdir()
        os.utime(spool / ".directory", (1, 1))
        podspand.start()
        sent = podspand.put(Span())
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span") == [(len(sent),)], "the span")
        podspand.wait(lambda: {path.name for path in spool.iterdir()} == {later.name, ".aside-full"}, "the rest is gone")
        assert counter(podspand, "agent_foreign") == 10


@pytest.mark.parametrize("count", [1, 300])
def test_directories_with_spool_names(count):
    """Directories called like spool files, with something in them, do not stand in the way of files, however many."""
    with Podspand(start=False) as podspand:
        spool = podspand.state / "spool"
        spool.mkdir(parents=True)
        for number in range(count):
            path = spool / f"1-{number:020d}-1-1.otlp"
            path.mkdir()
            (path / "something").touch()
        podspand.start()
        sent = podspand.put(Span())
        podspand.wait(lambda: podspand.sql("SELECT count(*) FROM span") == [(len(sent),)], "the span")
        podspand.wait(lambda: not podspand.spool_files() or all(path.name.startswith(".") for path in spool.iterdir()),
                      "the directories are out of the way")
        assert counter(podspand, "input_bad") == count
