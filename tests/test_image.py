"""The image challenge: answers, pictures, options, and how what was typed is compared."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from importlib import resources
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from gatepost.challenges._options import bundled_fonts
from gatepost.challenges.image import CHARACTERS, LOOK_ALIKES, ImageKind
from gatepost.protocols import Challenge, Kind

KIND = ImageKind()

typed = st.text(max_size=40) | st.text(
    alphabet=CHARACTERS + "an0ou\u017f\u212a\ufb00\u00b2\u3000 \t\u200b\u0301\u0331", max_size=12
)


def answered(text: str, kind: ImageKind = KIND) -> str:
    return kind.normalise({"answer": text}, b"")


def picture(challenge: Challenge) -> Image.Image:
    return Image.open(BytesIO(challenge.media.content))


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def same_answer(monkeypatch: pytest.MonkeyPatch) -> str:
    """From now on all pictures have this answer."""
    monkeypatch.setattr("gatepost.challenges.image.secrets.choice", lambda answers: answers[0])
    return "bdbdbd"


def test_it_is_a_kind() -> None:
    """The class fulfils the protocol under the name that travels in tokens."""
    assert isinstance(KIND, Kind)
    assert KIND.name == "image"


@pytest.mark.parametrize(
    ("options", "characters", "length"),
    [
        ({}, CHARACTERS.lower(), 6),
        ({"length": 3}, CHARACTERS.lower(), 3),
        ({"length": 8}, CHARACTERS.lower(), 8),
        ({"characters": "abcdefghjk"}, "abcdefghjk", 6),
        ({"characters": "abcdefghjkABCDEFGHJK"}, "abcdefghjk", 6),
        ({"characters": "ABCDEFGHJK", "case_sensitive": True}, "ABCDEFGHJK", 6),
        ({"characters": "aäbcdéfgh7"}, "aäbcdéfgh7", 6),
    ],
)
def test_answers_are_made_of_the_characters(options: dict[str, Any], characters: str, length: int) -> None:
    """Every answer has the length asked for, uses only the characters, all of them in time, and no twins."""
    kind = ImageKind(**options)
    answers = [kind.draw(1, "en").answer for _ in range(120)]
    assert all(len(answer) == length for answer in answers)
    assert set("".join(answers)) == set(characters)
    assert not any(first == second for answer in answers for first, second in pairwise(answer))


def test_the_default_characters_have_no_look_alikes() -> None:
    """At least 16 answers, of each group of look-alikes at most one, and no n, which beside an r reads as m."""
    answers = set(CHARACTERS.lower())
    assert len(answers) >= 16
    assert all(sum(character in answers for character in group) <= 1 for group in LOOK_ALIKES)
    assert "n" not in answers


@pytest.mark.usefixtures("same_answer")
def test_two_pictures_of_one_answer_differ() -> None:
    """A picture cannot be looked up in a table of pictures seen before."""
    drawn = [KIND.draw(1, "en") for _ in range(10)]
    assert {challenge.answer for challenge in drawn} == {"bdbdbd"}
    assert len({challenge.media.content for challenge in drawn}) == 10


@pytest.mark.usefixtures("same_answer")
def test_the_global_generator_is_left_alone() -> None:
    """Drawing does not move the state of the module random, and seeding that repeats no layout."""
    contents = set()
    for _ in range(5):
        random.seed(7)
        before = random.getstate()
        contents.add(KIND.draw(1, "en").media.content)
        assert random.getstate() == before
    assert len(contents) == 5


ALIKE = "".join(map(chr, range(0x4E00, 0x4E00 + 101)))
MISTAKES: dict[str, list[object]] = {
    "characters": [
        *("abcdefghj", "abcdefghjkk", "ABCDEFGHJabcdefghj", "abcdefghj ", "abcdefghj\u200b", "abcdefghj!"),
        *("abcdefghj\u00b2", "abcdefghj\u05d0\u05d1", "abcdefghj\u1100\u1161", ALIKE, list("abcdefghjk"), None),
    ],
    "length": [2, 13, 6.0, "6", True],
    "width": [203, 1001, None],
    "height": [99, 501, 100.0],
    "fonts": [
        *((), "font.ttf", b"font.ttf", Path("font.ttf"), ("/nowhere/font.ttf",), (Path(__file__).parent,), (7,)),
        *((__file__,), (__file__,) * 17),
    ],
    "case_sensitive": [1, None, "yes"],
    "size_shift": [-0.1, 0.6, "0.3", True, float("nan")],
    "displacement": [-0.1, 1.1, None, (0.5,), (0.5, 0.5, 0.5), (0.5, 1.1), (0.5, True), "05", ()],
    "overlap": [0, None],
    "noise": [-1, 5.1, float("inf")],
    "contrast": ["low", 2.9, 7.1, True, None, float("nan")],
    "inks": [
        "#000000",
        (),
        ("black",),
        ("#00000g",),
        ("#000",),
        ("#ffffff", "#777777", "#000000"),
        (7,),
        ("#000000",) * 17,
    ],
    "styles": [("rows",), {"none": 1}, {}, {"rows": 0}, {"rows": -1}, {"rows": True}, {"rows": float("inf")}],
    "format": ["PNG", "bmp", None],
}


@pytest.mark.parametrize(("option", "value"), [(option, value) for option in MISTAKES for value in MISTAKES[option]])
def test_a_mistake_in_an_option_stops_the_start(option: str, value: object) -> None:
    """A wrong value raises a ValueError of one sentence that begins with the option's name and says what is wanted."""
    options: Any = {option: value}
    with pytest.raises(ValueError, match=rf"(?s)\A{option}: got .*, wanted .*\.\Z"):
        ImageKind(**options)


def test_case_matters_only_where_shapes_differ() -> None:
    """With case_sensitive a letter and a capital of the same shape are refused; others are two answers."""
    with pytest.raises(ValueError, match=r"(?s)\Acharacters: got 'k' and 'K' with case_sensitive, wanted .*\.\Z"):
        ImageKind(characters="abdefhjkK234", case_sensitive=True)
    kind = ImageKind(characters="abdefhjrR234", case_sensitive=True)
    assert answered(" rR ", kind) == "rR"
    assert set("".join(kind.draw(1, "en").answer for _ in range(120))) == set("abdefhjrR234")


def test_a_font_without_one_of_the_characters_stops_the_start() -> None:
    """A missing glyph is told with the font and the character, before any picture is asked for."""
    with pytest.raises(ValueError, match=r"fonts: got '.+\.[to]tf' without a glyph for '字'"):
        ImageKind(characters="abcdefghjk字")


WHOLE_LICENCES = {
    "OFL": ("SIL OPEN FONT LICENSE Version 1.1", "OTHER DEALINGS IN THE FONT SOFTWARE."),
    "Apache": ("Version 2.0, January 2004", "limitations under the License."),
}


@pytest.fixture
def fonts() -> Iterator[list[Path]]:
    with resources.as_file(resources.files("gatepost.fonts")) as folder:
        yield sorted(path for path in folder.iterdir() if path.suffix in (".ttf", ".otf"))


def test_the_fonts_ship_with_their_licences(fonts: list[Path]) -> None:
    """There are five fonts or more, none of them large, each with its copyright and its whole licence beside it."""
    assert len(fonts) >= 5
    assert sum(font.stat().st_size for font in fonts) < 1_500_000
    for font in fonts:
        licence = font.with_name(font.stem.split("-")[0] + ".LICENSE.txt").read_text(encoding="utf-8")
        assert licence.startswith("Copyright ")
        begin, end = WHOLE_LICENCES["Apache" if "Apache License, Version 2.0" in licence else "OFL"]
        assert begin in licence
        assert licence.rstrip().endswith(end)
        assert font.stat().st_size < 400_000


def test_every_font_that_ships_is_drawn_with(fonts: list[Path]) -> None:
    """The list of fonts is that of the folder, and families that need fonts of their own get two at least."""
    names = [font.name for font in bundled_fonts()]
    assert sorted(names) == [font.name for font in fonts]
    assert len(names) >= 6


def test_named_fonts_are_used(fonts: list[Path]) -> None:
    """Paths, as strings or path objects, replace the bundled fonts."""
    kind = ImageKind(fonts=[fonts[0], str(fonts[1])])
    assert len(kind.draw(1, "en").answer) == 6


def test_pillow_is_not_loaded_until_the_first_picture() -> None:
    """Importing the module and making the default kind load neither Pillow nor a font."""
    program = (
        "import sys; from gatepost.challenges.image import ImageKind; kind = ImageKind(); print('PIL' in sys.modules);"
        "kind.draw(1, 'en'); print('PIL' in sys.modules)"
    )
    assert run(program).split() == ["False", "True"]


def test_i6_glyphs_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once every character of every font has been drawn, no picture opens a font again."""
    kind = ImageKind(characters="abcdefghjk2347")
    opened = []
    monkeypatch.setattr(ImageFont, "truetype", lambda *arguments, **_: opened.append(arguments))
    for _ in range(60):
        kind.draw(1, "en")
    assert not opened


def test_i11_threads_draw_at_once() -> None:
    """Eight threads that share a fresh instance all get good pictures of their own."""
    kind, barrier = ImageKind(), threading.Barrier(8)
    drawn: list[Challenge] = []

    def work() -> None:
        barrier.wait(10)
        drawn.extend(kind.draw(1, "en") for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(drawn) == 80
    assert len({challenge.media.content for challenge in drawn}) == 80
    for challenge in drawn:
        picture(challenge).load()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_i11_parent_and_child_draw_differently_after_a_fork() -> None:
    """A kind made and used before a fork works in both processes, and neither repeats the other."""
    program = (
        "import os; from gatepost.challenges.image import ImageKind; kind = ImageKind(); kind.draw(1, 'en')\n"
        "child = os.fork(); os.write(1, kind.draw(1, 'en').answer.encode() + b' ')\n"
        "if child: assert os.waitpid(child, 0)[1] == 0"
    )
    first, second = run(program).split()
    assert first != second


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bdelhk", "bdelhk"),
        ("BDELHK", "bdelhk"),
        (" bd el\thk\r\n", "bdelhk"),
        ("b\u00a0d\u2003e\u200bl\ufeffh\u00adk", "bdelhk"),
        ("b\u2060d\u3164e\ufe0fl\u034fhk", "bdelhk"),
        ("\uff42\uff44\uff45\uff4c\uff48\uff4b", "bdelhk"),
        ("\ud800bd", "bd"),
        ("6aecn8z5i", "bdeeh32sl"),
        ("Fp7VG", "edtyg"),
        ("o09gq", "o09gq"),
        ("", ""),
        (" \t\u200b", ""),
        ("b" * 10_000_000, ""),
        ("\ufdfa" * 150, ""),
    ],
)
def test_what_was_typed_is_read_kindly(text: str, wanted: str) -> None:
    """Case, width, spaces and invisible characters do not matter, look-alikes are taken for the one in use."""
    assert answered(text) == wanted
    assert KIND.normalise({}, b"") == ""


def test_look_alikes_that_are_both_in_use_are_told_apart() -> None:
    """Characters of the alphabet are never taken for another one."""
    kind = ImageKind(characters="0123456789bsz")
    assert answered("0123456789bsz o l", kind) == "0123456789bsz01"


@given(text=typed)
def test_normalise_is_idempotent(text: str) -> None:
    """What normalise returns it leaves as it is."""
    once = answered(text)
    assert answered(once) == once


@given(
    text=st.text(alphabet=CHARACTERS.lower(), max_size=10),
    spaces=st.lists(st.sampled_from(" \t\u00a0\u200b"), max_size=10),
)
def test_case_and_spaces_do_not_matter(text: str, spaces: list[str]) -> None:
    """Upper case and spaces anywhere give the same as the plain answer, which is itself."""
    spread = "".join(a + b for a, b in zip(text.upper().ljust(10), [*spaces, *[""] * 10], strict=False))
    assert answered(spread) == answered(text) == text


@given(text=typed)
def test_nothing_unseen_is_left(text: str) -> None:
    """The result has no spaces or controls, has no more case to fold, and is bounded."""
    result = answered(text)
    assert "".join(result.split()) == result == unicodedata.normalize("NFKC", result.casefold())
    assert len(result) <= 200


def test_every_answer_is_its_own_normal_form() -> None:
    """The answer of a challenge is what normalise makes of it, whatever the case it is typed in."""
    for kind in (KIND, ImageKind(characters="0123456789bszåñé")):
        for _ in range(20):
            answer = kind.draw(1, "en").answer
            assert answered(answer, kind) == answered(answer.upper(), kind) == answer
