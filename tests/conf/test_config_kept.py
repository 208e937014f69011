"""`meson install` over an installation: an edited /etc/podspan/podspan.conf stays, an unedited one follows."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("PODSPAN_BUILD") or REPO / "build").absolute()
DEFAULT = (REPO / "conf.d" / "podspan.conf").read_text(encoding="utf-8")


def install(root):
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild"], capture_output=True, text=True, timeout=120,
                   check=True, stdin=subprocess.DEVNULL, env={**os.environ, "DESTDIR": str(root)})


def paths(root):
    copies = list(root.rglob("share/podspan/podspan.conf"))
    assert len(copies) == 1
    return root / "etc/podspan/podspan.conf", copies[0]


def test_meson_install_keeps_what_was_edited(tmp_path):
    install(tmp_path)
    etc, copy = paths(tmp_path)
    assert etc.read_text(encoding="utf-8") == copy.read_text(encoding="utf-8") == DEFAULT
    assert stat.S_IMODE(etc.stat().st_mode) == stat.S_IMODE(copy.stat().st_mode) == 0o644

    mine = DEFAULT + "tracing_endpoint = collector:4317\n"
    etc.write_text(mine, encoding="utf-8")
    etc.chmod(0o640)
    install(tmp_path)
    assert etc.read_text(encoding="utf-8") == mine and stat.S_IMODE(etc.stat().st_mode) == 0o640
    assert copy.read_text(encoding="utf-8") == DEFAULT


def test_an_unedited_file_follows_the_new_default(tmp_path):
    install(tmp_path)
    etc, copy = paths(tmp_path)
    # As an older version left them.
    for path in (etc, copy):
        path.write_text("# of before\n", encoding="utf-8")
    install(tmp_path)
    assert etc.read_text(encoding="utf-8") == copy.read_text(encoding="utf-8") == DEFAULT
    # Of a version that left no copy: whether it was edited is unknown, so it stays.
    copy.unlink()
    etc.write_text("# of before\n", encoding="utf-8")
    install(tmp_path)
    assert etc.read_text(encoding="utf-8") == "# of before\n"


def test_a_link_stays_a_link(tmp_path):
    install(tmp_path)
    etc, _ = paths(tmp_path)
    etc.unlink()
    other = tmp_path / "managed.conf"
    shutil.copy(REPO / "conf.d" / "podspan.conf", other)
    etc.symlink_to(other)
    install(tmp_path)
    assert etc.is_symlink()
    etc.unlink()
    install(tmp_path)
    assert etc.is_file() and not etc.is_symlink()
