"""conmon's contract, item by item, with a runtime that has no containers: podspan-conmon beside Debian's conmon."""

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

from lib import conmon
from lib.amounts import carry
from lib.conmon import STDERR, STDOUT, Run, content, process, shell
from lib.journal import Journal
from lib.monitors import both, fixture_everything_ends, fixture_which, subject_only  # noqa: F401  (fixtures)
from lib.paths import built
from lib.process import run, wait_for


# ---- command line ----


@both
def test_version_and_help(which):
    """CRI-O reads a semantic version from the third word, and looks for options in the help."""
    shown = run(which.path, "--version").stdout
    first = shown.splitlines()[0].split()
    assert first[:2] == ["conmon", "version"]
    version = tuple(int(part) for part in re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", first[2]).groups())
    assert version >= (2, 1, 2)
    usage = run(which.path, "--help").stdout
    for option in ("--sync", "--log-global-size-max", "--sdnotify-socket", "--full-attach", "--exit-command-arg"):
        assert option in usage
    for option in () if which.reference else ("--log-rotate", "--log-max-files", "--log-label", "--log-allowlist-dir"):
        assert option in usage


_ID = "a" * 64
_ERRORS = [
    ([], "Container ID not provided. Use --cid"),
    (["-c", _ID], "Container UUID not provided. Use --cuuid"),
    (["-c", _ID, "-u", _ID], "Runtime path not provided. Use --runtime"),
    (["-c", _ID, "-u", _ID, "-r", "/no/such/runtime"], "Runtime path /no/such/runtime is not valid"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true"], "Log driver not provided. Use --log-path"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-l", ""], "log-path must not be empty"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-l", "k8s-file:"], "k8s-file requires a filename"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-l", "nonsense:/tmp/x"], "No such log driver nonsense"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-l", "/no/such/folder/log"], "Failed to open log file"),
    (["-c", "short", "-u", _ID, "-r", "/bin/true", "-l", "journald:"], "Container ID must be longer than 12 characters"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "--exec-attach", "-l", "none"], "Attach can only be specified with exec"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-e", "--exec-process-spec", "/x", "--exec-attach", "-l", "none"],
     "Attach can only be specified for a non-legacy exec session"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-e", "--exec-process-spec", "/x", "--api-version", "1", "--exec-attach",
      "-l", "none"], "--attach specified but _OCI_ATTACHPIPE was not"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-e", "-l", "none"], "Exec process spec path not provided"),
    (["-c", _ID, "-u", _ID, "-r", "/bin/true", "-l", "log", "--log-tag", "t"],
     "k8s-file doesn't support --log-tag"),
    (["--no-such-option"], "no-such-option"),
    (["-T", "abc"], "abc"),
]


@both
@pytest.mark.parametrize("arguments, text", _ERRORS, ids=[text[:30] for _, text in _ERRORS])
def test_errors(which, arguments, text, tmp_path):
    """What is wrong with a command line is said as conmon says it, with exit code 1, in conmon's order."""
    done = run(which.path, *arguments, cwd=tmp_path, check=False, timeout=10)
    said = done.stderr or done.stdout if which.reference else done.stderr
    assert said.startswith(("[conmon:e]", "conmon: "))
    assert text in said
    # The attach pipe is looked for after the fork.
    assert done.returncode == (0 if "ATTACHPIPE" in text else 1)


@both
def test_directory_as_runtime(which, tmp_path):
    """What cannot be run is found out after the fork: the parent ends well, and the caller is told (not by conmon)."""
    with Run(which, tmp_path, "", runtime=tmp_path) as one:
        assert one.parent_code == 0
        message = one.message()
        assert (message is None) if which.reference else message["pid"] == -1


@both
def test_leftover_arguments(which, tmp_path):
    """`--api-version 1` leaves a positional 1, as podman passes it; -x=v, --x=v and joined short options work."""
    with Run(which, tmp_path, shell("exit 3"), "stray", "--log-level=debug", api=1) as one:
        assert one.message()["data"] > 0
        assert one.wait() == 3


_ARGUMENTS = {
    "create": {},
    "create with everything": {"options": [
        "-s", "--runtime-arg", "--root=/r", "--runtime-arg", "--log", "--runtime-opt", "--preserve-fds", "--runtime-opt",
        "0", "--no-pivot", "--no-new-keyring", "--syslog", "--log-level", "warning", "--log-size-max", "-1",
        "--replace-listen-pid", "--no-sync-log", "--leave-stdin-open", "-i"]},
    "terminal": {"terminal": True},
    "restore": {"restore": "/check/point", "options": ["--restore-arg", "--tcp-established", "--runtime-opt",
                                                       "--file-locks"]},
    "exec": {"exec_": True, "foreground": True},
    "exec with everything": {"exec_": True, "foreground": True, "terminal": True, "options": [
        "-s", "--runtime-arg", "--root=/r", "-T", "30", "--log-global-size-max", "16777216"]},
    "exec --attach": {"exec_": True, "exec_attach": True, "api": 1, "options": ["-i", "--exit-delay", "0"]},
}


@pytest.mark.parametrize("case", _ARGUMENTS)
def test_runtime_arguments(case, tmp_path):
    """The runtime is called with the same arguments and environment, whichever the monitor."""
    seen = {}
    options = dict(_ARGUMENTS[case])
    extra = options.pop("options", [])
    for which in (conmon.reference(), conmon.subject()):
        path = tmp_path / f"{which.name}.record"
        with Run(which, tmp_path, shell("exit 0", record=path), *extra, identifier="b" * 64,
                 env={"LISTEN_PID": "1", "LISTEN_FDS": "0", "KEPT": "as it is"}, **options) as one:
            if "exec_attach" in options:
                assert one.attach_message() == {"data": 0}
                one.second_start()
            wait_for(path.exists, "the record")
            one.wait()
            arguments, environment = path.read_bytes().decode().split("\0\0", 1)
            words = re.sub(r"/\S*conmon-term\.\w+|/\S*console\S*|/proc/self/fd/\S+", "CONSOLE",
                           arguments.replace(str(one.folder), "FOLDER").replace("\0", " "))
            values = dict(line.split("=", 1) for line in environment.split("\0") if line)
            for name in ("_OCI_SYNCPIPE", "_OCI_STARTPIPE", "_OCI_ATTACHPIPE", "TRACEPARENT", "TRACESTATE", "BAGGAGE"):
                values.pop(name, None)
            if case == "create with everything":
                assert values.pop("LISTEN_PID") != "1"
            seen[which.name] = words, values
    assert seen["conmon"][0].split()[1:] == seen["podspan-conmon"][0].split()[1:]
    assert seen["conmon"][1] == seen["podspan-conmon"][1]
    assert seen["conmon"][1]["KEPT"] == "as it is"


# ---- messages, files, exit codes ----

_ENDS = {"0": ("exit 0", 0), "7": ("exit 7", 7), "255": ("exit 255", 255), "KILL": ("kill -KILL $$", 137),
         "TERM": ("kill -TERM $$", 143), "SEGV": ("ulimit -c 0; kill -SEGV $$", 139)}


@both
@pytest.mark.parametrize("script, code", _ENDS.values(), ids=_ENDS)
def test_create(which, script, code, tmp_path):
    """The message, the pid files, the exit files and its own exit code."""
    with Run(which, tmp_path, shell(script)) as one:
        assert one.parent_code == 0
        raw = one.raw_message()
        assert raw == b'{"pid": %d}\n' % one.container_pid
        assert one.wait() == code
        assert (one.exit_file(), one.persist_file()) == (str(code), str(code))
        assert one.raw_message() == b""
        assert sorted(path.name for path in one.exits.iterdir()) == [one.id]
        assert one.monitor_pidfile.read_text(encoding="ascii") == str(one.pid)


@both
def test_create_api_1(which, tmp_path):
    """podman's key, through podman's kind of socket."""
    with Run(which, tmp_path, shell("exit 4"), api=1, sync=socket.SOCK_SEQPACKET) as one:
        assert one.raw_message() == b'{"data": %d}\n' % one.container_pid
        assert one.wait() == 4
        assert one.raw_message() == b""


_FAILURES = {
    "message": ({"stderr": r'broken "quote" back\\slash\nand /slash\x09tab\x01\x7f\x1b \xc3\xa9\n', "exit": 1},
                rb'{"pid": -1, "message": "broken \"quote\" back\\slash\nand \/slash\ttab\u0001\u007f\u001b ' +
                b'\xc3\xa9\\n"}\n'),
    "no message": ({"exit": 3}, None),
    "killed": ({"stderr": r"dying\n", "kill": 9}, rb'{"pid": -1, "message": "dying\n"}' + b"\n"),
    "long message": ({"flood": 20000, "exit": 1}, None),
}


@both
@pytest.mark.parametrize("case", _FAILURES)
def test_create_fails(which, case, tmp_path):
    """What the runtime says about it goes to the caller, in one message, escaped; no exit file is written."""
    words, wanted = _FAILURES[case]
    with Run(which, tmp_path, process(**words)) as one:
        raw = one.raw_message()
        if which.reference:
            # 2.1.6 escapes no slash, and says nothing if the runtime does not.
            assert raw == (wanted.replace(rb"\/", b"/") if wanted else raw)
        elif wanted:
            assert raw.replace(rb"\/", b"/") == wanted.replace(rb"\/", b"/")
        message = json.loads(raw or '{"pid": -1}')
        assert message["pid"] == -1 and (raw or which.reference)
        if case == "long message":
            assert 8000 <= len(message["message"]) <= 8192 and set(message["message"]) == {"x"}
        assert one.wait() == 1
        assert one.exit_file() is None and one.persist_file() is None


@both
def test_no_pid_file(which, tmp_path):
    """A runtime that ends well without a pid file: the caller is told."""
    with Run(which, tmp_path, shell("sleep 0.2", no_pidfile=1)) as one:
        message = one.message()
        assert (message is None) if which.reference else message["pid"] == -1
        assert one.wait() == 1


@subject_only
def test_no_terminal(which, tmp_path):
    """A runtime that sets up no terminal although there is to be one; conmon 2.1.6 says nothing."""
    with Run(which, tmp_path, shell("exit 0", no_console=1), terminal=True) as one:
        message = one.message()
        assert message["pid"] == -1
        assert "terminal" in message["message"]
        assert one.wait() == 1


@both
def test_slow_runtime_that_talks(which, tmp_path):
    """What a runtime prints to standard error before it succeeds is the log's, and no failure."""
    with Run(which, tmp_path, shell("echo out; exit 0", stderr=r"warning\n")) as one:
        assert one.message()["pid"] > 0
        assert one.wait() == 0
        assert content(one.log(), "stdout") == b"out\n"
        assert content(one.log(), "stderr") == b"warning\n"


@subject_only
def test_runtime_that_talks_much(which, tmp_path):
    """More than a pipe holds: conmon would wait for ever for a runtime that waits for it."""
    with Run(which, tmp_path, shell("echo out; exit 0", flood=300000)) as one:
        assert one.message()["pid"] > 0
        assert one.wait() == 0
        assert content(one.log(), "stderr").rstrip(b"\n") == b"x" * 300000


@both
@pytest.mark.parametrize("script, code", [("exit 0", 0), ("echo out; echo err >&2; exit 7", 7),
                                          ("kill -KILL $$", 137)])
@pytest.mark.parametrize("foreground", [True, False], ids=["sync", "daemon"])
def test_exec(which, script, code, foreground, tmp_path):
    """CRI-O's ExecSync: one message at the end."""
    with Run(which, tmp_path, shell(script), exec_=True, foreground=foreground) as one:
        assert one.raw_message() == b'{"exit_code": %d}\n' % code
        assert one.raw_message() == b""
        if foreground:
            assert one.wait() == code
        records = one.log()
        if code == 7:
            assert (content(records, "stdout"), content(records, "stderr")) == (b"out\n", b"err\n")
            assert {record.tag for record in records} == {"F"}


@both
def test_exec_fails(which, tmp_path):
    """The runtime's words, with the key of the old protocol."""
    with Run(which, tmp_path, process(stderr=r"exec failed: no such file\n", exit=1), exec_=True,
             foreground=True) as one:
        message = one.message()
        assert message["exit_code"] == -1
        assert "exec failed: no such file" in message["message"]
        assert one.wait() != 0


@both
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_exec_timeout(which, terminal, tmp_path):
    """After the timeout the process and its group are killed, and the caller is told so."""
    begin = time.monotonic()
    with Run(which, tmp_path, shell("sleep 1000 & echo begun; wait"), "-T", "1", exec_=True, foreground=True,
             terminal=terminal) as one:
        assert one.message() == {"exit_code": -1, "message": "command timed out"}
        # GLib's timers of whole seconds may be early.
        assert (0.5 if which.reference else 0.95) <= time.monotonic() - begin < 6
        assert one.wait() == 255
        wait_for(lambda: conmon.dead(one.container_pid), "the process is gone")
        assert b"begun" in content(one.log())


@both
def test_exec_within_the_timeout(which, tmp_path):
    """A timeout that is not reached changes nothing."""
    with Run(which, tmp_path, shell("exit 5"), "-T", "30", exec_=True, foreground=True) as one:
        assert one.message() == {"exit_code": 5}
        assert one.wait() == 5


@both
def test_create_timeout(which, tmp_path):
    """podman run --timeout."""
    with Run(which, tmp_path, shell("sleep 1000"), "--timeout=1", api=1) as one:
        assert one.message()["data"] > 0
        assert one.wait() == 255
        wait_for(lambda: conmon.dead(one.container_pid), "the process is gone")
        assert one.exit_file() == "-1"


@both
def test_exec_api_1(which, tmp_path):
    """podman's exec: the pid, then the exit code; the output only through the attach socket."""
    with Run(which, tmp_path, shell("read line; echo got $line; echo err >&2; exit 9"), "-i", exec_=True,
             exec_attach=True, api=1, log="none", sync=socket.SOCK_SEQPACKET) as one:
        assert one.attach_message() == {"data": 0}
        with one.attach() as client:
            one.second_start()
            assert one.message() == {"data": one.container_pid}
            client.send(b"hello\n")
            assert client.read_all() == {STDOUT: b"got hello\n", STDERR: b"err\n"}
        assert one.message() == {"data": 9}
        assert one.wait() == 9
        assert one.exit_file() == "9"


@both
def test_exec_api_1_fails(which, tmp_path):
    """The same when the runtime cannot."""
    with Run(which, tmp_path, process(stderr=r"no such file\n", exit=127), exec_=True, exec_attach=True, api=1,
             log="none", sync=socket.SOCK_SEQPACKET) as one:
        assert one.attach_message() == {"data": 0}
        one.second_start()
        message = one.message()
        assert message["data"] == -1 and "no such file" in message["message"]
        one.wait()


@both
def test_background_process_keeps_standard_output(which, tmp_path):
    """The end is the container's end, whoever still holds its standard output."""
    with Run(which, tmp_path, shell("setsid sleep 30 & echo $! out; exit 6")) as one:
        assert one.message()["pid"] > 0
        begin = time.monotonic()
        assert one.wait() == 6
        assert time.monotonic() - begin < 10
        sleeping, word = content(one.log()).split()
        assert word == b"out"
        os.kill(int(sleeping), signal.SIGKILL)
        conmon.reap(int(sleeping))


@both
def test_orphans_are_reaped(which, tmp_path):
    """What the container leaves behind becomes the monitor's, which collects it."""
    with Run(which, tmp_path, shell("(sleep 0.05 & echo $!) ; while read line; do :; done"), "-i") as one:
        one.message()
        one.wait_log(b"\n")
        orphan = int(content(one.log()))
        wait_for(lambda: not os.path.exists(f"/proc/{orphan}"), "the orphan is collected", interval=0.005)
        with one.attach() as client:
            client.shutdown()
            assert one.wait() == 0


@both
def test_terminate(which, tmp_path):
    """SIGTERM is for the container."""
    with Run(which, tmp_path, shell("trap 'exit 21' TERM; echo ready; while :; do sleep 0.05; done")) as one:
        one.message()
        one.wait_log(b"ready\n")
        os.kill(one.pid, signal.SIGTERM)
        assert one.wait() == 21
        assert one.exit_file() == "21"


@both
def test_pipe_signal(which, tmp_path):
    """SIGPIPE, which systemd sends to the processes of CRI-O's scopes, does nothing."""
    with Run(which, tmp_path, shell("read x; exit 2"), "-i") as one:
        one.message()
        os.kill(one.pid, signal.SIGPIPE)
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 2


@subject_only
def test_caller_is_gone(which, tmp_path):
    """Nobody reads the sync pipe when the pid is there: the container runs all the same. 2.1.6 gives up."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Run(which, tmp_path, shell("exit 8", wait=fifo)) as one:
        one.hang_up()
        with open(fifo, "wb"):
            pass
        one.wait()
        wait_for(lambda: one.exit_file() == "8", "the exit file")


# ---- descriptors and environment ----


@both
def test_inherited_descriptors(which, tmp_path):
    """Descriptors of the caller reach the runtime and stay with the monitor up to the exit file, as podman needs it."""
    kept_read, kept_write = os.pipe()
    fds = tmp_path / "fds"
    with Run(which, tmp_path, shell("read x; exit 0", fds=fds), "-i", pass_fds=[kept_write]) as one:
        os.close(kept_write)
        one.message()
        opened = {int(line) for line in fds.read_text(encoding="ascii").split()}
        assert opened == {0, 1, 2, kept_write}
        assert str(kept_write) in os.listdir(f"/proc/{one.pid}/fd")
        exits = []
        with one.attach() as client:
            client.send(b"\n")
            os.read(kept_read, 1)
            exits.append(one.exit_file())
            assert one.wait() == 0
        assert one.exit_file() == "0"
    os.close(kept_read)


@both
def test_exit_command(which, tmp_path):
    """After the exit file, with standard descriptors only, its arguments and our environment."""
    proof = tmp_path / "proof"
    script = f"ls /proc/self/fd >{proof}.fds; cat {{exits}} >{proof}.exit; echo \"$KEPT $1 $2\" >{proof}"
    extra_read, extra_write = os.pipe()
    exits = tmp_path / "exits"
    one = Run(which, tmp_path, shell("exit 3"), "--exit-command", "/bin/sh", "--exit-command-arg", "-c",
              "--exit-command-arg", script.format(exits=exits / ("c" * 64)), "--exit-command-arg", "zero",
              "--exit-command-arg", "one", "--exit-command-arg", "two words", identifier="c" * 64, exit_dir=exits,
              env={"KEPT": "kept"}, pass_fds=[extra_write])
    with one:
        assert one.message()["pid"] > 0
        assert one.wait() == 3
        assert proof.read_text(encoding="ascii") == "kept one two words\n"
        assert (tmp_path / "proof.exit").read_text(encoding="ascii") == "3"
        # ls has one of its own for the folder.
        assert len((tmp_path / "proof.fds").read_text(encoding="ascii").split()) == 4
    os.close(extra_read)
    os.close(extra_write)


@both
def test_exit_command_after_a_failure(which, tmp_path):
    """Also when the runtime could not create the container."""
    proof = tmp_path / "proof"
    with Run(which, tmp_path, process(exit=1), "--exit-command", "/usr/bin/touch", "--exit-command-arg", proof) as one:
        assert one.message() in (None, {"pid": -1})
        assert one.wait() == 1
        assert proof.exists()


@both
def test_exit_delay(which, tmp_path):
    """The delay is before the exit command only."""
    proof = tmp_path / "proof"
    with Run(which, tmp_path, shell("exit 0"), "--exit-command", "/usr/bin/touch", "--exit-command-arg", proof,
             "--exit-delay", "1") as one:
        one.message()
        wait_for(lambda: one.exit_file() == "0", "the exit file", timeout=5, interval=0.005)
        assert not proof.exists()
        assert one.wait() == 0
        assert proof.exists()


@both
def test_standard_descriptors(which, tmp_path):
    """Without -i the container reads nothing; the working folder and the umask are as they were."""
    with Run(which, tmp_path, shell("cat; readlink /proc/$$/fd/0; umask; exit 0")) as one:
        one.message()
        assert one.wait() == 0
        assert content(one.log()) == b"/dev/null\n0022\n"


@both
def test_modes(which, tmp_path):
    """Who may open what it makes."""
    with Run(which, tmp_path, shell("read x"), "-i") as one:
        one.message()
        modes = {name: (one.bundle / name).stat().st_mode & 0o777 for name in ("ctl", "winsz", "attach")}
        assert modes["attach"] == 0o700
        assert modes["ctl"] == modes["winsz"] == 0o640
        assert one.log_path.stat().st_mode & 0o777 in (0o600, 0o640)


# ---- attach ----


@both
@pytest.mark.parametrize("full", [False, True], ids=["symlink", "full"])
def test_attach_socket(which, full, tmp_path):
    """Where the socket is, and that it goes at the end."""
    with Run(which, tmp_path, shell("read x"), "-i", *(["--full-attach"] if full else [])) as one:
        one.message()
        link = one.sockets / one.id
        assert (one.bundle / "attach").exists()
        if full:
            assert not link.is_symlink()
        else:
            assert link.resolve() == one.bundle.resolve()
        with one.attach() as client:
            client.send(b"\n")
            assert one.wait() == 0
        assert not (one.bundle / "attach").exists()
        # 2.1.6 leaves the link, which newer versions do not.
        assert which.reference or not link.is_symlink()


@both
def test_attach_streams(which, tmp_path):
    """Both streams, marked, in packets that a client of conmon's can take; nothing of before."""
    with Run(which, tmp_path, shell(
            "echo early; read x; echo $x; echo err >&2; head -c 100000 /dev/zero | tr '\\0' y; exit 0"), "-i") as one:
        one.message()
        one.wait_log(b"early\n")
        with one.attach() as first, one.attach() as second:
            first.send(b"hello\n")
            got, largest = {}, 0
            while (packet := first.packet()) is not None:
                largest = max(largest, len(packet[1]))
                got[packet[0]] = got.get(packet[0], b"") + packet[1]
            assert largest <= 8192
            assert got == {STDOUT: b"hello\n" + b"y" * 100000, STDERR: b"err\n"}
            assert second.read_all() == got
        assert one.wait() == 0
        assert content(one.log(), "stdout") == b"early\nhello\n" + b"y" * 100000


@both
@pytest.mark.parametrize("options, ends", [(["-i"], True), (["-i", "--leave-stdin-open"], False)],
                         ids=["closed", "left open"])
def test_end_of_input(which, options, ends, tmp_path):
    """A client's end is the end of standard input, unless that is to be left open."""
    with Run(which, tmp_path, shell("cat; exit 5"), *options) as one:
        one.message()
        with one.attach() as client:
            client.send(b"first\n")
            one.wait_log(b"first\n")
            client.shutdown()
            if ends:
                assert one.wait() == 5
                return
        with one.attach() as client:
            client.send(b"second\n")
            one.wait_log(b"second\n")
            assert one.alive()


@both
def test_no_input(which, tmp_path):
    """Without -i what a client sends goes nowhere."""
    with Run(which, tmp_path, shell("cat; echo done; sleep 0.3; exit 0")) as one:
        one.message()
        with contextlib.suppress(FileNotFoundError, ConnectionError), one.attach() as client:
            client.send(b"lost\n")
        assert one.wait() == 0
        assert content(one.log()) == b"done\n"


@both
def test_much_input(which, tmp_path):
    """A megabyte through a client whose container reads slowly arrives whole."""
    with Run(which, tmp_path, shell("sleep 0.2; md5sum; exit 0"), "-i") as one:
        one.message()
        data = os.urandom(1 << 20)
        with one.attach() as client:
            for begin in range(0, len(data), 8192):
                client.send(data[begin:begin + 8192])
            client.shutdown()
            assert one.wait() == 0
        expected = subprocess.run(["md5sum"], input=data, capture_output=True, check=True).stdout
        assert content(one.log()) == expected


@both
def test_no_bundle_no_socket(which, tmp_path):
    """CRI-O's ExecSync gives no bundle: neither socket nor FIFOs."""
    with Run(which, tmp_path, shell("exit 0"), exec_=True, foreground=True) as one:
        assert one.message() == {"exit_code": 0}
        one.wait()
        assert not {"attach", "ctl", "winsz"} & {path.name for path in one.bundle.iterdir()}


# ---- ctl, winsz, terminal ----

_SIZES = [(b"24 80", b"24 80"), (b"0007 1000 and more", b"7 1000"), (b"-1 5", None), (b"1001 5", None),
          (b"0x10 5", None), (b"", None), (b"one two", None), (b"2", None), (b"9" * 150, None), (b"0 0", b"0 0")]


@both
@pytest.mark.parametrize("fifo", ["ctl", "winsz"])
def test_window_size(which, fifo, tmp_path):
    """`1 HEIGHT WIDTH` to ctl, `HEIGHT WIDTH` to winsz; what is neither is passed over."""
    prefix = b"1 " if fifo == "ctl" else b""
    with Run(which, tmp_path, shell("while sleep 0.01; do stty size; done"), terminal=True) as one:
        one.message()
        for number, (line, size) in enumerate(_SIZES):
            one.ctl(prefix + line + b"\n", fifo)
            if size:
                one.wait_log(size + b"\r\n")
            elif which.reference:
                # It may lose what comes with what it refuses.
                time.sleep(0.05)
            one.ctl(prefix + b"50 %d\n" % (60 + number), fifo)
            one.wait_log(b"50 %d\r\n" % (60 + number))
        if which.reference:
            return
        # Several lines at once, and a line in two pieces; 2.1.6 loses them.
        one.ctl(prefix + b"11 12\n" + prefix + b"13 14\n" + prefix + b"1", fifo)
        one.wait_log(b"13 14\r\n")
        one.ctl(b"5 16\n", fifo)
        one.wait_log(b"15 16\r\n")
        sizes = set(content(one.log()).replace(b"\r", b"").split(b"\n")) - {b"", b"11 12"}
        assert {size for size in sizes if not size.startswith(b"50 ")} == {
            b"24 80", b"7 1000", b"0 0", b"13 14", b"15 16"}


# ---- logs ----


@both
def test_log_format(which, tmp_path):
    """Time with its offset, never Z; F for a line, P for what has no end, both streams in one file."""
    script = "echo one; echo two >&2; echo; printf '\\303\\251 tab\\tend\\n'; printf 'no end'"
    with Run(which, tmp_path, shell(script), env={"TZ": "Asia/Kolkata"}) as one:
        before = time.time()
        one.message()
        assert one.wait() == 0
        records = one.log()
        assert [(record.tag, record.content) for record in records if record.stream == "stdout"] == [
            ("F", b"one"), ("F", b""), ("F", "é tab\tend".encode()), ("P", b"no end")]
        assert [(record.tag, record.content) for record in records if record.stream == "stderr"] == [("F", b"two")]
        for record in records:
            assert record.stamp.endswith("+05:30")
            stamp = datetime.datetime.fromisoformat(record.stamp[:26] + record.stamp[29:]).timestamp()
            assert before - 5 < stamp < time.time() + 1
        assert [record.stamp for record in records] == sorted(record.stamp for record in records)


_DRIVERS = {"path": "{log}", ":path": ":{log}", "k8s-file": "k8s-file:{log}"}


@both
@pytest.mark.parametrize("driver", _DRIVERS)
def test_log_path(which, driver, tmp_path):
    """The spellings of the same driver."""
    one = Run(which, tmp_path, shell("echo line"), log=False)
    one.command += ["-l", _DRIVERS[driver].format(log=one.log_path)]
    with one:
        one.message()
        assert one.wait() == 0
        assert content(one.log()) == b"line\n"


@both
@pytest.mark.parametrize("driver", ["none", "off", "null", "none:", "passthrough"])
def test_no_log(which, driver, tmp_path):
    """Drivers that write nothing; with passthrough the container has its caller's own descriptors."""
    with open(tmp_path / "stdout", "wb") as stdout, open(tmp_path / "stderr", "wb") as stderr:
        with Run(which, tmp_path, shell("echo line; echo error >&2; exit 3"), log=driver,
                 stdio=(None, stdout, stderr)) as one:
            one.message()
            assert one.wait() == 3
    said = (tmp_path / "stdout").read_bytes(), (tmp_path / "stderr").read_bytes()
    assert said == ((b"line\n", b"error\n") if driver == "passthrough" else (b"", b""))


@both
def test_several_drivers(which, tmp_path):
    """A file and journald at once, as CRI-O has it with `log_to_journald`."""
    with Journal() as journal, Run(which, tmp_path, shell("echo line; exit 0"), "-l", "journald:") as one:
        one.message()
        assert one.wait() == 0
        assert content(one.log()) == b"line\n"
        assert [record["CONTAINER_ID_FULL"] for record in journal.records()] == [one.id.encode()]


@both
def test_log_size_max(which, tmp_path):
    """Beyond its size a log begins again, and the last record is in it."""
    with Run(which, tmp_path, shell("i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; done"),
             "--log-size-max", "4096") as one:
        one.message()
        assert one.wait() == 0
        assert one.log_path.stat().st_size <= 4096
        records = one.log()
        assert records[-1].content == b"line 300"
        numbers = [int(record.content.split()[1]) for record in records]
        assert numbers == list(range(numbers[0], 301))


@both
def test_log_global_size_max(which, tmp_path):
    """The limit of an ExecSync: what is beyond it is dropped, the process runs on."""
    with Run(which, tmp_path, shell("head -c 300000 /dev/zero | tr '\\0' x; exit 4"), "--log-global-size-max", "100000",
             exec_=True, foreground=True) as one:
        assert one.message() == {"exit_code": 4}
        assert one.wait() == 4
        # conmon looks at it once a read.
        assert 60000 <= len(content(one.log()).replace(b"\n", b"")) <= 100000 + 16384


@subject_only
@pytest.mark.parametrize("files", [1, 3])
def test_log_rotate(which, files, tmp_path):
    """--log-rotate (conmon 2.2): older files get numbers, and without a limit that bites nothing is lost."""
    with Run(which, tmp_path, shell("i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done"), "--log-rotate",
             "--log-max-files", str(files), "--log-size-max", "2500") as one:
        one.message()
        assert one.wait() == 0
        logs = [one.log_path.with_name(f"log.{number}") for number in range(9, 0, -1)] + [one.log_path]
        logs = [path for path in logs if path.exists()]
        assert 2 <= len(logs) <= files + 1
        numbers = [int(record.content.split()[1]) for path in logs for record in conmon.parse_log(path.read_bytes())]
        assert numbers == list(range(numbers[0], 101))
        assert files < 3 or numbers[0] == 1


@both
def test_reopen(which, tmp_path):
    """kubelet renames the log away and asks for a new one; nothing is lost in between."""
    script = "while read n; do i=0; while [ $i -lt $n ]; do i=$((i+1)); echo line $i; done; done"
    with Run(which, tmp_path, shell(script), "-i") as one:
        one.message()
        lost = []
        with one.attach() as client:
            for turn in range(5):
                client.send(b"400\n")
                one.wait_log(b"line 1\n")
                away = one.log_path.with_name(f"away{turn}")
                os.rename(one.log_path, away)
                one.ctl(b"2 0 0\n")
                wait_for(one.log_path.exists, "the new log", interval=0.005)
                client.read_until(b"line 400\n")
                # What is being written may be seen half-way.
                wait_for(lambda: away.read_bytes().endswith(b"\n") and one.log_path.read_bytes()[-1:] in (b"", b"\n") and
                         content(conmon.parse_log(away.read_bytes()) + one.log()).endswith(b"line 400\n"),
                         "the rest", interval=0.005)
                lost.append(content(conmon.parse_log(away.read_bytes()) + one.log()) != b"".join(
                    b"line %d\n" % number for number in range(1, 401)))
                one.log_path.unlink()
                one.ctl(b"2 0 0\n")
                wait_for(one.log_path.exists, "the new log", interval=0.005)
        assert not any(lost)
        assert one.log_path.stat().st_mode & 0o777 in (0o600, 0o640)


@subject_only
def test_partial_after_silence(which, tmp_path):
    """An unfinished line shows after a moment; what follows it ends it."""
    with Run(which, tmp_path, shell("printf 'Password: '; read x; echo $x; exit 0"), "-i") as one:
        one.message()
        one.wait_log(b"Password: ")
        assert [(record.tag, record.content) for record in one.log()] == [("P", b"Password: ")]
        with one.attach() as client:
            client.send(b"secret\n")
            assert one.wait() == 0
        assert [(record.tag, record.content) for record in one.log()] == [("P", b"Password: "), ("F", b"secret")]


# ---- journald ----

_KEYS = {"MESSAGE", "CONTAINER_ID_FULL", "CONTAINER_ID", "CONTAINER_NAME", "CONTAINER_TAG", "CONTAINER_PARTIAL_MESSAGE",
         "PRIORITY", "SYSLOG_IDENTIFIER"}
_JOURNALD = {
    "plain": ("echo one; echo two >&2; exit 0", []),
    "tag": ("echo one; exit 0", ["--log-tag", "the tag"]),
    "partial": ("printf 'no end'; exit 0", []),
    "long": ("head -c 20000 /dev/zero | tr '\\0' x; echo; echo after; exit 0", []),
    "empty": ("echo; echo x; exit 0", []),
    "binary": ("printf 'a\\001b\\377c\\n'; exit 0", []),
}


@pytest.mark.parametrize("case", _JOURNALD)
def test_journald(case, tmp_path):
    """The records are conmon's: the same fields with the same values."""
    script, options = _JOURNALD[case]
    seen = {}
    for which in (conmon.reference(), conmon.subject()):
        with Journal() as journal, Run(which, tmp_path, shell(script), *options, log="journald:",
                                       identifier="d" * 64) as one:
            one.message()
            assert one.wait() == 0
            records = [{key: value for key, value in record.items() if key in _KEYS} for record in journal.records()]
        # The two streams have no order between them.
        seen[which.name] = sorted(records, key=lambda record: record["PRIORITY"], reverse=True)
    assert seen["conmon"]
    if case != "long":
        assert seen["podspan-conmon"] == seen["conmon"]
        return
    joined = {name: b"".join(record["MESSAGE"] for record in records) for name, records in seen.items()}
    assert joined["podspan-conmon"] == joined["conmon"] == b"x" * 20000 + b"\nafter\n"
    assert len(seen["podspan-conmon"]) <= len(seen["conmon"])


@subject_only
def test_journald_labels_and_priorities(which, tmp_path):
    """What conmon 2.2 has more: labels, and <N> before a line."""
    with Journal() as journal, Run(which, tmp_path, shell("echo '<4>warned'; echo plain >&2; exit 0"), "--log-label",
                                   "TEAM=storage", log="journald:") as one:
        one.message()
        assert one.wait() == 0
        warned, plain = journal.record(MESSAGE=b"warned\n"), journal.record(MESSAGE=b"plain\n")
        assert (warned["PRIORITY"], plain["PRIORITY"]) == (b"4", b"3")
        assert warned["TEAM"] == plain["TEAM"] == b"storage"


# ---- sdnotify ----


@both
def test_sdnotify(which, tmp_path):
    """The container's notifications go on, but only those that are its business."""
    outer = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        with conmon.short(outer) as path:
            receiver.bind(path)
        receiver.settimeout(10)
        one = Run(which, tmp_path, shell("read x; exit 0"), "-i", f"--sdnotify-socket={outer}")
        # The caller makes the folder, which it mounts into the container.
        (one.bundle / "notify").mkdir()
        with one:
            one.message()
            inner = one.bundle / "notify" / "notify.sock"
            assert inner.stat().st_mode & 0o777 == 0o777
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                with conmon.short(inner) as path:
                    sender.connect(path)
                lines = set()
                for text in ("MAINPID=1\nREADY=1\nSTATUS=up", "FDSTORE=1", "STOPPING=1"):
                    sender.send(text.encode())
                # 2.1.6 forwards readiness only.
                while ("READY=1" if which.reference else "STOPPING=1") not in lines:
                    lines |= set(receiver.recv(4096).decode().strip("\n").split("\n"))
            assert "READY=1" in lines and not {"MAINPID=1", "FDSTORE=1"} & lines
            assert which.reference or "STATUS=up" in lines
            with one.attach() as client:
                client.send(b"\n")
                assert one.wait() == 0


# ---- amounts ----

# The kind, MiB, bytes a write; 256 MiB of 1-byte writes are minutes, which tests/bench/log-amounts takes.
_AMOUNTS = [("100-byte lines", 256, 65536), ("1 MiB lines", 256, 65536), ("binary", 256, 65536), ("binary", 16, 777)]


@subject_only
@pytest.mark.parametrize("kind, mib, chunk", _AMOUNTS, ids=[f"{kind} by {chunk}" for kind, _, chunk in _AMOUNTS])
def test_amounts(which, kind, mib, chunk, tmp_path):
    """The log's content is the input, and lines are split only where they are longer than 16 KiB or end in silence."""
    carried = carry(which, tmp_path, kind, mib, chunk)
    assert carried.code == 0 and carried.exact
    assert not carried.needless(), "lines are split that are not too long"


_ROTATED = [("100-byte lines", 32, 4000), ("100-byte lines", 8, 1), ("1 MiB lines", 64, 65536), ("binary", 32, 777)]


@both
@pytest.mark.parametrize("kind, mib, chunk", _ROTATED, ids=[f"{kind} by {chunk}" for kind, _, chunk in _ROTATED])
def test_rotation_in_the_middle(which, kind, mib, chunk, tmp_path):
    """Reopened again and again while the container writes: nothing is lost, nothing comes twice, nothing is split."""
    carried = carry(which, tmp_path, kind, mib, chunk, rotations=12)
    assert carried.code == 0 and carried.exact and carried.pieces > 1
    assert which.reference or not carried.needless()
