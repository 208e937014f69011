"""Log destinations that are no regular files, and folders that come and go: what conmon delivers is delivered."""

import filecmp
import os
import pty
import shutil
import subprocess
import threading
import time
import tty

import pytest

from lib.amounts import MIB, _block
from lib.conmon import Run, content, parse_log, process, shell
from lib.monitors import both, fixture_everything_ends, fixture_which, subject_only  # noqa: F401  (fixtures)
from lib.paths import built
from lib.process import wait_for


class Reader(threading.Thread):
    """Reads a FIFO or terminal into a file, in a way of its own: pause(bytes so far) is called after each read."""

    def __init__(self, path, target, pause=None, late=0, size=65536, fd=None):
        super().__init__(daemon=True)
        self._path, self._target, self._pause, self._late, self._size, self._fd = path, target, pause, late, size, fd
        self.n = 0
        self.start()

    def run(self):
        time.sleep(self._late)
        fd = self._fd if self._fd is not None else os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        with open(self._target, "wb") as target:
            while True:
                try:
                    chunk = os.read(fd, self._size)
                except OSError:  # a terminal that nobody has open any more
                    chunk = b""
                if not chunk:
                    break
                target.write(chunk)
                self.n += len(chunk)
                if self._pause:
                    self._pause(self.n)
        os.close(fd)


def source(folder, mib, kind="100-byte lines"):
    path = folder / "source"
    with open(path, "wb") as file:
        for number in range(mib):
            file.write(_block(kind, number))
    return path


def same(log, wanted, folder):
    """Is what the records of a log say the input, byte by byte? Records that are torn are an error."""
    result = folder / "content"
    with open(result, "wb") as output:
        done = subprocess.run([built("fakeruntime"), "content", log], stdout=output, stderr=subprocess.PIPE, text=True,
                              check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    return filecmp.cmp(result, wanted, shallow=False)


def writes(path, chunk=65536):
    return process(built("fakeruntime"), "write", path, str(chunk))


def fifo_run(which, folder, text, timeout=120, **reader):
    """A container whose log is a FIFO. Returns the monitor's exit code and what the reader got."""
    fifo, got = folder / "fifo", folder / "got"
    os.mkfifo(fifo)
    thread = Reader(fifo, got, **reader)
    with Run(which, folder, text, log=f"k8s-file:{fifo}") as one:
        one.message()
        code = one.wait(timeout)
    thread.join(timeout)
    assert not thread.is_alive()
    return code, got


@both
def test_fast_reader(which, tmp_path):
    """256 MiB: a pipe is full all the time, and that is no failure."""
    path = source(tmp_path, 256)
    code, got = fifo_run(which, tmp_path, writes(path))
    assert code == 0 and same(got, path, tmp_path)
    for name in (path, got):
        name.unlink()


@both
def test_slow_reader(which, tmp_path):
    """The container is held up, nothing is lost."""
    path = source(tmp_path, 16)
    code, got = fifo_run(which, tmp_path, writes(path), pause=lambda n: time.sleep(0.01))
    assert code == 0 and same(got, path, tmp_path)


@both
def test_reader_of_long_lines_by_small_reads(which, tmp_path):
    """Records longer than what a pipe takes at once are whole all the same."""
    path = source(tmp_path, 4, "1 MiB lines")
    code, got = fifo_run(which, tmp_path, writes(path), size=777)
    assert code == 0 and same(got, path, tmp_path)


@both
def test_late_reader(which, tmp_path):
    """It comes after 3 s, to more than a pipe holds."""
    path = source(tmp_path, 8)
    code, got = fifo_run(which, tmp_path, writes(path), late=3)
    assert code == 0 and same(got, path, tmp_path)


@both
def test_reader_that_comes_after_the_end(which, tmp_path):
    """A container of one line is gone long before: its line is not."""
    code, got = fifo_run(which, tmp_path, shell("echo line; exit 3"), late=2)
    assert code == 3 and content(parse_log(got.read_bytes())) == b"line\n"


@subject_only
def test_no_reader_ever(which, tmp_path):
    """10 s in all, then the container goes on and its end is told."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path = source(tmp_path, 4)
    begin = time.monotonic()
    with Run(which, tmp_path, writes(path), log=f"k8s-file:{fifo}") as one:
        one.message()
        assert one.wait(60) == 0
        assert one.exit_file() == "0"
    assert 8 < time.monotonic() - begin < 40


@both
def test_stopping_reader(which, tmp_path):
    """One that stops for 3 s. conmon holds the container up; we do so for half a second, then drop and say how much."""
    path = source(tmp_path, 16)

    def pause(n, stopped=[]):  # noqa: B006  (once)
        if n > MIB and not stopped:
            stopped.append(n)
            time.sleep(3)

    text = shell(f"cat {path}; sleep 4; echo last")
    code, got = fifo_run(which, tmp_path, text, pause=pause)
    assert code == 0
    records = parse_log(got.read_bytes())
    assert records[-1].content == b"last"
    if which.reference:
        return
    notes = [record.content for record in records if record.content.startswith(b"podspan: ")]
    there = [record.content + b"\n" for record in records if not record.content.startswith(b"podspan: ")]
    assert notes and all(b"bytes of log lost" in note for note in notes)
    lost = sum(int(note.split()[1]) for note in notes)
    # Whole lines, in order, and the account adds up.
    lines = path.read_bytes().splitlines(keepends=True)
    assert lost + sum(map(len, there)) == sum(map(len, lines)) + len(b"last\n")
    left = iter(lines + [b"last\n"])
    assert all(any(line == wanted for wanted in left) for line in there)


@both
def test_terminal(which, tmp_path):
    """A terminal takes 4 KiB at a time."""
    path = source(tmp_path, 2)
    master, slave = pty.openpty()
    tty.setraw(slave)
    got = tmp_path / "got"
    thread = Reader(None, got, fd=master, size=1000)
    with Run(which, tmp_path, writes(path), log=f"k8s-file:{os.ttyname(slave)}") as one:
        one.message()
        assert one.wait(60) == 0
    os.close(slave)
    thread.join(60)
    assert same(got, path, tmp_path)


@both
def test_device_that_refuses(which, tmp_path):
    """/dev/full has no room, and that is what is said."""
    with Run(which, tmp_path, shell("echo line; exit 3"), log="k8s-file:/dev/full", stdio=(None, None, open(
            tmp_path / "stderr", "wb"))) as one:
        one.message()
        assert one.wait() == 3
    if not which.reference:
        said = (tmp_path / "stderr").read_text()
        assert said == "" or "No space left on device" in said and "Input/output" not in said


LOOP = "while read n; do echo $n; done"


def folder_run(which, tmp_path, *options):
    logs = tmp_path / "logs"
    logs.mkdir(exist_ok=True)
    return logs, Run(which, tmp_path, shell(LOOP), "-i", *options, log=f"k8s-file:{logs}/0.log")


@both
def test_folder_deleted_and_made_again(which, tmp_path):
    """The path is what the caller named: a reopened log is there, in the new folder."""
    logs, run = folder_run(which, tmp_path)
    with run as one:
        one.message()
        with one.attach() as client:
            client.send(b"first\n")
            client.read_until(b"first\n")
            shutil.rmtree(logs)
            logs.mkdir()
            one.ctl(b"2 0 0\n")
            wait_for((logs / "0.log").exists, "the new log")
            client.send(b"second\n")
            client.read_until(b"second\n")
            wait_for(lambda: content(parse_log((logs / "0.log").read_bytes())) == b"second\n", "the line")


@subject_only
def test_folder_missing_at_the_reopen(which, tmp_path):
    """The log is there again once the folder is."""
    logs, run = folder_run(which, tmp_path)
    with run as one:
        one.message()
        with one.attach() as client:
            shutil.rmtree(logs)
            one.ctl(b"2 0 0\n")
            client.send(b"first\n")
            client.read_until(b"first\n")
            logs.mkdir()

            def written():
                client.send(b"more\n")
                client.read_until(b"more\n")
                return (logs / "0.log").exists() and b"more\n" in content(parse_log((logs / "0.log").read_bytes()))

            wait_for(written, "the log", interval=0.2)


@subject_only
@pytest.mark.parametrize("rotate", [False, True])
def test_folder_made_again_before_the_size_is_reached(which, rotate, tmp_path):
    """A log that begins again for its size follows its path, too."""
    logs, run = folder_run(which, tmp_path, "--log-size-max", "2000", *(["--log-rotate"] if rotate else []))
    with run as one:
        one.message()
        with one.attach() as client:
            shutil.rmtree(logs)
            logs.mkdir()

            def there():
                client.send(b"x" * 100 + b"\n")
                client.read_until(b"x\n")
                return (logs / "0.log").exists()

            wait_for(there, "the log", interval=0.01)


@subject_only
def test_no_file_is_longer_than_its_size(which, tmp_path):
    """A line that is longer than the whole file may be is split into records that fit."""
    path = source(tmp_path, 1, "1 MiB lines")
    with Run(which, tmp_path, writes(path), "--log-size-max", "8192", "--log-rotate", "--log-max-files", "500") as one:
        one.message()
        assert one.wait(60) == 0
        logs = [one.log_path.with_name(f"log.{number}") for number in range(500, 0, -1)] + [one.log_path]
        logs = [log for log in logs if log.exists()]
        assert all(log.stat().st_size <= 8192 for log in logs)
        assert b"".join(content(parse_log(log.read_bytes())) for log in logs) == path.read_bytes()
