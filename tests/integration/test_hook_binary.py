"""podspan-hook as a runtime sees it: what it does with its descriptors, its time and its exit code."""

import fcntl
import os
import pty
import resource
import secrets
import signal
import subprocess
import sys
import time

import pytest

from lib import protoc, spans
from lib.paths import built

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = b'{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":1,"bundle":"/nowhere","annotations":{}}'
SOON = 0.3   # seconds: no waiting was involved
BOUND = 1.5  # seconds: it waited, and gave up

_TRACES = protoc.compile_file("otlp.proto")["ExportTraceServiceRequest"]


@pytest.fixture(name="state")
def fixture_state(tmp_path):
    """A state directory with a spool."""
    (tmp_path / "state" / "spool").mkdir(parents=True)
    return tmp_path / "state"


def collected(state):
    """The spans in the spool."""
    return spans.Spans(span for path in sorted((state / "spool").glob("*.otlp"))
                       for span in spans.from_otlp(_TRACES.FromString(path.read_bytes())))


def hook_command(state, stage="createRuntime"):
    """The hook's command line."""
    return [built("podspan-hook"), "--stage", stage, "--config", "/dev/null", "--state-dir", state]


def wrap_command(state, *command):
    """The wrapper's command line."""
    return [built("podspan-hook"), "wrap", "--config", "/dev/null", "--state-dir", state, "--", *command]


def run(command, **kwargs):
    """Runs a command; returns it and how long it took."""
    begin = time.monotonic()
    done = subprocess.run(command, timeout=20, check=False, **kwargs)
    return done, time.monotonic() - begin


def reap(pid):
    """Takes the status of a grandchild whose parent is gone, if it has become ours."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_gives_a_span(state, stage):
    """Each stage of a container of which nothing is known gives one span, with no parent."""
    done, took = run(hook_command(state, stage), input=STATE, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert took < SOON
    span = collected(state).one(stage=stage)
    assert span.attributes["container.id"] == "c1"
    assert span.parent_id == spans.NO_PARENT and span.end - span.start >= 0


def test_create_begins_with_the_bundle(state, tmp_path):
    """The birth of config.json is when creating began."""
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    time.sleep(0.2)
    run(hook_command(state), input=STATE.replace(b"/nowhere", str(tmp_path).encode()))
    span = collected(state).one(stage="createRuntime")
    assert span.attributes["podspan.start.source"] == "bundle"
    assert 0.15e9 < span.end - span.start < 5e9


def test_life_of_a_container(state):
    """The record made at createRuntime gives poststop its span, and goes with it."""
    run(hook_command(state), input=STATE)
    assert [path.name for path in (state / "context" / "hook").iterdir()] == ["1-c1"]
    time.sleep(0.2)
    run(hook_command(state, "poststop"), input=STATE)
    life = [span for span in collected(state) if span.name == "container"]
    assert len(life) == 1 and 0.2e9 <= life[0].end - life[0].start < 5e9
    assert len(collected(state).trace_ids()) == 1
    assert not list((state / "context" / "hook").iterdir())


def test_command_line():
    """A wrong argument is said and does not fail a container; --help and --version work."""
    program = built("podspan-hook")
    for arguments in ((), ("--stage",), ("--stage", "start"), ("--wrong",), ("--stage", "poststop", "more")):
        done, _ = run([program, *arguments], input=STATE, capture_output=True)
        assert done.returncode == 0 and done.stdout == b"" and b"podspan-hook" in done.stderr
    for arguments in (("wrap",), ("wrap", "--"), ("wrap", "--wrong", "--", "true")):
        done, _ = run([program, *arguments], input=STATE, capture_output=True)
        assert done.returncode == 2 and done.stderr
    assert b"--stage STAGE" in run([program, "--help"], capture_output=True)[0].stdout
    assert run([program, "--version"], capture_output=True)[0].stdout.startswith(b"podspan-hook ")


def test_standard_input_of_any_kind(state, tmp_path):
    """/dev/null, a file, a closed descriptor, a directory: the hook ends at once, with exit code 0."""
    path = tmp_path / "input"
    path.write_bytes(STATE)
    for open_input in (lambda: os.open("/dev/null", os.O_RDONLY), lambda: os.open(path, os.O_RDONLY),
                       lambda: os.open("/", os.O_RDONLY)):
        descriptor = open_input()
        done, took = run(hook_command(state), stdin=descriptor)
        os.close(descriptor)
        assert done.returncode == 0 and took < SOON
    assert len(collected(state)) == 1


def test_without_standard_descriptors(state):
    """All three closed: nothing is written where it does not belong."""
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *hook_command(state)]
    done, took = run(command)
    assert done.returncode == 0 and took < SOON
    done, _ = run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *hook_command(state)], input=STATE)
    assert done.returncode == 0 and len(collected(state)) == 1


def test_reader_of_standard_error_is_gone(state):
    """A message that nobody reads is no reason to die of a signal."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    done, _ = run(hook_command(state), input=b"nonsense", stderr=write_end)
    os.close(write_end)
    assert done.returncode == 0


def test_terminal(state):
    """On a terminal nobody types a state."""
    controller, terminal = pty.openpty()
    done, took = run(hook_command(state), stdin=terminal, stderr=subprocess.DEVNULL)
    os.close(terminal)
    os.close(controller)
    assert done.returncode == 0 and took < BOUND


def test_slow_drip(state):
    """Input that comes byte by byte does not put off the end."""
    read_end, write_end = os.pipe()
    begin = time.monotonic()
    with subprocess.Popen(hook_command(state), stdin=read_end, stderr=subprocess.DEVNULL) as process:
        os.close(read_end)
        while process.poll() is None and time.monotonic() - begin < 10:
            try:
                os.write(write_end, b" ")
            except BrokenPipeError:
                break
            time.sleep(0.01)
        assert process.wait(10) == 0
    os.close(write_end)
    assert time.monotonic() - begin < BOUND


def test_open_input_with_a_whole_state(state):
    """The state is there: nothing is waited for, although the pipe stays open."""
    read_end, write_end = os.pipe()
    os.write(write_end, STATE)
    done, took = run(hook_command(state), stdin=read_end)
    os.close(read_end)
    os.close(write_end)
    assert done.returncode == 0 and took < SOON
    assert len(collected(state)) == 1


@pytest.mark.parametrize("wanted", [True, False], ids=["collected", "nobody collects"])
def test_all_input_is_read(state, tmp_path, wanted):
    """The runtime can write everything, also when it is too much or nobody wants spans."""
    read_end, write_end = os.pipe()
    where = state if wanted else tmp_path / "none"
    with subprocess.Popen(hook_command(where), stdin=read_end, stderr=subprocess.DEVNULL) as process:
        os.close(read_end)
        with open(write_end, "wb") as stream:
            stream.write(b'{"id":"c1","annotations":{"a":"' + b"b" * (3 << 20) + b'"}}')
        assert process.wait(10) == 0


def test_file_size_limit(state):
    """RLIMIT_FSIZE does not end the hook by SIGXFSZ."""
    done, _ = run(hook_command(state), input=STATE, stderr=subprocess.DEVNULL,
                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert done.returncode == 0
    assert not list((state / "spool").iterdir())


def test_wrong_configuration(state, tmp_path):
    """What cannot be read is said, and the defaults serve."""
    config = tmp_path / "podspan.conf"
    config.write_text("[podspan]\nno_such_key = 1\n", encoding="utf-8")
    done, _ = run([built("podspan-hook"), "--stage", "createRuntime", "--config", config, "--state-dir", state],
                  input=STATE, capture_output=True)
    assert done.returncode == 0 and b"podspan.conf" in done.stderr
    assert len(collected(state)) == 1


def test_tracing_off(state, tmp_path):
    """enable_tracing = false: nothing is made."""
    config = tmp_path / "podspan.conf"
    config.write_text("[podspan]\nenable_tracing = false\n", encoding="utf-8")
    run([built("podspan-hook"), "--stage", "createRuntime", "--config", config, "--state-dir", state], input=STATE)
    assert not list((state / "spool").iterdir()) and not (state / "context").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user")
def test_rootless(tmp_path):
    """Another user than root uses $XDG_RUNTIME_DIR/podspan, if it is that user's own."""
    user = 65534
    os.chmod(tmp_path.parent, 0o755)
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path.parent.parent, 0o755)
    for owner, n_spans in ((user, 1), (0, 0)):
        state = tmp_path / str(owner) / "podspan"
        (state / "spool").mkdir(parents=True)
        for path in (state.parent, state, state / "spool"):
            os.chmod(path, 0o755)
            os.chown(path, owner, owner)
        done, _ = run([built("podspan-hook"), "--stage", "createRuntime", "--config", "/dev/null"], input=STATE, user=user,
                      group=user, env={"XDG_RUNTIME_DIR": str(state.parent)}, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(collected(state)) == n_spans


def test_wrap_hands_on_everything(state):
    """Any bytes, far more than a state may have, arrive as they were, and so does the end."""
    data = secrets.token_bytes(5 << 20)
    for command in (wrap_command(state, "cat"), wrap_command(state / "none", "cat")):
        done, _ = run(command, input=data, capture_output=True)
        assert done.returncode == 0 and done.stdout == data
    assert len(collected(state)) == 1


def test_wrap_of_a_hook_that_does_not_read(state):
    """It ends when it ends, whatever is still to come."""
    read_end, write_end = os.pipe()
    done, took = run(wrap_command(state, "true"), stdin=read_end)
    os.close(read_end)
    os.close(write_end)
    assert done.returncode == 0 and took < SOON


def test_wrap_passes_input_on_as_it_comes(state):
    """A dialogue works: no byte is held back for a later one."""
    with subprocess.Popen(wrap_command(state, "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        for line in (STATE + b"\n", b"second\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(10) == 0
    assert collected(state).one().attributes["container.id"] == "c1"


def test_wrap_leaves_a_file_alone(state, tmp_path):
    """Standard input that is a file is the very same one, at the same place."""
    path = tmp_path / "input"
    path.write_bytes(b"skip" + STATE)
    with path.open("rb", buffering=0) as file:
        file.read(4)
        done, _ = run(wrap_command(state, "cat"), stdin=file, capture_output=True)
    assert done.stdout == STATE
    assert collected(state).one().attributes["container.id"] == "c1"


def test_wrap_keeps_closed_descriptors_closed(state):
    """What the hook is started without, the wrapped hook is started without."""
    done, _ = run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *wrap_command(state, "ls", "/proc/self/fd")],
                  capture_output=True)
    without, _ = run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", "ls", "/proc/self/fd"], capture_output=True)
    assert done.stdout == without.stdout and done.stdout


@pytest.fixture(name="trivial", scope="module")
def fixture_trivial(tmp_path_factory):
    """A static program that does nothing, and one that limits its address space (KiB) before it executes another."""
    folder = tmp_path_factory.mktemp("trivial")
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n", encoding="ascii")
    (folder / "limited.c").write_text(
        "#include <stdlib.h>\n#include <sys/resource.h>\n#include <unistd.h>\n"
        "int main(int argc, char **argv) { rlim_t n = strtoul(argv[1], 0, 10) << 10; struct rlimit as = { n, n };\n"
        "setrlimit(RLIMIT_AS, &as); execv(argv[2], argv + 2); return argc; }\n", encoding="ascii")
    for name in ("nothing", "limited"):
        subprocess.run(["gcc", "-O2", "-static", "-o", folder / name, folder / f"{name}.c"], check=True)
    return folder


@pytest.mark.parametrize("data", [STATE, b"", b"{" * 300, STATE[:-2] + b'"x":"' + b"\\u0041" * 3000 + b'"}}'],
                         ids=["state", "none", "nonsense", "large"])
def test_little_address_space(state, trivial, data):
    """Under every RLIMIT_AS from 1 MiB on, where a trivial static program lives, the hook exits 0, and soon."""
    outcomes = []
    for limit in (*range(1024, 1400, 8), 2048, 4096):
        nothing, _ = run([trivial / "limited", str(limit), trivial / "nothing"])
        assert nothing.returncode == 0, f"{limit} KiB are too little for any static program here"
        done, took = run([trivial / "limited", str(limit), *hook_command(state)], input=data, capture_output=True)
        outcomes.append((limit, done.returncode))
        assert took < SOON
    assert all(code == 0 for _, code in outcomes), outcomes
    if data == STATE:
        assert len(collected(state)) > 0, "with enough memory there is a span"


def test_wrap_changes_nothing_else(state, tmp_path):
    """Directory, process group, session, signal mask and dispositions, limits and environment are as without us."""
    script = ("import os, resource, signal; print(os.getcwd(), os.getpgrp(), os.getsid(0), "
              "signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGCHLD), "
              "signal.getsignal(signal.SIGUSR1), resource.getrlimit(resource.RLIMIT_CORE), "
              "sorted(set(os.environ.items()) - {('TRACEPARENT', os.environ.get('TRACEPARENT'))}))")

    def prepare():
        os.setpgid(0, 0)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    def outcome(command):
        process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                   env={"PATH": os.environ["PATH"], "BAGGAGE": "a=b"}, preexec_fn=prepare)
        output = process.communicate(timeout=20)[0]
        assert process.returncode == 0
        return output.replace(f" {process.pid} ", " GROUP ", 1)

    plain = outcome([sys.executable, "-c", script])
    assert outcome(wrap_command(state, sys.executable, "-c", script)) == plain
    assert "GROUP" in plain


def test_wrap_hands_the_context_on(state):
    """TRACEPARENT of the wrapped hook is the span of the wrapper, in the trace that the state derives."""
    done, _ = run(wrap_command(state, "sh", "-c", "echo $TRACEPARENT"), input=STATE, capture_output=True, text=False)
    span = collected(state).one()
    assert done.stdout.decode().strip() == f"00-{span.trace_id}-{span.span_id}-0{span.flags & 1}"


@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 255])
def test_wrap_exit_code(state, code):
    """The exit code is the wrapped hook's, in the span too."""
    done, _ = run(wrap_command(state, "sh", "-c", f"exit {code}"), input=STATE)
    assert done.returncode == code
    span = collected(state).one()
    assert span.attributes["process.exit.code"] == code
    assert (span.status == spans.ERROR) == (code != 0) == ("error.type" in span.attributes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGALRM,
                                    signal.SIGPIPE, signal.SIGUSR1, signal.SIGRTMIN])
def test_wrap_death_by_signal(state, number):
    """The wrapper dies of the signal that the wrapped hook died of."""
    done, _ = run(wrap_command(state, "sh", "-c", f"kill -{int(number)} $$"), input=STATE, stderr=subprocess.DEVNULL)
    assert done.returncode == -number
    span = collected(state).one()
    name = "SIGRTMIN+0" if number == signal.SIGRTMIN else number.name
    assert span.status == spans.ERROR and span.attributes["process.exit.code"] == 128 + number
    assert span.attributes["error.type"] == span.attributes["podspan.process.signal"] == name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM,
                                    signal.SIGCONT])
def test_wrap_forwards_signals(state, number):
    """A signal sent to the wrapper reaches the wrapped hook."""
    script = f"trap 'echo caught; exit 3' {int(number)}; echo up; while :; do sleep 0.02; done"
    with subprocess.Popen(wrap_command(state, "sh", "-c", script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.readline() == "caught\n"
        assert process.wait(10) == 3


def test_wrap_killed_takes_the_hook_along(state):
    """A runtime that kills the wrapper on a timeout has killed the hook."""
    with subprocess.Popen(wrap_command(state, "sh", "-c", "echo $$; exec sleep 60"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.kill()
        # The end of its output is the end of the hook.
        assert process.stdout.read() == ""
        reap(child)


def test_wrap_holds_no_output_open(state):
    """When the wrapped hook closes its output, its reader sees the end."""
    with subprocess.Popen(wrap_command(state, "sh", "-c", "echo $$; exec >&-; exec sleep 5"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as process:
        begin = time.monotonic()
        child = int(process.stdout.read())
        assert time.monotonic() - begin < 3
        process.kill()
    reap(child)


@pytest.mark.parametrize("wanted", [True, False], ids=["collected", "nobody collects"])
def test_wrap_of_what_cannot_run(state, tmp_path, wanted):
    """127 where there is no such program, 126 where it cannot be executed; the span says why."""
    where = state if wanted else tmp_path / "none"
    plain = tmp_path / "plain"
    plain.write_text("no program", encoding="utf-8")
    for command, code, error in (("/no/such/program", 127, "ENOENT"), ("no-such-program", 127, "ENOENT"),
                                 (plain, 126, "EACCES"), ("/", 126, "EACCES")):
        done, _ = run(wrap_command(where, command), input=STATE, capture_output=True)
        assert done.returncode == code and str(command).encode() in done.stderr
        if wanted:
            assert collected(state)[-1].attributes["error.type"] == error


def test_wrap_environment_context_is_the_parent(state):
    """TRACEPARENT comes before what the state says; TRACESTATE and BAGGAGE are handed on."""
    done, _ = run(wrap_command(state, "sh", "-c", 'echo "$TRACEPARENT $TRACESTATE $BAGGAGE"'), input=STATE,
                  capture_output=True, env={"PATH": os.environ["PATH"], "TRACEPARENT": TRACEPARENT, "TRACESTATE": "v=1",
                                            "BAGGAGE": "k=v"})
    span = collected(state).one()
    assert (span.trace_id, span.parent_id) == tuple(TRACEPARENT.split("-")[1:3])
    assert span.trace_state == "v=1"
    assert done.stdout.decode().split() == [f"00-{span.trace_id}-{span.span_id}-01", "v=1", "k=v"]


def test_wrap_leaves_no_blocking_mode_behind(state):
    """The caller's pipe keeps its flags."""
    read_end, write_end = os.pipe()
    os.write(write_end, STATE)
    os.close(write_end)
    before = fcntl.fcntl(read_end, fcntl.F_GETFL)
    run(wrap_command(state, "cat"), stdin=read_end, stdout=subprocess.DEVNULL)
    assert fcntl.fcntl(read_end, fcntl.F_GETFL) == before
    os.close(read_end)


def test_the_environment_of_a_runtime(state):
    """What containerd was told about its own exporter, and handed down by its shim, changes nothing here."""
    foreign = {"OTEL_SERVICE_NAME": "containerd-shim-1", "OTEL_SDK_DISABLED": "true",
               "OTEL_RESOURCE_ATTRIBUTES": "service.name=shim", "OTEL_EXPORTER_OTLP_TIMEOUT": "nonsense"}
    done, _ = run(hook_command(state), input=STATE, env={**os.environ, **foreign}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {span.service for span in collected(state)} == {"podspan-hook"}


def test_umask(state):
    """Under a runtime's umask 077 podspand, another user, can still read what the hook wrote."""
    (state / "context" / "live").mkdir(parents=True)
    (state / "context" / "hook").mkdir()
    done, _ = run(hook_command(state), input=STATE, preexec_fn=lambda: os.umask(0o077))
    assert done.returncode == 0
    written = [*(state / "spool").iterdir(), *(state / "context" / "hook").iterdir()]
    assert len(written) == 2
    assert {path.stat().st_mode & 0o777 for path in written} == {0o640}
