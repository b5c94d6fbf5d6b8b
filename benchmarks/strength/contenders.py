"""Who makes pictures: ours, family by family and mixed, and the peers at their defaults."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import random
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from gatepost.challenges._layout import Stance
from gatepost.challenges._styles import HANDS
from gatepost.challenges.image import CHARACTERS, STYLES, ImageKind

PEERS = Path(sys.prefix) / "peers"
"""Where django-simple-captcha is installed, apart: its package has the same name as that of ``captcha``."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture as a file, its answer as it is compared, and the family it is of."""

    content: bytes = field(repr=False)
    answer: str
    family: str = ""


@dataclass(frozen=True, slots=True)
class Contender:
    """A generator at fixed settings. Attacks know what it draws, with which fonts, and how its letters stand."""

    name: str
    shapes: str
    fonts: tuple[Path, ...]
    size: tuple[int, int]
    make: Callable[[int], list[Sample]] = field(repr=False)
    own: bool = False
    stances: tuple[Stance, ...] = (Stance(),)

    @property
    def alphabet(self) -> str:
        """What answers are made of, without case."""
        return "".join(sorted(set(self.shapes.lower())))


def ours(name: str, weights: Mapping[str, float], level: int = 1, **options: object) -> Contender:
    """Gatepost's pictures, of the families that have a weight."""
    kinds = {style: ImageKind(styles={style: 1.0}, **options) for style in weights}  # type: ignore[arg-type]

    def make(count: int) -> list[Sample]:
        chosen = random.choices(list(weights), list(weights.values()), k=count)  # noqa: S311 - a choice of pictures
        drawn = ((kinds[style].draw(level, "en"), style) for style in chosen)
        return [Sample(challenge.media.content, challenge.answer, style) for challenge, style in drawn]

    fonts = _font_files(Path(str(resources.files("gatepost.fonts"))))
    stances = tuple(HANDS[style].stance for style in weights)
    return Contender(name, CHARACTERS, fonts, (300, 150), make, own=True, stances=stances)


def _font_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in (".ttf", ".otf")))


def _lepture() -> Contender:
    package = importlib.import_module("captcha.image")
    shapes = "23456789abcdefghjkmnpqrstuvwxyz"
    maker = package.ImageCaptcha()

    def make(count: int) -> list[Sample]:
        samples = []
        for _ in range(count):
            text = "".join(random.choices(shapes, k=6))  # noqa: S311 - nothing secret
            samples.append(Sample(maker.generate(text).getvalue(), text))
        return samples

    return Contender("captcha (lepture)", shapes, _font_files(Path(package.DATA_DIR)), (160, 60), make)


def _botblock(name: str, **settings: object) -> Contender:
    package = importlib.import_module("botblock.captcha")
    made = package.Settings(**settings)
    known = made.get_settings()

    def make(count: int) -> list[Sample]:
        samples = []
        for _ in range(count):
            drawn = package.Captcha(made)
            samples.append(Sample(b64decode(drawn.base64()), drawn.get_solution().lower()))
        return samples

    fonts = tuple(Path(font) for font in known["FONTS"])
    return Contender(name, known["CHARACTER_SET"], fonts, (known["WIDTH"], known["HEIGHT"]), make, stances=())


# A program that is given where its package lies: what it does before it draws.
DJANGO = """
import sys
sys.path.insert(0, sys.argv[1])
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["captcha"], DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
)
django.setup()
from django.core.management import call_command
from django.test import RequestFactory
call_command("migrate", verbosity=0)
from captcha.models import CaptchaStore
from captcha.views import captcha_image
request = RequestFactory().get("/")
"""
_DJANGO = (
    DJANGO
    + """
import pickle
made = []
for _ in range(int(sys.argv[2])):
    key = CaptchaStore.generate_key()
    made.append((captcha_image(request, key).content, CaptchaStore.objects.get(hashkey=key).response))
sys.stdout.buffer.write(pickle.dumps(made))
"""
)


def _django() -> Contender:
    def make(count: int) -> list[Sample]:
        run = [sys.executable, "-W", "ignore", "-c", _DJANGO, str(PEERS), str(count)]
        made = subprocess.run(run, capture_output=True, check=True).stdout  # noqa: S603 - our own program
        return [Sample(content, answer) for content, answer in pickle.loads(made)]  # noqa: S301 - we wrote it

    fonts = _font_files(PEERS / "captcha" / "fonts")
    return Contender("django-simple-captcha", "abcdefghijklmnopqrstuvwxyz", fonts, (70, 29), make)


def all_contenders() -> list[Contender]:
    """Ours, family by family and mixed as they are by default, and whichever peers are installed."""
    listed = [ours("gatepost", {style: weight for style, weight in STYLES.items() if weight})]
    listed += [ours(f"gatepost {style}", {style: 1.0}) for style in STYLES]
    listed.append(ours("gatepost enhanced", {"patches": 1.0, "rows": 1.0, "waves": 1.0}, contrast="enhanced"))
    listed.append(ours("gatepost level 4", {"patches": 1.0, "rows": 1.0, "waves": 1.0}, level=4))
    if importlib.util.find_spec("botblock"):
        listed.append(_botblock("BotBlock"))
        listed.append(
            _botblock(
                "BotBlock, recommended contrast",
                MINIMUM_COLOR_BRIGHTNESS_DIFFERENCE=125,
                MINIMUM_COLOR_HUE_DIFFERENCE=500,
            )
        )
    if importlib.util.find_spec("captcha"):
        listed.append(_lepture())
    if (PEERS / "captcha").is_dir():
        listed.append(_django())
    return listed
