"""podspan-cri's memory by how many pods it knows, as docs/cri.md says it.

A pod is a sandbox and a container, with names and ids as long as they are on a node.
"""

import hashlib
import itertools

import pytest

from lib import h2wire as h2
from lib.paths import REPO
from lib.tap import RUN, VERSION, making, varint

CREATE = "/runtime.v1.RuntimeService/CreateContainer"
MAX_PODS = 110  # kubelet's default
IDLE_KIB, NODE_KIB, FULL_KIB = 1024, 1536, 4096
BUDGET = "≤ 1.5 MB with 110 pods, ≤ 4 MB with 4 096 pods"  # in these words in ARCHITECTURE.md and docs/cri.md
BATCH = 64


def field(number, data):
    """A field of bytes."""
    return bytes([number << 3 | 2]) + varint(len(data)) + data


class Calls:
    """A client and a runtime of one connection, both sides in step."""

    def __init__(self, tap):
        self.tap = tap
        self.client, self.runtime = tap.connect()
        self.mine, self.theirs = h2.Peer(), h2.Peer()
        self.streams = itertools.count(1, 2)
        self.sent = [0, 0]
        self.step(h2.PREFACE + h2.settings() + h2.frame(h2.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")), h2.settings())

    def step(self, up, down):
        """Sends both sides' bytes, each after the other's have arrived. podspan-cri may make the requests longer."""
        before = len(self.runtime.data)
        self.client.send(up)
        self.runtime.until(before + len(up), 60)
        self.sent[1] += len(down)
        self.runtime.send(down)
        self.client.until(self.sent[1], 60)

    def call(self, path, pairs):
        """Calls @path with each (request, reply), many at once."""
        pairs = iter(pairs)
        while batch := list(itertools.islice(pairs, BATCH)):
            up = down = b""
            for request, reply in batch:
                stream = next(self.streams)
                up += self.mine.call(stream, path, request)
                down += self.theirs.reply(stream, reply)
            self.step(up, down)
            for entry in (self.tap.state / "spool").iterdir():
                entry.unlink(missing_ok=True)


def identifier(kind, number):
    """64 hex digits."""
    return hashlib.sha256(f"{kind}{number}".encode()).hexdigest().encode()


def pods(first, last):
    """RunPodSandbox of each."""
    for number in range(first, last):
        name = f"some-deployment-of-somebody-{number:05}-7d9c5b8f6d-x2x4z".encode()
        uid = identifier("uid", number)
        metadata = field(1, name) + field(2, b"-".join((uid[:8], uid[8:12], uid[12:16], uid[16:20], uid[20:32]))) + \
            field(3, b"a-namespace-of-theirs")
        yield field(1, field(1, metadata)), field(1, identifier("sandbox", number))


def containers(first, last):
    """CreateContainer of one in each."""
    for number in range(first, last):
        config = field(1, field(1, b"application")) + field(2, field(1, b"registry.example.com/team/application:v1.2.3"))
        yield (field(1, identifier("sandbox", number)) + field(2, config), field(1, identifier("container", number)))


@pytest.fixture(name="make_tap")
def fixture_make_tap(tmp_path):
    """Makes taps, ends them, and checks that they were still alive."""
    with making(tmp_path) as make:
        yield make


def test_memory_by_pods(make_tap):
    """Idle, with the pods of a full node after 2 000 calls, and with as many pods as podspan-cri remembers at most."""
    tap = make_tap()
    calls = Calls(tap)
    calls.call(VERSION, [(b"", b"ok")])
    found = {"idle": tap.pss()}
    calls.call(RUN, pods(0, MAX_PODS))
    calls.call(CREATE, containers(0, MAX_PODS))
    found[f"{MAX_PODS} pods"] = tap.pss()
    calls.call(VERSION, ((b"", b"ok") for _ in range(2000)))
    found[f"{MAX_PODS} pods, 2 000 calls"] = tap.pss()
    calls.call(RUN, pods(MAX_PODS, 4096))
    calls.call(CREATE, containers(MAX_PODS, 4096))
    found["4 096 pods"] = tap.pss()
    # What is forgotten makes room for what comes.
    calls.call(RUN, pods(4096, 6144))
    calls.call(CREATE, containers(4096, 6144))
    found["2 048 pods more"] = tap.pss()
    print(found)
    assert found["idle"] <= IDLE_KIB, found
    assert found[f"{MAX_PODS} pods, 2 000 calls"] <= NODE_KIB, found
    assert found["4 096 pods"] <= FULL_KIB and found["2 048 pods more"] <= FULL_KIB, found


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/cri.md"])
def test_the_budget_is_written_down(page):
    """The documentation says for how many pods a bound holds."""
    assert BUDGET in (REPO / page).read_text(encoding="utf-8")
