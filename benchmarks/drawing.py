"""Making challenges: pictures beside those of other generators, in one run, and recordings."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from gatepost.challenges import AudioKind, ImageKind

from .strength.contenders import DJANGO, PEERS
from .tables import ROW, middle, show
from .timing import Contender, Plan, Result, Round, loop, measure

RATE, BYTES = 3.0, 0.5  # times BotBlock's, at the same size

_SIZES = ((300, 150), (300, 100), (750, 250))
_WARM = 200  # of each before the clock starts, by which ours have every letter of every font
_SEEN = 40  # challenges that the bytes are the median of


@dataclass(frozen=True)
class Maker:
    """A generator at one size.

    :param sizes: makes so many, and tells the bytes of each.
    """

    name: str
    width: int
    height: int
    round: Round = field(repr=False)
    sizes: Callable[[int], list[int]] = field(repr=False)

    @property
    def title(self) -> str:
        """The name with the size."""
        return f"{self.name}, {self.width}x{self.height}"


def _of(name: str, width: int, height: int, make: Callable[[], bytes], size: Callable[[bytes], int] = len) -> Maker:
    return Maker(name, width, height, loop(make), lambda count: [size(make()) for _ in range(count)])


def _ours() -> Iterator[Maker]:
    for width, height in _SIZES:
        yield _of("Gatepost", width, height, partial(_picture, ImageKind(width=width, height=height)))


def _picture(kind: ImageKind) -> bytes:
    return kind.draw(1, "en").media.content


def _botblock() -> Iterator[Maker]:
    from botblock.captcha import Captcha, Settings  # type: ignore[import-untyped]

    def make(settings: Settings) -> bytes:
        drawn: str = Captcha(settings).base64()
        return drawn.encode()

    for width, height in _SIZES:
        settings = Settings(WIDTH=width, HEIGHT=height)
        yield _of("BotBlock", width, height, partial(make, settings), lambda drawn: len(b64decode(drawn)))


def _lepture() -> Iterator[Maker]:
    from captcha.image import ImageCaptcha  # type: ignore[import-not-found,unused-ignore]

    def make(maker: ImageCaptcha) -> bytes:
        drawn: bytes = maker.generate("k3m7xd").getvalue()
        return drawn

    for width, height in ((160, 60), (300, 100)):
        yield _of("captcha", width, height, partial(make, ImageCaptcha(width=width, height=height)))


# A program of its own, since its package is named like the one above. It is told how many to draw, and answers with
# the seconds that it took and the bytes of the last one.
_DJANGO = (
    DJANGO
    + """
import time
for line in sys.stdin:
    keys = [CaptchaStore.generate_key() for _ in range(int(line))]
    started = time.perf_counter()
    for key in keys:
        drawn = captcha_image(request, key)
    print(time.perf_counter() - started, len(drawn.content), flush=True)
"""
)


@contextmanager
def _django() -> Iterator[Maker]:
    run = [sys.executable, "-W", "ignore", "-c", _DJANGO, str(PEERS)]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        told, heard = process.stdin, process.stdout

        def ask(count: int) -> tuple[float, int]:
            print(count, file=told, flush=True)
            seconds, size = heard.readline().split()
            return float(seconds), int(size)

        yield Maker(
            "django-simple-captcha",
            70,
            29,
            lambda count: ask(count)[0],
            lambda count: [ask(1)[1] for _ in range(count)],
        )
        told.close()


def _makers(stack: ExitStack) -> list[Maker]:
    """Ours, and whichever peers are installed."""
    found = [*_ours()]
    if importlib.util.find_spec("botblock"):
        found += _botblock()
    if importlib.util.find_spec("captcha"):
        found += _lepture()
    if (PEERS / "captcha").is_dir():
        found.append(stack.enter_context(_django()))
    return found


def _row(maker: Maker, result: Result, size: float, peer: tuple[Result, float] | None) -> ROW:
    """One line of the table.

    :param peer: what BotBlock takes at the same size, and its bytes.
    """
    row = (maker.title, *middle(result), f"{1e6 / result.median:,.0f}", f"{size:,.0f}")
    if peer is None:
        return (*row, "", "")
    faster, smaller = peer[0].median / result.median, size / peer[1]
    return (*row, f"{faster:.1f}x [>= {RATE:g}]", f"{smaller:.2f}x [<= {BYTES:g}]")


def run(plan: Plan) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        makers = _makers(stack)
        for maker in makers:
            maker.round(_WARM)
        found = measure([Contender(maker.title, maker.round) for maker in makers], plan.of(0.1, 0.01))
        sizes = {maker.title: statistics.median(maker.sizes(_SEEN)) for maker in makers}
    rows = []
    for maker in makers:
        other = f"BotBlock, {maker.width}x{maker.height}"
        peer = (found[other], sizes[other]) if maker.name == "Gatepost" and other in found else None
        rows.append(_row(maker, found[maker.title], sizes[maker.title], peer))
    head = ("", "median", "quartiles", "a second", "bytes", "rate, BotBlock's", "bytes, BotBlock's")
    show("Pictures: microseconds each, on one core", head, rows, "Six characters; django-simple-captcha has four.")
    _recordings(plan)


def _recordings(plan: Plan) -> None:
    kind = AudioKind()
    found = measure(
        [Contender(f"level {level}", loop(partial(kind.draw, level, "en"))) for level in (1, 4)], plan.of(0.05, 0.02)
    )
    rows = []
    for (name, result), level in zip(found.items(), (1, 4), strict=True):
        content = [len(kind.draw(level, "en").media.content) for _ in range(_SEEN)]
        rows.append((name, *middle(result), f"{1e6 / result.median:,.0f}", f"{max(content):,}", "< 120,000"))
    head = ("six digits", "median", "quartiles", "a second", "bytes, the most", "target")
    show("Recordings: microseconds each, on one core", head, rows)
