"""The images of the tests, and a registry that serves them."""

import hashlib
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .paths import peer

NAMES = ["pause", "busybox", "scratch"]
BUSYBOX, SCRATCH, PAUSE = "localhost/busybox:1", "localhost/scratch:1", "localhost/pause:1"


def archive(name):
    """The OCI archive of an image."""
    return peer("images", f"{name}.tar")


class Registry:
    """A read-only image registry on 127.0.0.1: `reference("busybox")` can be pulled from it."""

    def __init__(self):
        self._blobs, self._manifests = {}, {}
        for name in NAMES:
            self._load(name)
        registry = self

        class Handler(BaseHTTPRequestHandler):
            """Serves GET and HEAD of manifests and blobs."""

            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.answer(self, with_body=True)

            def do_HEAD(self):
                registry.answer(self, with_body=False)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _load(self, name):
        with tarfile.open(archive(name)) as tar:
            for member in tar.getmembers():
                if member.isfile() and member.name.startswith("blobs/sha256/"):
                    data = tar.extractfile(member).read()
                    self._blobs["sha256:" + hashlib.sha256(data).hexdigest()] = data
            index = json.load(tar.extractfile("index.json"))
        self._manifests[name] = index["manifests"][0]["digest"]

    def reference(self, name):
        """What a runtime has to pull."""
        return f"{self.address}/{name}:1"

    def answer(self, request, with_body):
        """Answers one request."""
        parts = request.path.strip("/").split("/")
        digest, kind = None, "application/octet-stream"
        if parts == ["v2"]:
            return self._reply(request, 200, b"{}", "application/json", None, with_body)
        if len(parts) == 4 and parts[2] == "manifests" and parts[1] in self._manifests:
            digest = self._manifests[parts[1]] if parts[3] == "1" else parts[3]
            kind = "application/vnd.oci.image.manifest.v1+json"
        elif len(parts) == 4 and parts[2] == "blobs":
            digest = parts[3]
        if digest not in self._blobs:
            return self._reply(request, 404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json", None,
                               with_body)
        return self._reply(request, 200, self._blobs[digest], kind, digest, with_body)

    @staticmethod
    def _reply(request, status, body, kind, digest, with_body):
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        if digest:
            request.send_header("Docker-Content-Digest", digest)
        request.end_headers()
        if with_body:
            request.wfile.write(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
