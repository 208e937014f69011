"""What may go wrong around a monitor: the container lives or ends as it should, and its exit code is there."""

import contextlib
import os
import random
import signal
import socket
import time
from pathlib import Path

import pytest

from lib import conmon, session
from lib.conmon import STDOUT, Run, content, parse_log, process, shell
from lib.monitors import both, fixture_everything_ends, fixture_which, subject_only  # noqa: F401  (fixtures)
from lib.otlp import Messages
from lib.paths import built
from lib.process import wait_for
from lib.spans import ERROR, Spans, from_otlp


class Disk:
    """A small file system of its own."""

    def __init__(self, path, size):
        path.mkdir()
        session.mount("tmpfs", path, "tmpfs", data=f"size={size},mode=755")
        self.path, self._filler = path, path / ".filler"

    def fill(self, left=0):
        """Leaves so many bytes."""
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                while True:
                    os.write(fd, bytes(4096))
            os.truncate(fd, max(os.lseek(fd, 0, os.SEEK_END) - left, 0))
        finally:
            os.close(fd)

    def free(self):
        """Gives the space back."""
        self._filler.unlink()

    def close(self):
        session.unmount_below(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class State:
    """podspan's state folder with a spool in it, and the environment that names it."""

    def __init__(self, folder):
        self.folder = folder / "state"
        self.spool = self.folder / "spool"
        self.spool.mkdir(parents=True)
        config = folder / "podspan.conf"
        config.write_text("[podspan]\nenable_tracing = true\ntracing_sampling_rate_per_million = 1000000\n",
                          encoding="utf-8")
        self.env = {"PODSPAN_CONFIG": str(config), "PODSPAN_STATE_DIR": str(self.folder)}

    def spans(self):
        """What has been written."""
        files = [path.read_bytes() for path in self.spool.iterdir() if not path.name.startswith(".")]
        return Spans(span for data in files
                     for span in from_otlp(Messages["ExportTraceServiceRequest"].FromString(data)))

    def one(self, name, **attributes):
        """The only span of a name with these attributes."""
        found = [span for span in self.spans() if span.name == name and
                 all(span.attributes.get(key) == value for key, value in attributes.items())]
        assert len(found) == 1, f"{len(found)} spans called {name} among:\n{self.spans()}"
        return found[0]


def cpu_seconds(pid):
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_ended(one, code):
    """The exit code is wherever it has to be."""
    assert one.wait() == code
    assert (one.exit_file(), one.persist_file()) == (str(code), str(code))


def runtime_of(one):
    """The pid of the runtime once it runs."""
    def look():
        for pid in Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(built("fakeruntime")):
                    return int(pid)
        return None
    return wait_for(look, "the runtime")


# ---- kill -9 ----


@both
def test_container_is_killed(which, tmp_path):
    """Of the container."""
    with Run(which, tmp_path, shell("echo up; exec sleep 1000")) as one:
        pid = one.message()["pid"]
        one.wait_log(b"up\n")
        os.kill(pid, signal.SIGKILL)
        check_ended(one, 137)
        assert content(one.log()) == b"up\n"


@both
def test_runtime_is_killed(which, tmp_path):
    """Of the runtime while it creates."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Run(which, tmp_path, shell("exit 0", wait=fifo)) as one:
        os.kill(runtime_of(one), signal.SIGKILL)
        message = one.message()
        assert message is None if which.reference else message["pid"] == -1
        assert one.wait() == 1
        assert one.exit_file() is None


def test_monitor_is_killed(tmp_path):
    """Of the monitor: no worse than with conmon. The container runs on, and writes into nothing."""
    seen = []
    for which in (conmon.reference(), conmon.subject()):
        proof = tmp_path / f"{which.name}.proof"
        script = f"trap '' PIPE; echo up; while :; do echo more; read x </dev/null; echo alive >{proof}; sleep 0.02; done"
        with Run(which, tmp_path, shell(script)) as one:
            pid = one.message()["pid"]
            one.wait_log(b"up\n")
            os.kill(one.pid, signal.SIGKILL)
            code = one.wait()
            proof.unlink(missing_ok=True)
            wait_for(proof.exists, "the container still runs")
            seen.append((code, conmon.dead(pid), one.exit_file(), one.persist_file()))
            assert content(one.log()).startswith(b"up\nmore\n") or content(one.log()) == b"up\n"
    assert seen[1] == seen[0] == (137, False, None, None)


@both
def test_monitor_is_killed_while_creating(which, tmp_path):
    """Of the monitor while the runtime runs: the runtime goes too, nothing is left behind."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Run(which, tmp_path, shell("exit 0", wait=fifo)) as one:
        runtime = runtime_of(one)
        os.kill(one.pid, signal.SIGKILL)
        assert one.wait() == 137
        wait_for(lambda: conmon.dead(runtime), "the runtime is gone")
        assert one.message() is None


# ---- full disks ----


@both
def test_log_disk_full(which, tmp_path):
    """The container writes on and ends by itself; the log has whole records."""
    with Disk(tmp_path / "disk", "256k") as disk:
        path = disk.path / "log"
        with Run(which, tmp_path, shell("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo some line $i; done; exit 5"),
                 log=path) as one:
            one.message()
            check_ended(one, 5)
        data = path.read_bytes()
        assert len(data) > 100000
        records = parse_log(data[:data.rfind(b"\n") + 1] if which.reference else data)
        lines = content(records).splitlines()
        assert lines[:1000] == [b"some line %d" % number for number in range(1, 1001)]


@subject_only
def test_log_disk_full_and_free_again(which, tmp_path):
    """What was lost is said once in the log, and counted on the span."""
    state = State(tmp_path)
    with Disk(tmp_path / "disk", "256k") as disk:
        disk.fill(left=32768)
        path = disk.path / "log"
        script = "while read n; do i=0; while [ $i -lt $n ]; do i=$((i+1)); echo some line $i; done; echo; done; exit 6"
        with Run(which, tmp_path, shell(script), "-i", log=path, env=state.env) as one:
            one.message()
            with one.attach() as client:
                client.send(b"5000\n")
                client.read_until(b"some line 5000\n")
                disk.free()
                client.send(b"10\n")
                client.read_until(b"some line 10\n\n")
                client.shutdown()
            check_ended(one, 6)
            records = parse_log(path.read_bytes())
            said = [record.content for record in records if b"bytes of log lost" in record.content]
            assert len(said) == 1 and said[0].startswith(b"podspan: ")
            written = sum(len(record.content) + 1 for record in records if record.content not in said)
            total = sum(len(b"some line %d\n" % number) for number in [*range(1, 5001), *range(1, 11)]) + 2
            assert int(said[0].split()[1]) == total - written
            loop = state.one("read_loop", **{"log.iostream": "stdout"})
            assert loop.status == ERROR
            assert loop.attributes["podspan.log.dropped_bytes"] == total - written
            assert loop.attributes["podspan.io.bytes"] == total
            assert state.one("wait_for_exit_code").attributes["process.exit.code"] == 6


@subject_only
def test_exit_disk_full(which, tmp_path):
    """The exit file is tried for until there is room for it."""
    with Disk(tmp_path / "exits", "64k") as disk:
        with Run(which, tmp_path, shell("read x; exit 7"), "-i", exit_dir=disk.path) as one:
            one.message()
            disk.fill()
            with one.attach() as client:
                client.send(b"\n")
            wait_for(lambda: conmon.dead(one.container_pid), "the container's end")
            disk.free()
            assert one.wait(40) == 7
            assert (one.exit_file(), one.persist_file()) == ("7", "7")
            assert [path.name for path in disk.path.iterdir()] == [one.id]


def _spool(tmp_path, kind, stack):
    """A state folder whose spool is out of order in one of several ways; the environment that names it."""
    state = State(tmp_path)
    if kind == "absent":
        state.spool.rmdir()
        state.folder.rmdir()
    elif kind == "no spool":
        state.spool.rmdir()
    elif kind == "full":
        state.spool.rmdir()
        stack.enter_context(Disk(state.spool, "16k")).fill()
    elif kind == "file":
        state.spool.rmdir()
        state.spool.write_text("no folder", encoding="ascii")
    elif kind == "bad configuration":
        (tmp_path / "podspan.conf").write_text("[podspan\nenable_tracing = perhaps\n" + "x" * 100000, encoding="ascii")
    return state


@subject_only
@pytest.mark.parametrize("kind", ["absent", "no spool", "full", "file", "bad configuration"])
def test_spool_out_of_order(which, kind, tmp_path):
    """Without a place for spans everything else is as it was, and as fast."""
    with contextlib.ExitStack() as stack:
        state = _spool(tmp_path, kind, stack)
        with Run(which, tmp_path, shell("echo line; exit 8"), env=state.env) as one:
            begin = time.monotonic()
            assert one.message()["pid"] > 0
            check_ended(one, 8)
            assert time.monotonic() - begin < 5
            assert content(one.log()) == b"line\n"
        with Run(which, tmp_path, shell("echo line; exit 9"), exec_=True, foreground=True, env=state.env) as one:
            assert one.message() == {"exit_code": 9}
            assert one.wait() == 9


@subject_only
def test_spool(which, tmp_path):
    """The same folder in order: that the test above would see a span."""
    state = State(tmp_path)
    with Run(which, tmp_path, shell("echo line; exit 8"), env=state.env) as one:
        one.message()
        check_ended(one, 8)
    assert {span.name for span in state.spans()} == {
        "monitor set-up", "wait for the engine", "fakeruntime create", "read_loop", "wait_for_exit_code"}
    end = state.one("wait_for_exit_code")
    assert end.attributes["process.exit.code"] == 8
    # An engine's own stop is no call that a monitor could see.
    assert (end.attributes["podspan.exit.verdict"], end.attributes["podspan.exit.missing"]) == ("unknown", "stop")


@subject_only
def test_tracing_off(which, tmp_path):
    """Switched off, it writes nothing, and the runtime's environment is as it was."""
    state = State(tmp_path)
    (tmp_path / "podspan.conf").write_text("[podspan]\nenable_tracing = false\n", encoding="ascii")
    record = tmp_path / "record"
    with Run(which, tmp_path, shell("exit 8", record=record), env=state.env) as one:
        one.message()
        check_ended(one, 8)
    assert not state.spans()
    assert b"TRACEPARENT" not in record.read_bytes()


# ---- clients that do not behave ----


def _number_lines(count):
    """What `seq` writes."""
    return b"".join(b"%099d\n" % number for number in range(1, count + 1))


def _plain(data):
    """A terminal's output, without what the terminal makes of newlines and without the echo of one."""
    return data.replace(b"\r\n", b"\n").removeprefix(b"\n")


@subject_only
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_stopped_attach_client(which, terminal, tmp_path):
    """One that reads nothing while 2 MB are written: all of it is in the log, and has come to another client, before it
    has taken a byte; and it is not given up: afterwards it gets everything (conmon stands still)."""
    script = "read x; seq -f %099.0f 1 20000; read x; echo end; exit 9"
    with Run(which, tmp_path, shell(script), "-i", terminal=terminal) as one:
        one.message()
        with one.attach() as stopped, one.attach() as other:
            other.send(b"\n")
            last = b"%099d" % 20000
            output = other.read_until(last + (b"\r\n" if terminal else b"\n"))
            one.wait_log(last)
            assert _plain(content(one.log())) == _plain(output) == _number_lines(20000)
            assert stopped.read_until(last + (b"\r\n" if terminal else b"\n")) == output
            other.send(b"\n")
            assert b"end" in other.read_all()[STDOUT] and b"end" in stopped.read_all()[STDOUT]
            check_ended(one, 9)


@subject_only
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_stuck_attach_client(which, terminal, tmp_path):
    """One that never reads, and more than is kept for it: container, log and other clients have everything, and it has the
    begin and an end."""
    with Run(which, tmp_path, shell("read x; seq -f %099.0f 1 120000; exit 9"), "-i", terminal=terminal) as one:
        one.message()
        with one.attach() as stuck, one.attach() as other:
            other.send(b"\n")
            output = other.read_all()[STDOUT]
            check_ended(one, 9)
            begin = _plain(stuck.read_all()[STDOUT])
        assert _plain(content(one.log())) == _plain(output) == _number_lines(120000)
        assert 0 < len(begin) < 12000000 and _number_lines(120000).startswith(begin)


@subject_only
def test_exit_with_a_stuck_attach_client(which, tmp_path):
    """The exit code does not wait for who does not read, nor does the monitor's end for ever; the span tells."""
    state = State(tmp_path)
    with Run(which, tmp_path, shell("read x; seq -f %099.0f 1 30000; exit 12"), "-i", env=state.env) as one:
        one.message()
        with one.attach() as stuck:
            stuck.send(b"\n")
            wait_for(lambda: one.exit_file() == "12", "the exit file", interval=0.002)
            check_ended(one, 12)
        assert content(one.log()) == _number_lines(30000)
    span = state.one("attach")
    assert span.status == ERROR and span.attributes["error.type"] == "stalled"
    assert span.attributes["podspan.attach.bytes_out"] + span.attributes["podspan.attach.dropped_bytes"] == 3000000


@subject_only
def test_garbage(which, tmp_path):
    """Noise on ctl, winsz and the attach socket: no end, no loop, no loss. conmon 2.1.6 reads no more ctl after it."""
    noise = random.Random(20)
    with Run(which, tmp_path, shell("read x; read x; echo end; exit 10"), "--leave-stdin-open", "-i") as one:
        one.message()
        for fifo in ("ctl", "winsz"):
            for _ in range(50):
                one.ctl(noise.randbytes(noise.randrange(1, 4000)).replace(b"2", b"3") + b"\n", fifo)
            one.ctl(b"99999999999999999999 1 1\n3 1 1\n2\n-2 0 0\n" + b"\0" * 500 + b"\n", fifo)
        for _ in range(100):
            with one.attach():
                pass
        with one.attach() as client:
            client.send(noise.randbytes(30000).replace(b"\n", b" "))
        for _ in range(3):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other, \
                    conmon.short(one.bundle / "attach") as path:
                other.connect(path)
        before = cpu_seconds(one.pid)
        time.sleep(0.3)
        assert cpu_seconds(one.pid) - before <= 0.05
        with one.attach() as client:
            client.send(b"\n")
            client.send(b"\n")
            assert client.read_until(b"end\n") == b"end\n"
        check_ended(one, 10)


@subject_only
def test_many_attach_clients(which, tmp_path):
    """A bound on them: the monitor neither ends nor forgets the container, and takes new ones when others have gone."""
    with Run(which, tmp_path, shell("read x; echo end; exit 2"), "-i", "--leave-stdin-open") as one:
        one.message()
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                for _ in range(300):
                    stack.enter_context(one.attach())
        with one.attach() as client:
            client.send(b"\n")
            assert client.read_until(b"end\n") == b"end\n"
        check_ended(one, 2)


@both
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_closed_output(which, terminal, tmp_path):
    """A container that closes its output and lives on: no loop, and its code in the end."""
    script = "echo up; exec <&- >&- 2>&-; sleep 0.7; exit 11"
    with Run(which, tmp_path, shell(script), terminal=terminal) as one:
        one.message()
        one.wait_log(b"up")
        before = cpu_seconds(one.pid)
        time.sleep(0.4)
        assert cpu_seconds(one.pid) - before <= 0.1
        check_ended(one, 11)


# ---- files that go ----


@subject_only
def test_reopen_fails(which, tmp_path):
    """A log that cannot be reopened is written on, and tried again."""
    folder = tmp_path / "logs"
    folder.mkdir()
    with Run(which, tmp_path, shell("while read x; do echo $x; done; exit 12"), "-i", log=folder / "log") as one:
        one.message()
        with one.attach() as client:
            client.send(b"one\n")
            client.read_until(b"one\n")
            os.rename(folder, tmp_path / "away")
            one.ctl(b"2 0 0\n")
            client.send(b"two\n")
            client.read_until(b"two\n")
            os.rename(tmp_path / "away", folder)
            os.rename(folder / "log", folder / "old")
            one.ctl(b"2 0 0\n")
            wait_for((folder / "log").exists, "the new log")
            client.send(b"three\n")
            client.read_until(b"three\n")
            client.shutdown()
        check_ended(one, 12)
        pieces = [folder / name for name in ("old", "log")] + [tmp_path / "logs" / "log.tmp"]
        whole = b"".join(content(parse_log(path.read_bytes())) for path in pieces if path.exists())
        assert whole == b"one\ntwo\nthree\n"


@both
def test_bundle_is_gone(which, tmp_path):
    """Removed beneath it: the exit code is there all the same."""
    with Run(which, tmp_path, shell("read x; exit 13"), "-i") as one:
        one.message()
        with one.attach() as client:
            os.rename(one.bundle, one.folder / "elsewhere")
            client.send(b"\n")
            check_ended(one, 13)


@both
def test_exit_command_fails(which, tmp_path):
    """A clean-up that cannot be run changes nothing about the exit code."""
    with Run(which, tmp_path, shell("exit 14"), "--exit-command", "/no/such/program") as one:
        one.message()
        check_ended(one, 14)


@subject_only
def test_journald_is_away(which, tmp_path):
    """No journald: the file has its lines, the container its code."""
    with Run(which, tmp_path, shell("i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; done; exit 15"), "-l",
             "journald:") as one:
        one.message()
        check_ended(one, 15)
        assert content(one.log()) == b"".join(b"line %d\n" % number for number in range(1, 2001))


@subject_only
def test_journald_is_stuck(which, tmp_path):
    """A journald that takes nothing: no longer than its bound, and the file has its lines."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck:
        path = Path("/run/systemd/journal/socket")
        path.unlink(missing_ok=True)
        stuck.bind(str(path))
        try:
            with Run(which, tmp_path, shell("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; exit 16"), "-l",
                     "journald:") as one:
                one.message()
                check_ended(one, 16)
                assert content(one.log()).endswith(b"line 3000\n")
        finally:
            path.unlink()


@subject_only
def test_memory_stays(which, tmp_path):
    """After a hundred megabytes through its hands the monitor is not larger than before."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 99 + b"\n")
    big = tmp_path / "big"
    big.write_bytes((b"y" * 99 + b"\n") * (1 << 20))
    script = f"{built('fakeruntime')} write {source} 100; read x; {built('fakeruntime')} write {big} 65536; echo done; read x"
    def memory(pid):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty:"))
    with Run(which, tmp_path, process("sh", "-c", script), "-i", "--leave-stdin-open", "--no-sync-log", "--log-size-max", "1000000") as one:
        one.message()
        one.wait_log(b"x\n")
        before = memory(one.pid)
        with one.attach() as client:
            client.send(b"\n")
        wait_for(lambda: one.log_path.read_bytes().endswith(b" done\n"), "all of it", timeout=60)
        assert memory(one.pid) - before <= 200


@subject_only
def test_spans_do_not_wait_for_the_exit_command(which, tmp_path):
    """podman gives the exit command of an exec minutes: its spans are there before."""
    state, proof = State(tmp_path), tmp_path / "proof"
    with Run(which, tmp_path, shell("exit 3"), "--exit-command", "/usr/bin/touch", "--exit-command-arg",
             proof, "--exit-delay", "4", env=state.env) as one:
        one.message()
        wait_for(lambda: any(span.name == "wait_for_exit_code" for span in state.spans()), "the last span")
        assert not proof.exists()
        assert one.exit_file() == "3"


_SET_UP = {
    "no socket folder": lambda one, folder: one.sockets.rmdir(),
    "no TMPDIR": lambda one, folder: one.env.update(TMPDIR=str(folder / "none")),
    "TMPDIR too long for a socket": lambda one, folder: one.env.update(TMPDIR=str(folder / ("x" * 120))),
    "attach in the way": lambda one, folder: (one.bundle / "attach" / "full").mkdir(parents=True),
}


@subject_only
@pytest.mark.parametrize("case", _SET_UP)
def test_what_fails_before_the_runtime_is_called_is_said(which, case, tmp_path):
    """The monitor has gone into the background: the caller hears why on the sync pipe, and the trace has it."""
    state = State(tmp_path)
    (tmp_path / ("x" * 120)).mkdir()
    run = Run(which, tmp_path, shell("exit 0"), terminal="TMPDIR" in case, env=state.env)
    _SET_UP[case](run, tmp_path)
    with run as one:
        message = one.message()
        assert message["pid"] == -1 and message["message"], message
        assert "Failed to" in message["message"]
        assert one.raw_message() == b"", "the pipe is closed after it"
        assert one.wait() == 1
        assert not one.pidfile.exists()
    span = state.one("monitor set-up")
    assert span.status == ERROR and span.attributes["error.type"] == "set_up"
    assert span.status_message == message["message"], (span, message)
