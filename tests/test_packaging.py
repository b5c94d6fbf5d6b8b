"""What is built works: a wheel that was made of the sdist finds its templates, catalogues, fonts and sounds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ["pyproject.toml", "README.md", "LICENSE", "middleware", "templates", "fonts", "sounds"]
PROGRAM = """
import secrets, sys
sys.path.insert(0, sys.argv[1])
import gatepost
from gatepost.challenges import AudioKind, ImageKind
from gatepost.wsgi import GatepostMiddleware
secret = secrets.token_urlsafe(32)
GatepostMiddleware(lambda environ, start: [], secret=secret, protect="/a", challenge=["image", "audio"])
assert gatepost.__file__.startswith(sys.argv[1]), gatepost.__file__
assert ImageKind().draw(1, "en").media.content
assert AudioKind().draw(1, "de").media.content
from gatepost.catalogues import Catalogues
assert Catalogues().of("de").gettext("Send") == "Senden"
"""


def build(source: Path, form: str) -> Path:
    """The archive of this form, ``wheel`` or ``sdist``, made of a source tree."""
    out = source / "dist"
    command = [sys.executable, "-m", "build", f"--{form}", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)  # noqa: S603
    [archive] = out.glob("*.whl" if form == "wheel" else "*.tar.gz")
    return archive


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, made of what a checkout holds."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        ignore = shutil.ignore_patterns("*.egg-info", "__pycache__")
        path = ROOT / part
        shutil.copytree(path, source / part, ignore=ignore) if path.is_dir() else shutil.copy(path, source / part)
    return build(source, "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, made of the source archive."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return build(source, "wheel")


def test_wheel_holds_what_the_package_needs(wheel: Path) -> None:
    """Types, templates, catalogues, fonts and sounds are inside, each font beside its licence."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "gatepost/py.typed" in names
    for folder in ("templates", "fonts", "sounds"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        assert {f"gatepost/{path.relative_to(ROOT).as_posix()}" for path in files} <= names
    fonts = [name for name in names if name.endswith((".ttf", ".otf"))]
    assert len(fonts) >= 5
    for font in fonts:
        assert f"{font.rpartition('-')[0]}.LICENSE.txt" in names


def test_wheel_of_the_sdist_works(wheel: Path, tmp_path: Path) -> None:
    """Unpacked away from the checkout, the package starts a gate and draws both kinds that need files."""
    zipfile.ZipFile(wheel).extractall(tmp_path)  # noqa: S202 - our own
    command = [sys.executable, "-I", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
