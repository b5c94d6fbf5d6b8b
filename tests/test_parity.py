"""What people who come from BotBlock look for: each of its settings, and its picture as bytes, URI and file."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from importlib import resources
from io import BytesIO
from pathlib import Path
from statistics import pstdev
from typing import Any

import pytest
from PIL import Image

from gatepost import Challenge, Kind, Media, Settings
from gatepost.challenges import AudioKind, ImageKind, QuestionKind
from twins import SECRET, make_twin

ROOT = Path(__file__).resolve().parent.parent
FONTS = sorted(Path(str(resources.files("gatepost.fonts"))).glob("*.[to]tf"))
ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"

Colour = tuple[int, ...]


def opened(media: Media) -> Image.Image:
    image = Image.open(BytesIO(media.content))
    image.load()
    return image


def settings(**options: Any) -> Settings:
    return Settings(secret=SECRET, protect="/contact", **options)


def plain(**options: Any) -> ImageKind:
    """Black letters on a plain ground, so that a test can tell where they are."""
    plainly: dict[str, Any] = {"styles": {"drift": 1}, "inks": ["#000000"], "noise": 0, "length": 3}
    return ImageKind(**plainly | options)


def letters(media: Media) -> tuple[int, int, int, int]:
    """The box round all ink of a picture of :func:`plain`."""
    box = opened(media).convert("L").point([255] * 40 + [0] * 216).getbbox()
    assert box is not None
    return box


def contrast(media: Media) -> float:
    """The WCAG contrast between the two colours that most of a picture has."""
    counted: Any = opened(media).convert("RGB").getcolors()
    [(_, one), (_, other)] = sorted(counted)[-2:]
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: Colour) -> float:
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# ---- its settings ---------------------------------------------------------------------------------------------------


def size() -> None:
    assert opened(ImageKind(width=750, height=250).draw().media).size == (750, 250)


def file_format() -> None:
    media = ImageKind().draw().media
    for form in ("bmp", "gif", "ico", "jpeg", "png", "tiff", "webp"):
        assert opened(media.convert(form)).format == form.upper()
    assert media.convert("pdf").content.startswith(b"%PDF-")
    for form in ("gif", "jpeg", "png", "webp"):  # what a page can show, a gate can be told to show
        assert ImageKind(format=form).draw().media.type == f"image/{form}"


def fixed_text() -> None:
    # It makes a picture and no challenge, and no setting leads to it: a gate cannot be made to ask one thing for ever.
    kind = ImageKind()
    assert isinstance(kind.picture("bdH2"), Media)
    assert "picture" not in Kind.__dict__


def text_length() -> None:
    for length in (3, 6, 12):
        assert len(ImageKind(length=length, width=500).draw().answer) == length


def character_set() -> None:
    kind = ImageKind(characters=ALPHABET)
    answers = {letter for _ in range(200) for letter in kind.draw().answer}
    assert answers == set(ALPHABET.lower())
    assert len(answers) ** 6 == 887_503_681


def fonts() -> None:
    def widths(name: str) -> float:
        kind = plain(fonts=[font for font in FONTS if font.name.startswith(name)], characters="abcdefghjkI")
        boxes = [letters(kind.picture("I")) for _ in range(10)]
        return sum((box[2] - box[0]) / (box[3] - box[1]) for box in boxes)

    assert widths("Courier") > 1.3 * widths("Cabin")  # with serifs, and without


def shift() -> None:
    def spreads(displacement: tuple[float, float]) -> tuple[float, float]:
        kind = plain(displacement=displacement)
        boxes = [letters(kind.picture("b")) for _ in range(20)]
        return pstdev(box[0] + box[2] for box in boxes), pstdev(box[1] + box[3] for box in boxes)

    across, down = spreads((1, 0))
    assert across > 5 * down
    across, down = spreads((0, 1))
    assert down > 5 * across


def size_shift() -> None:
    def heights(share: float) -> list[int]:
        kind = plain(size_shift=share, fonts=FONTS[:1])
        boxes = [letters(kind.picture("M")) for _ in range(40)]
        return [box[3] - box[1] for box in boxes]

    assert sum(heights(0.5)) > 1.08 * sum(heights(0))  # a quarter more, but for the turns


def overlap() -> None:
    def width(touching: bool) -> int:
        kind = plain(overlap=touching, displacement=0, size_shift=0, fonts=FONTS[:1])
        boxes = [letters(kind.picture("MMM")) for _ in range(40)]
        return sum(box[2] - box[0] for box in boxes)

    assert width(touching=True) < width(touching=False)


def noise() -> None:
    def ink(amount: float) -> int:
        kind = plain(noise=amount)
        return sum(opened(kind.picture("b", 4)).convert("L").histogram()[0] for _ in range(5))

    assert ink(0) < ink(1) < ink(4)


def brightness() -> None:
    # Brightness and hue differences became the ratio that WCAG 2 has in their place: 3 at least, up to 7.
    for option, lowest in (("standard", 3.0), ("enhanced", 4.5), (7, 7.0)):
        kind = ImageKind(contrast=option)
        assert min(contrast(kind.draw().media) for _ in range(20)) >= lowest


def case() -> None:
    for sensitive in (False, True):
        kind = ImageKind(characters="abdefhjrR234", case_sensitive=sensitive)
        assert (kind.normalise({"answer": "R"}, b"") == kind.normalise({"answer": "r"}, b"")) is not sensitive


def lifetime() -> None:
    for seconds in (30, 600, 1800):
        assert [rule.lifetime for rule in settings(lifetime=seconds).rules] == [seconds]


def pool() -> None:
    assert settings(pool_size=500).pool_size == 500


def rate() -> None:
    # Theirs is a minute's, ours a second's.
    for minutely in (1, 30, 60, 600):
        assert settings(render_rate=minutely / 60).render_rate * 60 == pytest.approx(minutely)


SETTINGS: dict[str, Callable[[], None]] = {
    "WIDTH": size,
    "HEIGHT": size,
    "FORMAT": file_format,
    "TEXT": fixed_text,
    "TEXT_LENGTH": text_length,
    "CHARACTER_SET": character_set,
    "FONTS": fonts,
    "CHARACTER_HORIZONTAL_SHIFT_PERCENTAGE": shift,
    "CHARACTER_VERTICAL_SHIFT_PERCENTAGE": shift,
    "FONT_SIZE_SHIFT_PERCENTAGE": size_shift,
    "CHARACTER_OVERLAP_ENABLED": overlap,
    "MAXIMUM_NOISE": noise,
    "MINIMUM_COLOR_BRIGHTNESS_DIFFERENCE": brightness,
    "MINIMUM_COLOR_HUE_DIFFERENCE": brightness,
    "CASE_SENSITIVE": case,
    "LIFETIME": lifetime,
    "POOL_SIZE": pool,
    "RATE_LIMIT": rate,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_can_be_expressed(setting: str) -> None:
    """What a setting of BotBlock's does, an option of ours does."""
    SETTINGS[setting]()


# ---- one challenge, made by a call ----------------------------------------------------------------------------------


def test_a_challenge_is_made_by_one_call() -> None:
    """Kinds draw without arguments, and what they drew tells its answer, which their own comparison accepts."""
    questions = {"en": [{"question": "Which colour is snow?", "answers": ["white"]}]}
    for kind in (ImageKind(), AudioKind(), QuestionKind(questions)):
        challenge = kind.draw()
        assert isinstance(challenge, Challenge)
        assert kind.normalise({"answer": f" {challenge.answer.upper()} "}, challenge.data) == challenge.answer


def test_a_data_uri_holds_type_and_bytes() -> None:
    """The URI can be put into an ``img`` or ``audio`` element as it is."""
    for kind in (ImageKind(format="webp"), AudioKind()):
        media = kind.draw().media
        head, _, body = media.data_uri.partition(",")
        assert head == f"data:{media.type};base64"
        assert base64.b64decode(body, validate=True) == media.content


@pytest.mark.parametrize(
    ("form", "suffixes"),
    [
        ("bmp", ["bmp", "BMP"]),
        ("gif", ["gif"]),
        ("ico", ["ico"]),
        ("jpeg", ["jpeg", "jpg"]),
        ("png", ["png", "PNG"]),
        ("tiff", ["tiff", "tif"]),
        ("webp", ["webp"]),
        ("pdf", ["pdf"]),
    ],
)
def test_a_picture_is_saved_in_every_format(tmp_path: Path, form: str, suffixes: list[str]) -> None:
    """A path's suffix or the format's name decides how a picture is written, to a path or an open file."""
    media = ImageKind().draw().media
    start = {"ico": b"\0\0\1\0", "pdf": b"%PDF-"}.get(form, media.convert(form).content[:4])
    for suffix in suffixes:
        media.save(tmp_path / f"picture.{suffix}")
        media.save(str(tmp_path / f"another.{suffix}"))
        assert (tmp_path / f"picture.{suffix}").read_bytes().startswith(start)
        assert (tmp_path / f"another.{suffix}").read_bytes().startswith(start)
    media.save(tmp_path / "picture", form)
    with BytesIO() as file:
        media.save(file, form)
        assert file.getvalue().startswith(start)
    assert (tmp_path / "picture").read_bytes().startswith(start)


@pytest.mark.parametrize("form", ["bmp", "gif", "png", "tiff", "webp"])
def test_converting_keeps_every_pixel(form: str) -> None:
    """Formats that need not lose anything lose nothing, and what has the format already stays the same object."""
    media = ImageKind().draw().media
    converted = media.convert(form)
    assert (converted.width, converted.height) == (300, 150)
    assert opened(converted).convert("RGB").tobytes() == opened(media).convert("RGB").tobytes()
    assert converted.convert(form) is converted
    assert media.convert("pdf").convert("pdf").type == "application/pdf"


@pytest.mark.parametrize(("size", "wanted"), [((300, 150), (256, 128)), ((204, 100), (204, 100))])
def test_an_icon_fits_its_format(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """An icon is made smaller to 256 pixels, and says how large it is."""
    icon = ImageKind(width=size[0], height=size[1]).draw().media.convert("ico")
    assert (icon.width, icon.height) == opened(icon).size == wanted


def test_what_needs_no_format_is_written_as_it_is(tmp_path: Path) -> None:
    """Sounds and questions go to any file, a picture to one without a suffix or to an open file, byte for byte."""
    picture, sound, question = (
        ImageKind().draw().media,
        AudioKind().draw().media,
        Media("text/plain", "Où ?".encode()),
    )
    places = [(picture, "picture"), (sound, "sound.wav"), (sound, "sound"), (question, "question.txt")]
    for media, name in [*places, (Media("image/svg+xml", b"<svg/>"), "drawing.svg")]:
        media.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == media.content
        with BytesIO() as file:
            media.save(file)
            assert file.getvalue() == media.content


@pytest.mark.parametrize(
    ("media", "name", "form"),
    [
        (Media("image/png", b""), "picture.xyz", ""),
        (Media("image/png", b""), "picture.svg", ""),
        (Media("image/png", b""), "picture.png", "PNG"),
        (Media("audio/wav", b""), "sound.png", ""),
        (Media("audio/wav", b""), "sound.wav", "png"),
        (Media("text/plain", b""), "question.txt", "wav"),
    ],
)
def test_a_format_that_is_not_to_be_had_is_refused(tmp_path: Path, media: Media, name: str, form: str) -> None:
    """A wrong format or suffix raises a ValueError of one sentence, before a file is made."""
    with pytest.raises(ValueError, match=r"(?s)\Aformat: got .*, wanted .*\.\Z"):
        media.save(tmp_path / name, form)
    assert not list(tmp_path.iterdir())


def test_the_example_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the README that make one challenge run as they stand."""
    [example] = re.findall(r"```python\n([^`]*challenge = kind\.draw\(\)[^`]*)```", (ROOT / "README.md").read_text())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own documentation
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".pdf"}
    assert names["right"]
    assert names["challenge"].media.data_uri.startswith("data:image/png;base64,")


def test_a_page_shows_the_format_that_its_kind_was_told() -> None:
    """A picture is converted for no page: the kind draws it as the page needs it."""
    twin = make_twin("wsgi", challenge=ImageKind(format="webp"), mode="always")
    assert b'src="data:image/webp;base64,' in twin.send(body=b"a=b").body
