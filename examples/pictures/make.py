"""Make the README's pictures anew: ``python examples/pictures/make.py FONT ...``.

The fonts are for a sheet of Cyrillic letters. Needs Chromium, and Playwright, which is in the extra ``test``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from PIL import Image
from playwright.sync_api import sync_playwright
from sound import drawn

from gatepost.challenges import AudioKind, ImageKind, QuestionKind
from gatepost.cli import main as gatepost
from gatepost.wsgi import GatepostMiddleware

HERE = Path(__file__).parent
CYRILLIC = "БГДЖЗИЛПУФЦЧШЭЮЯ"  # capitals that no Latin letter looks like
QUESTIONS = {"en": [{"question": "Which animal do we all keep, as our name says?", "answers": ["bees"]}]}


def sheets(fonts: list[str]) -> None:
    """Pictures as they are by default, and as a site may have them."""
    gatepost(["preview", "-o", str(HERE / "default.png")])
    options = ["--characters", CYRILLIC, "--contrast", "enhanced", "--count", "12", "--font", *fonts]
    gatepost(["preview", "-o", str(HERE / "cyrillic.png"), *options])


def question() -> None:
    """The page when it asks a question, in a small window."""
    page = _page(question=QuestionKind(QUESTIONS))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 720, "height": 300}, java_script_enabled=False)
        window.set_content(page)
        shot = window.screenshot(full_page=True)
        browser.close()
    with Image.open(io.BytesIO(shot)) as image:
        flat = image.convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        flat.save(HERE / "question.png", optimize=True)


def _page(question: QuestionKind) -> str:
    """What a gate answers to a form."""
    app = GatepostMiddleware(
        lambda environ, start: [],  # noqa: ARG005 - no form gets so far
        secret="a secret that signs nothing but this page",  # noqa: S106 - it does not leave this function
        protect="/contact",
        mode="always",
        challenge=[question, "image", "audio"],
        site_name="Beekeepers of the valley",
    )
    body = b"name=Ada&message=" + b"Hello+" * 60
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/contact",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "HTTP_ACCEPT": "text/html",
        "REMOTE_ADDR": "127.0.0.1",
    }
    setup_testing_defaults(environ)
    return b"".join(app(environ, lambda *_: lambda _: None)).decode()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fonts", nargs="+", metavar="FONT", help="a font file with Cyrillic letters")
    sheets(parser.parse_args().fonts)
    ImageKind().draw().media.save(HERE / "image.png")
    drawn(AudioKind().draw().media.content).save(HERE / "audio.png", optimize=True)
    question()
    return 0


if __name__ == "__main__":
    sys.exit(main())
