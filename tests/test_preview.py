"""``gatepost preview``: what it writes, what it refuses to write over, and how it says what is wrong."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import wave
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from gatepost import Media
from gatepost.challenges import ImageKind
from gatepost.challenges._sheet import contact_sheet
from gatepost.cli import main

Preview = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).resolve().parent.parent
GAP, LINE = 10, 28
CYRILLIC = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")
QUESTIONS = """
[[en]]
question = "Which colour is snow?"
answers = ["white"]
[[de]]
question = "Welche Farbe hat Gras?"
answers = ["grün", "gruen"]
[[de]]
question = "Wie viele Ohren hat ein Hase?"
answers = ["zwei", "2"]
"""
KINDS = """
from gatepost import Challenge, Media
from gatepost.challenges import ImageKind

narrow = ImageKind(width=240, height=110, length=4)
number = 7

class Kind:
    name = "own"

    def __init__(self, media):
        self.media = media

    def draw(self, level, locale):
        return Challenge(f"{level} {locale}", self.media)

    def normalise(self, fields, data):
        return ""

vector = Kind(Media("image/svg+xml", b"<svg/>"))
text = Kind(Media("text/plain", "Où ?".encode()))
tune = Kind(Media("audio/mpeg", b"tune"))
film = Kind(Media("video/mp4", b"film"))
nothing_in_it = Kind(None)
no_bytes = Kind(Media("text/plain", "Where?"))

class Broken(Kind):
    def draw(self, level, locale):
        raise self.media

lazy = Broken(KeyError("height"))
silent = Broken(AssertionError())
wordy = Broken(ValueError("got a letter,\\n  wanted\\n  a number"))
leaving = Broken(SystemExit("enough"))
full = Broken(OSError(28, "No space left on device"))
undrawable = Kind(None)
undrawable.draw = 7

class Nameless(Kind):
    @property
    def name(self):
        return self.media["name"]

nameless = Nameless({})
"""
# Modules of a site that cannot be imported, each with what is told of it.
UNFIT = {
    "import missing_module": "No module named 'missing_module'; unfit.py, line 1",
    "\n\ndef kind(:": "invalid syntax (unfit.py, line 3)",
    "kind = 1 / 0": "ZeroDivisionError: division by zero; unfit.py, line 1",
    "from json import loads\n\nloads('')": "JSONDecodeError: Expecting value: line 1 column 1 (char 0); decoder",
    "import sys; sys.exit('not today')": "SystemExit: not today; unfit.py, line 1",
    "raise NotImplementedError": "NotImplementedError; unfit.py, line 1",
}


@pytest.fixture(name="preview")
def preview_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Preview:
    """Runs the command in an empty folder, where it needs neither a secret nor a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("GATEPOST_SECRET", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main(["preview", *arguments])
        except SystemExit as left:
            status = int(left.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(name="own")
def own_fixture(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> Preview:
    """The same, in a folder where a site has kinds of its own."""
    Path("shop.py").write_text(KINDS, "utf-8")
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return preview


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def written() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name not in ("shop.py", "__pycache__"))


def test_a_sheet_of_24_is_written(preview: Preview) -> None:
    """Without options there are six rows of four default pictures, and a line says what was written where."""
    status, out, err = preview()
    assert (status, err, written()) == (0, "", ["preview.png"])
    assert size("preview.png") == (4 * (300 + GAP) + GAP, 6 * (150 + GAP) + GAP)
    kilobytes = f"{Path('preview.png').stat().st_size / 1000:.0f} kB"
    assert out == f"preview.png: 24 pictures, 1250 x 970 pixels, {kilobytes}\n"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--count", "5", "--columns", "2"], (2 * 310 + GAP, 3 * 160 + GAP)),
        (["--count", "2", "--columns", "9"], (2 * 310 + GAP, 160 + GAP)),
        (["--count", "4", "--answers"], (4 * 310 + GAP, 160 + LINE + GAP)),
        (["--count", "1", "--width", "500", "--height", "200"], (500 + 2 * GAP, 200 + 2 * GAP)),
        (["--count", "1", "--level", "4", "--format", "jpeg", "--overlap"], (300 + 2 * GAP, 150 + 2 * GAP)),
        (["--count", "1", "--displacement", "0.5", "--noise", "2"], (300 + 2 * GAP, 150 + 2 * GAP)),
        (["--count", "1", "--displacement", "0.5", "1", "--size-shift", "0"], (300 + 2 * GAP, 150 + 2 * GAP)),
        (["--count", "1", "--text", "bdH2", "--ink", "#000000", "#300030"], (300 + 2 * GAP, 150 + 2 * GAP)),
    ],
)
def test_a_sheet_is_as_asked_for(preview: Preview, arguments: list[str], wanted: tuple[int, int]) -> None:
    """Number, columns, answers and the options of the pictures make the sheet's size."""
    assert preview("-o", "sheet.png", *arguments)[0] == 0
    assert size("sheet.png") == wanted


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--style", "rows", "patches"], {"styles": {"rows": 1, "patches": 1}}),
        (["--style", "drift", "--style", "rows"], {"styles": {"drift": 1, "rows": 1}}),
        (["--contrast", "enhanced"], {"contrast": "enhanced"}),
        (["--contrast", "5.5"], {"contrast": 5.5}),
        (["--displacement", "0.5"], {"displacement": 0.5}),
        (["--displacement", "0.5", "0"], {"displacement": [0.5, 0.0]}),
        (["--case-sensitive", "--characters", "abdefhjrR234"], {"case_sensitive": True, "characters": "abdefhjrR234"}),
        (["--size-shift", "0.1", "--noise", "2", "--length", "5"], {"size_shift": 0.1, "noise": 2.0, "length": 5}),
        (["--ink", "#000000", "--ink", "#200020", "--overlap"], {"inks": ["#000000", "#200020"], "overlap": True}),
        ([], {}),
    ],
)
def test_options_are_those_of_the_kind(
    preview: Preview, monkeypatch: pytest.MonkeyPatch, arguments: list[str], options: dict[str, object]
) -> None:
    """The kind is made with what was given, and with nothing else."""
    made: list[dict[str, object]] = []

    def make(**given: object) -> ImageKind:
        made.append(given)
        return ImageKind()

    kinds: Any = importlib.import_module("gatepost.preview")._KINDS
    monkeypatch.setitem(kinds, "image", (make, kinds["image"][1]))
    assert preview("--count", "1", *arguments)[0] == 0
    assert made == [options]


@pytest.mark.parametrize(("count", "most"), [(24, 0), (100, 24)])
def test_the_sheet_shows_the_pictures_as_they_are(count: int, most: int) -> None:
    """Every picture stands in its place, no colour of it changed, or hardly: the sheet has one palette for all."""
    kind = ImageKind()
    pictures = [kind.draw().media.content for _ in range(count)]
    with Image.open(BytesIO(contact_sheet(pictures, 4).content)) as sheet:
        assert sheet.mode == "P"
        shown = sheet.convert("RGB")
    for number, picture in enumerate(pictures):
        left, top = GAP + number % 4 * 310, GAP + number // 4 * 160
        with Image.open(BytesIO(picture)) as image:
            there = shown.crop((left, top, left + 300, top + 150))
            apart: Any = ImageChops.difference(image.convert("RGB"), there).getextrema()
            assert max(highest for _, highest in apart) <= most


def test_answers_are_beneath_the_pictures() -> None:
    """A label is written under the middle of its own picture, and only there."""
    kind = ImageKind()
    pictures = [kind.draw().media.content for _ in range(2)]
    with Image.open(BytesIO(contact_sheet(pictures, 2, ["bdefhk", ""]).content)) as image:
        sheet = image.convert("L")
    first, second = (sheet.crop((left, GAP + 150, left + 300, GAP + 150 + LINE)) for left in (GAP, GAP + 310))
    box = first.point([255] * 100 + [0] * 156).getbbox()
    assert box is not None
    assert abs(box[0] + box[2] - 300) < 8
    assert abs(box[1] + box[3] - LINE) < 10
    assert second.getextrema() == (255, 255)


def test_answers_are_written_in_letters_that_the_font_has(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the alphabet has capitals alone, an answer is written in capitals: the font need have no others."""
    written: list[str] = []

    def sheet(pictures: list[bytes], columns: int, labels: list[str], font: str | None) -> Media:
        written.extend(labels)
        return contact_sheet(pictures, columns, labels, font)

    monkeypatch.setattr("gatepost.challenges._sheet.contact_sheet", sheet)
    assert preview("--characters", "ABCDEFGHJKmn", "--answers")[0] == 0
    assert set("".join(written)) == set("ABCDEFGHJKmn")


def test_a_site_s_alphabet_is_drawn_and_labelled_with_its_font(preview: Preview) -> None:
    """Characters that the bundled fonts lack are shown with the font that was given, in the answers, too."""
    if not CYRILLIC.is_file():
        pytest.skip(f"{CYRILLIC.name} is not installed")
    arguments = ("--characters", "БГДЖЗИЛФЦЧШЭЮЯ", "--font", str(CYRILLIC), "--count", "2", "--answers")
    assert preview(*arguments)[0] == 0
    status, out, err = preview("--characters", "БГДЖЗИЛФЦЧШЭЮЯ")
    assert (status, out) == (2, "")
    assert "without a glyph for 'Б'" in err


@pytest.mark.parametrize("suffix", ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp", "pdf"])
def test_the_suffix_says_the_format(preview: Preview, suffix: str) -> None:
    """The sheet is written in the format that its name asks for."""
    assert preview("--count", "1", "-o", f"sheet.{suffix}")[0] == 0
    content = Path(f"sheet.{suffix}").read_bytes()
    if suffix == "pdf":
        assert content.startswith(b"%PDF-")
        return
    with Image.open(BytesIO(content)) as image:
        assert image.format == {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())


def test_a_picture_is_replaced_and_that_is_said(preview: Preview) -> None:
    """A sheet takes the place of an older one, and the line that tells of it says so."""
    assert "in place of" not in preview("--count", "1")[1]
    assert preview("--count", "1")[1].endswith(", in place of the one that was there\n")


@pytest.mark.parametrize(
    ("name", "content", "arguments"),
    [
        ("sheet.png", b"not a picture", []),
        ("sheet.png", b"", []),
        ("sheet.pdf", b"%PDF-1.7\n", []),
        ("tone.wav", b"RIFF\0\0\0\0AVI LIST", ["--kind", "audio"]),
        ("tone.wav", b"", ["--kind", "audio"]),
        ("preview-1.png", b"notes", ["-o", "./"]),
    ],
)
def test_what_is_no_picture_is_not_replaced(preview: Preview, name: str, content: bytes, arguments: list[str]) -> None:
    """A file of another sort stays as it is, whatever its name says."""
    Path(name).write_bytes(content)
    status, out, err = preview("-o", name, *arguments)
    assert (status, out) == (2, "")
    assert err.endswith("which is there and holds something else; wanted another name.\n")
    assert Path(name).read_bytes() == content
    assert written() == [name]


def test_neither_a_folder_nor_a_picture_makes_room_for_something_else(own: Preview) -> None:
    """A folder of the sheet's name is left alone, and so is a picture where a sound of the site's own would go."""
    Path("preview.png").mkdir()
    status, _, err = own("--count", "1")
    assert (status, err.endswith("holds something else; wanted another name.\n")) == (2, True)
    ImageKind().draw().media.save("picture")
    assert own("--kind", "shop:tune", "-o", "picture")[0] == 2
    assert size("picture") == (300, 150)


def test_a_recording_is_written(preview: Preview) -> None:
    """The audio kind gives a file that players read, its answer if asked for, and a second run replaces it."""
    status, out, _ = preview("--kind", "audio", "--answers", "--locale", "de", "--length", "5")
    assert (status, written()) == (0, ["preview.wav"])
    with wave.open("preview.wav") as sound:
        assert sound.getnframes() > sound.getframerate()
    digits = out.removeprefix("preview.wav: ").partition(",")[0]
    assert (len(digits), digits.isdigit()) == (5, True)
    status, out, _ = preview("--kind", "audio", "-o", "preview.wav")
    assert status == 0
    assert out.startswith("preview.wav: audio/wav, ")
    assert out.endswith(", in place of the one that was there\n")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--kind", "audio"], [f"preview-{number}.wav" for number in range(1, 6)]),
        (["--count", "2"], ["preview-1.png", "preview-2.png"]),
        (["--count", "1", "--format", "webp"], ["preview-1.webp"]),
    ],
)
def test_a_folder_gets_a_file_for_each(preview: Preview, arguments: list[str], wanted: list[str]) -> None:
    """With a folder, there already or to be made, each challenge is a file of its own, as visitors get it."""
    for _ in range(2):
        status, out, _ = preview("-o", "folder/", *arguments)
        assert status == 0
        assert sorted(path.name for path in Path("folder").iterdir()) == wanted
        assert [Path(line.partition(":")[0]).name for line in out.splitlines()] == wanted


def test_questions_are_printed(preview: Preview) -> None:
    """Each question of the language comes once, with its answer beneath only if asked for."""
    Path("questions.toml").write_text(QUESTIONS, "utf-8")
    arguments = ("--kind", "question", "--questions", "questions.toml", "--count", "60")
    assert preview(*arguments) == (0, "Which colour is snow?\n", "")
    assert preview(*arguments, "--answers")[1] == "Which colour is snow?\n    white\n"
    lines = preview(*arguments, "--locale", "de")[1].splitlines()
    assert sorted(lines) == ["Welche Farbe hat Gras?", "Wie viele Ohren hat ein Hase?"]


def test_a_kind_of_the_site_s_own_is_shown(own: Preview) -> None:
    """An object of the site's own module is previewed by what it draws: pictures, sounds or text."""
    assert own("--kind", "shop:narrow", "--count", "1")[0] == 0
    assert size("preview.png") == (240 + 2 * GAP, 110 + 2 * GAP)
    answers = ("--answers", "--level", "3", "--locale", "fr")
    assert own("--kind", "shop:text", *answers) == (0, "Où ?\n    3 fr\n", "")
    assert own("--kind", "shop:tune", "-o", "tune.mp3")[0] == 0
    assert Path("tune.mp3").read_bytes() == b"tune"
    assert own("--kind", "shop:vector", "-o", "folder/", "--count", "1")[0] == 0
    assert Path("folder/preview-1.svg").read_bytes() == b"<svg/>"


MISTAKES = [
    (["--count", "0"], "count: got 0, wanted a whole number from 1 to 200."),
    (["--count", "201"], "count: got 201, wanted a whole number from 1 to 200."),
    (["--columns", "0"], "columns: got 0, wanted a whole number from 1 to 200."),
    (["--level", "0"], "level: got 0, wanted a whole number from 1 to 100."),
    (["--style", "wild"], "styles: got {'wild': 1}, wanted weights of patches, rows, waves, drift."),
    (["--contrast", "low"], "contrast: got 'low', wanted 'standard', 'enhanced' or a ratio from 3 to 7."),
    (["--font", "none.ttf"], "fonts: got 'none.ttf' in the list, wanted the path of a file that exists."),
    (["--text", "?"], "text: got '?', wanted 1 to 6 of the characters"),
    (["--displacement", "1", "1", "1"], "displacement: got [1.0, 1.0, 1.0], wanted a number from 0 to 1, or two"),
    (["-o", "no/sheet.png"], "output: got 'no/sheet.png', wanted a file in a folder that exists."),
    (["-o", "sheet.xyz"], "format: got 'xyz', wanted one of bmp,"),
    (["--kind", "video"], "kind: got 'video', wanted image, audio, question, or module:name of a kind of your own."),
    (["--kind", "nowhere:kind"], "kind: got 'nowhere:kind', which cannot be imported (No module named 'nowhere')."),
    (["--kind", "shop:nothing"], "kind: got 'shop:nothing', which cannot be imported ("),
    (["--kind", "shop:number"], "kind: got 'shop:number', wanted an object with the methods of a kind."),
    (["--kind", "shop:Kind"], "kind: got 'shop:Kind', wanted an object with the methods of a kind."),
    (
        ["--kind", "shop:undrawable"],
        "kind: got 'shop:undrawable', which cannot draw (TypeError: 'int' object is not callable).",
    ),
    (
        ["--kind", "shop:nameless"],
        "kind: got 'shop:nameless', which cannot be imported (KeyError: 'name'; shop.py, line 42).",
    ),
    (["--kind", "shop:lazy"], "kind: got 'shop:lazy', which cannot draw (KeyError: 'height'; shop.py, line 29)."),
    (["--kind", "shop:silent"], "kind: got 'shop:silent', which cannot draw (AssertionError; shop.py, line 29)."),
    (
        ["--kind", "shop:wordy"],
        "kind: got 'shop:wordy', which cannot draw (ValueError: got a letter, wanted a number; shop",
    ),
    (["--kind", "shop:leaving"], "kind: got 'shop:leaving', which cannot draw (SystemExit: enough; shop.py, line 29)."),
    (
        ["--kind", "shop:full"],
        "kind: got 'shop:full', which cannot draw (OSError: [Errno 28] No space left on device; shop",
    ),
    (["--kind", "shop:nothing_in_it"], "kind: got 'shop:nothing_in_it', which cannot draw ('NoneType' object has no "),
    (
        ["--kind", "shop:no_bytes"],
        "kind: got 'shop:no_bytes', which cannot draw (ValueError: it has str where bytes is ",
    ),
    (
        ["--kind", ".shop:text"],
        "kind: got '.shop:text', which cannot be imported (TypeError: the 'package' argument is ",
    ),
    (["--kind", "shop:film"], "kind: got video/mp4 from 'shop:film', wanted image, audio or text/plain."),
    (["--kind", "shop:vector"], "kind: got pictures of a format that no sheet can hold, wanted a folder as output."),
    (["--kind", "shop:narrow", "--width", "300"], "width: got 300, wanted none with the kind 'shop:narrow'."),
    (["--kind", "audio", "--width", "300"], "width: got 300, wanted none with the kind 'audio'."),
    (["--kind", "audio", "--text", "1"], "text: got '1', wanted none with the kind 'audio'."),
    (["--kind", "audio", "--count", "2"], "count: got 2 for one sound, wanted a folder as --output for several."),
    (["--kind", "audio", "-o", "sound.png"], "format: got 'png' for audio/wav, wanted none,"),
    (["--kind", "audio", "--fallback", "tlh"], "fallback: got 'tlh', wanted one of de,"),
    (["--kind", "question"], "questions: got none, wanted the TOML file that they are in."),
    (["--kind", "question", "--questions", "none.toml"], "questions: got 'none.toml', wanted a TOML file that can"),
    (["--kind", "shop:text", "-o", "text.txt"], "output: got 'text.txt', wanted none, since questions are printed."),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_mistakes_are_one_sentence(own: Preview, arguments: list[str], words: str) -> None:
    """An option that cannot be is told in one sentence with exit status 2, and nothing is written."""
    status, out, err = own(*arguments)
    assert (status, out, written()) == (2, "", [])
    assert err.startswith(f"gatepost: {words}")
    assert err.endswith(".\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("source", UNFIT)
def test_module_that_fails_is_one_sentence(preview: Preview, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A module that cannot be imported, for whatever reason, is told in one sentence, and where it fails."""
    monkeypatch.delitem(sys.modules, "unfit", raising=False)
    Path("unfit.py").write_text(source, "utf-8")
    status, out, err = preview("--kind", "unfit:kind")
    assert (status, out) == (2, "")
    assert err.startswith(f"gatepost: kind: got 'unfit:kind', which cannot be imported ({UNFIT[source]}")
    assert err.endswith(").\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--count", "many"], ["--noise", "loud"], ["--unknown"], ["-o"]])
def test_what_is_no_number_is_refused_as_elsewhere(preview: Preview, arguments: list[str]) -> None:
    """What argparse refuses ends with status 2 after one line of usage and the sentence."""
    status, out, err = preview(*arguments)
    assert (status, out, written()) == (2, "", [])
    assert err.count("\n") == 2 or "--unknown" in err


def test_a_file_that_cannot_be_written_is_told(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system refuses to write, the sentence says where and why, with exit status 1."""

    def full(path: Path, _: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    status, out, err = preview("--count", "1")
    assert (status, out) == (1, "")
    assert err == "gatepost: output: got 'preview.png' (No space left on device).\n"


def test_the_examples_of_the_readme_work(own: Preview) -> None:
    """Each line of the README that calls the command does what it says, with files of those names."""
    if not CYRILLIC.is_file():
        pytest.skip(f"{CYRILLIC.name} is not installed")
    Path("Cyrillic-Bold.ttf").symlink_to(CYRILLIC)
    Path("questions.toml").write_text(QUESTIONS, "utf-8")
    Path("yoursite").mkdir()
    Path("yoursite/challenges.py").write_text("from shop import narrow as kind\n", "utf-8")
    lines = re.findall(r"^gatepost preview(.*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        status, out, err = own(*shlex.split(line, comments=True))
        assert (status, err) == (0, ""), line
        assert out, line
    assert len(list(Path("recordings").glob("*.wav"))) == 5


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    """Each picture of the folder is in the README with an alternative text, has a palette, and is below 150 kB."""
    folder = ROOT / "examples" / "pictures"
    shown = dict(re.findall(r"!\[([^\]]{30,})\]\(examples/pictures/([^)]+)\)", (ROOT / "README.md").read_text("utf-8")))
    assert sorted(shown.values()) == sorted(path.name for path in folder.glob("*.png"))
    for name in shown.values():
        assert (folder / name).stat().st_size < 150_000
        with Image.open(folder / name) as image:
            assert (image.format, image.mode) == ("PNG", "P")


def test_it_runs_as_a_module_and_loads_pillow_only_when_needed(tmp_path: Path) -> None:
    """``python -m gatepost preview`` works, and printing questions loads no Pillow."""
    (tmp_path / "questions.toml").write_text(QUESTIONS, "utf-8")
    sheet = [sys.executable, "-m", "gatepost", "preview", "--count", "1"]
    program = (
        "import sys; from gatepost.cli import main\n"
        "main(['preview', '--kind', 'question', '--questions', 'questions.toml']); print('PIL' in sys.modules)"
    )
    for command, wanted in ((sheet, "preview.png: 1 picture,"), ([sys.executable, "-c", program], "snow?\nFalse")):
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert wanted in done.stdout
