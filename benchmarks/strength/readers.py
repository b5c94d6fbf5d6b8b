"""Readers that anyone can install and that have not seen the pictures: tesseract and ddddocr."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from .contenders import Contender, Sample
from .lines import reading_order

Box = tuple[int, int, int, int]


def tesseract(contender: Contender, samples: Sequence[Sample], page: int) -> list[str]:
    """What tesseract reads with page mode 7 (a line) or 8 (a word), grey, at twice the size."""
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, sample in enumerate(samples):
            image = Image.open(BytesIO(sample.content)).convert("L")
            path = Path(folder) / f"{number}.png"
            image.resize((2 * image.width, 2 * image.height), Image.Resampling.BICUBIC).save(path, compress_level=1)
            paths.append(str(path))
        whitelist = f"tessedit_char_whitelist={contender.shapes}"
        texts = _tesseract(paths, Path(folder), page, whitelist)
    return ["".join(text.split()).lower() for text in texts]


def _tesseract(paths: list[str], folder: Path, page: int, whitelist: str) -> list[str]:
    """What it says to each picture. It crashes on a few, so a batch that fails is read in halves."""
    listing = folder / "some.txt"
    listing.write_text("\n".join(paths))
    run = [shutil.which("tesseract") or "tesseract", str(listing), "-", "--psm", str(page), "-c", whitelist]
    done = subprocess.run(  # noqa: S603 - a program of the system, with our own arguments
        [*run, "-c", "page_separator=\f"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
    )
    if done.returncode == 0:
        return done.stdout.split("\f")[: len(paths)]
    if len(paths) == 1:
        return [""]
    half = len(paths) // 2
    parts = (paths[:half], paths[half:])
    return [text for part in parts for text in _tesseract(part, folder, page, whitelist)]


def ddddocr(samples: Sequence[Sample], crops: bool) -> list[str]:
    """What ddddocr reads of a picture as a whole, or of what its detector finds in it, in order of reading."""
    read, find = _ddddocr()
    texts = []
    for sample in samples:
        if not crops:
            texts.append(read(sample.content).lower())
            continue
        image = Image.open(BytesIO(sample.content)).convert("RGB")
        text = ""
        for box in in_order(find(_png(image)), sample, image.width):
            text += read(_png(image.crop(_wider(box)))).lower()[:1]
        texts.append(text)
    return texts


_loaded: list[tuple[Callable[[bytes], str], Callable[[bytes], list[Box]]]] = []


def _ddddocr() -> tuple[Callable[[bytes], str], Callable[[bytes], list[Box]]]:
    if not _loaded:
        package, onnxruntime = importlib.import_module("ddddocr"), importlib.import_module("onnxruntime")
        onnxruntime.set_default_logger_severity(3)
        reader = package.DdddOcr(show_ad=False)
        finder = package.DdddOcr(det=True, ocr=False, show_ad=False)
        _loaded.append((reader.classification, lambda content: [tuple(box) for box in finder.detection(content)]))
    return _loaded[0]


def in_order(boxes: Sequence[Box], sample: Sample, wide: int) -> list[Box]:
    """Boxes from left to right, and line by line if the picture is one of ours, which is so many pixels wide."""
    places = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes]
    order = reading_order(places, wide) if sample.family else sorted(range(len(boxes)), key=places.__getitem__)
    return [boxes[number] for number in order]


def _wider(box: Box) -> Box:
    return box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
