"""A registry that stops in the middle of a layer."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading

from lib import images

SIZE = 40 << 20
_OCI = "application/vnd.oci.image"


class Image:
    """An image whose layer of 40 MiB no engine has; half of it comes, the rest after go_on()."""

    def __init__(self, reference, digest):
        self.reference, self.digest = reference, digest
        self._stalled, self._goes_on = threading.Event(), threading.Event()

    @property
    def stalled(self):
        """Is half of the layer sent?"""
        return self._stalled.is_set()

    def go_on(self):
        """Sends what is held back."""
        self._goes_on.set()

    def hold(self):
        """Called in the middle."""
        self._stalled.set()
        self._goes_on.wait(300)


class StallingRegistry(images.Registry):
    """Images of image() stall; those of the tests do not."""

    def __init__(self):
        self._images, self._lock = [], threading.Lock()
        super().__init__()

    def image(self):
        """A new image that will stall."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            member = tarfile.TarInfo("large")
            member.size = SIZE
            tar.addfile(member, io.BytesIO(os.urandom(SIZE)))
        layer = self._put(gzip.compress(data.getvalue(), 0), f"{_OCI}.layer.v1.tar+gzip")
        config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/large"]}, "rootfs": {
            "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data.getvalue()).hexdigest()]}}
        manifest = {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", "layers": [layer],
                    "config": self._put(json.dumps(config).encode(), f"{_OCI}.config.v1+json")}
        with self._lock:
            name = f"large{len(self._images)}"
            self._manifests[name] = self._put(json.dumps(manifest).encode(), manifest["mediaType"])["digest"]
            image = Image(self.reference(name), layer["digest"])
            self._images.append(image)
        return image

    def go_on(self):
        """Nothing stalls any more."""
        for image in self._images:
            image.go_on()

    def _put(self, data, kind):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def _reply(self, request, status, body, kind, digest, with_body):  # pylint: disable=too-many-arguments
        image = next((one for one in self._images if one.digest == digest), None)
        if image is None or not with_body or status != 200:
            super()._reply(request, status, body, kind, digest, with_body)
            return
        super()._reply(request, status, body, kind, digest, False)
        # An engine that is tired of waiting closes the connection.
        with contextlib.suppress(OSError):
            request.wfile.write(body[:len(body) // 2])
            request.wfile.flush()
            image.hold()
            request.wfile.write(body[len(body) // 2:])

    def __exit__(self, *arguments):
        self.go_on()
        super().__exit__(*arguments)
