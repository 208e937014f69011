"""podspan with CRI-O 1.34, hooks by hooks.d, runc and crun."""

import socket

import pytest

from lib import images, scenarios
from lib.node import CRIO, node

RUNC = CRIO["crio-runc"]


@pytest.mark.parametrize("name, poststart_call", [("crio-runc", "CreateContainer"), ("crio-crun", "StartContainer")])
def test_pod_is_one_trace(name, poststart_call):
    scenarios.one_trace(CRIO[name], create_call="CreateContainer", poststart_call=poststart_call)


def test_callers_trace():
    scenarios.callers_trace("crio-runc", RUNC)


def test_without_a_callers_trace():
    scenarios.without_a_caller("crio-runc", RUNC)


def test_rate_0_changes_nothing():
    scenarios.rate_0_changes_nothing("crio-runc", RUNC)


def test_failed_call():
    scenarios.failed_call(RUNC)


def test_pull_and_secrets():
    with images.Registry() as registry:
        scenarios.pull_and_secrets(RUNC, registry)


def test_identity_survives_a_restart():
    scenarios.identity_survives_a_restart(RUNC)


def test_crictl():
    scenarios.crictl_works(RUNC)


def _http_get(path, target):
    """One HTTP/1.1 request over a Unix socket; the whole answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_http_on_the_socket():
    """CRI-O speaks HTTP/1 on the same socket; that goes through as it is, beside gRPC."""
    with node(RUNC, stages=()) as one:
        assert str(one.socket).endswith("run/crio/crio.sock")
        pod = one.pod()
        answer = _http_get(one.socket, f"/containers/{pod.containers['main']}")
        assert answer.startswith(b"HTTP/1.1 200"), answer[:300]
        assert pod.name.encode() in answer
        assert one.client("Version").runtime_name == "cri-o"
