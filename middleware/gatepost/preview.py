"""``gatepost preview``: what visitors will see and hear, before a kind of challenge is turned on."""

from __future__ import annotations

import argparse
import importlib
import mimetypes
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from .challenges import AudioKind, ImageKind, QuestionKind
from .challenges._options import check_whole
from .pool import checked
from .protocols import Challenge, Kind, Media

_MOST = 200  # challenges, so that a sheet of the largest pictures fits into memory
_SHEET, _ONES = 24, 5  # challenges if no number is given: on a sheet or printed, and as files of their own
_SUFFIXES = {"audio/wav": ".wav"}  # that every system knows by another name


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command; those of the image challenge are named like the options of :class:`ImageKind`."""
    parser.set_defaults(run=run)
    parser.usage = "gatepost preview [-o FILE] [options]"  # the whole of it would bury what is wrong with one
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", help="a picture (.png, .pdf ...), a sound, or a folder for one file each")
    add("--kind", default="image", help="image (the default), audio, question, or module:name of one of your own")
    add("--count", type=int, help=f"how many ({_SHEET} if left out, {_ONES} files in a folder, 1 sound)")
    add("--columns", type=int, help="pictures in a row of the sheet (4 if left out)")
    add("--level", type=int, default=1, help="how hard, 1 to 4 (1 if left out)")
    add("--locale", default="en", help="language of recordings and questions")
    add("--answers", action="store_true", help="write the answer beneath each picture, or print it")
    _add_image(parser.add_argument_group("pictures", "as the site has them; see the options of ImageKind"))
    others = parser.add_argument_group("recordings and questions")
    others.add_argument("--fallback", metavar="TAG", help="language for visitors whose own has no recordings")
    others.add_argument("--questions", metavar="FILE", help="the TOML file with the questions")


def _add_image(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--text", help="draw this instead of random characters")
    add("--characters", help="what is drawn")
    add("--length", type=int, help="characters in an answer (digits of a recording)")
    add("--width", type=int, help="pixels")
    add("--height", type=int, help="pixels")
    add("--font", dest="fonts", metavar="FILE", nargs="+", action="extend", help="font files")
    add("--case-sensitive", action="store_const", const=True, help="k and K are two answers")
    add("--size-shift", type=float, metavar="SHARE", help="0 to 0.5")
    add("--displacement", type=float, nargs="+", metavar="SHARE", help="0 to 1; or two, sideways and up and down")
    add("--overlap", action="store_const", const=True, help="letters may touch")
    add("--noise", type=float, help="0 to 5")
    add("--contrast", type=_contrast, help="standard, enhanced, or a ratio from 3 to 7")
    add("--ink", dest="inks", metavar="COLOUR", nargs="+", action="extend", help="such as #1a2b3c")
    add("--style", dest="styles", metavar="STYLE", nargs="+", action="extend", help="families of pictures")
    add("--format", help="of each picture: png, webp, jpeg or gif")


def _contrast(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit status: 2 for an option that cannot be, 1 for a file that cannot be written."""
    try:
        check_whole("level", options.level, 1, 100)
        if options.count is not None:
            check_whole("count", options.count, 1, _MOST)
        _write(_draws(options), options)
    except ValueError as error:
        print(f"gatepost: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"gatepost: output: got {error.filename!r} ({error.strerror}).", file=sys.stderr)
        return 1
    return 0


# ---- the kind -------------------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[Callable[..., Kind], tuple[str, ...]]] = {
    "image": (
        ImageKind,
        (
            *("characters", "length", "width", "height", "fonts", "case_sensitive", "size_shift", "displacement"),
            *("overlap", "noise", "contrast", "inks", "styles", "format"),
        ),
    ),
    "audio": (AudioKind, ("length", "fallback")),
    "question": (QuestionKind, ("questions",)),
}
# To be used otherwise than for making a kind.
_BESIDES = {"image": ("text",), "audio": (), "question": ()}
_OF_KINDS = sorted({name for _, names in _KINDS.values() for name in names} | {"text"})


def _draws(options: argparse.Namespace) -> Iterator[Challenge]:
    """New challenges, without end."""
    given = {name: getattr(options, name) for name in _OF_KINDS if getattr(options, name) is not None}
    made, names = _KINDS.get(options.kind, (None, ("fonts",)))  # of a kind of one's own, the answers' font
    for name in given:
        if name not in (*names, *_BESIDES.get(options.kind, ())):
            raise ValueError(f"{name}: got {given[name]!r}, wanted none with the kind {options.kind!r}.")
    text = given.pop("text", None)
    kind = _own(options.kind) if made is None else made(**_arguments(options.kind, given))
    while True:
        if made is None:
            yield _drawn(kind, options)
        elif text is not None and isinstance(kind, ImageKind):
            yield Challenge(text, kind.picture(text, options.level))
        else:
            yield kind.draw(options.level, options.locale)


def _arguments(kind: str, given: dict[str, Any]) -> Mapping[str, Any]:
    """What was given, as the kind wants it."""
    if kind == "question":
        if "questions" not in given:
            raise ValueError("questions: got none, wanted the TOML file that they are in.")
        return {"source": given["questions"]}
    if "styles" in given:
        given["styles"] = dict.fromkeys(given["styles"], 1)
    if len(given.get("displacement", ())) == 1:
        [given["displacement"]] = given["displacement"]
    return given


def _own(place: str) -> Kind:
    """A kind of the site's own, or one of ours as the site has made it."""
    module, _, name = place.partition(":")
    if not module or not name:
        raise ValueError(f"kind: got {place!r}, wanted {', '.join(_KINDS)}, or module:name of a kind of your own.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where the command runs, as with python -m
    try:
        kind = getattr(importlib.import_module(module), name)
        # Both may run code of the site's own.
        fits = isinstance(kind, Kind) and not isinstance(kind, type) and isinstance(kind.name, str)
    except (Exception, SystemExit) as error:
        raise ValueError(f"kind: got {place!r}, which cannot be imported ({_why(error)}).") from error
    if not fits:
        raise ValueError(f"kind: got {place!r}, wanted an object with the methods of a kind.")
    return cast(Kind, kind)


def _drawn(kind: Kind, options: argparse.Namespace) -> Challenge:
    """A challenge of a kind of the site's own, which may fail in any way."""
    try:
        return checked(kind.draw(options.level, options.locale))
    except (Exception, SystemExit) as error:
        raise ValueError(f"kind: got {options.kind!r}, which cannot draw ({_why(error)}).") from error


def _why(error: BaseException) -> str:
    """What an exception says, in one line, and which line of the site's own code it comes from."""
    said = " ".join(str(error).split())
    if not isinstance(error, (ImportError, AttributeError, SyntaxError)):  # which say enough by themselves
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    ours = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if not frame.filename.startswith(("<", ours, importlib.__file__))]
    return f"{said}; {Path(places[-1].filename).name}, line {places[-1].lineno}" if places else said


# ---- what is made of it ---------------------------------------------------------------------------------------------


def _write(draws: Iterator[Challenge], options: argparse.Namespace) -> None:
    first = next(draws)
    family = first.media.type.partition("/")[0]
    if options.columns is not None:
        check_whole("columns", options.columns, 1, _MOST)
    if family == "text":
        _print(first, draws, options)
    elif options.output and (options.output.endswith(os.sep) or Path(options.output).is_dir()):
        _write_each(Path(options.output), first, draws, options)
    elif family == "audio":
        _write_sound(first, options)
    elif family == "image":
        _write_sheet(first, draws, options)
    else:
        raise ValueError(f"kind: got {first.media.type} from {options.kind!r}, wanted image, audio or text/plain.")


def _some(first: Challenge, draws: Iterator[Challenge], count: int) -> list[Challenge]:
    return [first, *(next(draws) for _ in range(count - 1))]


def _print(first: Challenge, draws: Iterator[Challenge], options: argparse.Namespace) -> None:
    """Each question once, of those that came."""
    if options.output:
        raise ValueError(f"output: got {options.output!r}, wanted none, since questions are printed.")
    drawn = _some(first, draws, options.count or _SHEET)
    answers = {challenge.media.content.decode("utf-8", "replace"): challenge.answer for challenge in drawn}
    for question, answer in answers.items():
        print(f"{question}\n    {answer}" if options.answers else question)


def _write_each(folder: Path, first: Challenge, draws: Iterator[Challenge], options: argparse.Namespace) -> None:
    folder.mkdir(exist_ok=True)
    for number, challenge in enumerate(_some(first, draws, options.count or _ONES), 1):
        media = challenge.media
        suffix = _SUFFIXES.get(media.type) or mimetypes.guess_extension(media.type) or ""
        _save(media, folder / f"preview-{number}{suffix}", challenge.answer if options.answers else "")


def _write_sound(first: Challenge, options: argparse.Namespace) -> None:
    if (options.count or 1) > 1:
        raise ValueError(f"count: got {options.count} for one sound, wanted a folder as --output for several.")
    suffix = _SUFFIXES.get(first.media.type, "")
    _save(first.media, Path(options.output or f"preview{suffix}"), first.answer if options.answers else "")


def _write_sheet(first: Challenge, draws: Iterator[Challenge], options: argparse.Namespace) -> None:
    # Here and not at the top, so that the other commands never load Pillow.
    from .challenges._sheet import contact_sheet

    drawn = _some(first, draws, options.count or _SHEET)
    labels = [_label(challenge.answer, options.characters) for challenge in drawn] if options.answers else []
    font = options.fonts[0] if options.fonts else None
    sheet = contact_sheet([challenge.media.content for challenge in drawn], options.columns or 4, labels, font)
    many = f"{len(drawn)} pictures" if len(drawn) > 1 else "1 picture"
    _save(sheet, Path(options.output or "preview.png"), many)


def _label(answer: str, characters: str | None) -> str:
    """The answer in letters that the site's font is known to have."""
    if characters is None:
        return answer
    return "".join(letter if letter in characters else letter.upper() for letter in answer)


def _save(media: Media, path: Path, remark: str) -> None:
    """Write a file and say so; what it takes the place of must be of its sort."""
    there = path.exists()
    if there and not _is_alike(path, media):
        raise ValueError(f"output: got '{path}', which is there and holds something else; wanted another name.")
    if not path.parent.is_dir():
        raise ValueError(f"output: got '{path}', wanted a file in a folder that exists.")
    media.save(path)
    size = f", {media.width} x {media.height} pixels" if media.width else ""
    instead = ", in place of the one that was there" if there else ""
    print(f"{path}: {remark or media.type}{size}, {path.stat().st_size / 1000:.0f} kB{instead}")


def _is_alike(path: Path, media: Media) -> bool:
    """Whether a file holds a picture, where one is to be written, or a recording."""
    if not path.is_file():
        return False
    if media.type == "audio/wav":
        with path.open("rb") as file:
            head = file.read(12)
        return head[:4] == b"RIFF" and head[8:] == b"WAVE"
    from PIL import Image, UnidentifiedImageError

    try:
        Image.open(path).close()
    except UnidentifiedImageError:
        return False
    return media.type.startswith("image/")
