"""Blind reading: contact sheets without answers, and a score for what someone reads on them.

``python -m benchmarks.strength.sheets write FOLDER`` draws 100 pictures of the default; type what they say into a text
file, one word for each picture in order of reading, then ``... score FOLDER FILE``. The answers lie in the folder, in a
file that is better not opened before.
"""

from __future__ import annotations

import argparse
import json
from io import BytesIO
from pathlib import Path

from PIL import Image

from gatepost.challenges.image import ImageKind

ACROSS, DOWN, GAP = 5, 5, 5


def write(folder: Path, kind: ImageKind, level: int, sheets: int) -> None:
    """Draw sheets of 25 pictures each."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = []
    for number in range(sheets):
        drawn = [kind.draw(level, "en") for _ in range(ACROSS * DOWN)]
        answers += [challenge.answer for challenge in drawn]
        wide, high = drawn[0].media.width + GAP, drawn[0].media.height + GAP
        sheet = Image.new("RGB", (ACROSS * wide, DOWN * high), "white")
        for place, challenge in enumerate(drawn):
            image = Image.open(BytesIO(challenge.media.content)).convert("RGB")
            sheet.paste(image, (place % ACROSS * wide, place // ACROSS * high))
        sheet.save(folder / f"sheet-{number + 1}.png")
    (folder / "answers.json").write_text(json.dumps(answers))


def score(folder: Path, read: list[str], kind: ImageKind) -> list[tuple[int, str, str]]:
    """The pictures that were read wrongly: number, answer, what was read."""
    answers = json.loads((folder / "answers.json").read_text())
    typed = [kind.normalise({"answer": text}, b"") for text in read]
    pairs = zip(answers, typed, strict=False)
    return [(number, *pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strength.sheets", description=__doc__)
    parser.add_argument("what", choices=("write", "score"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path, nargs="?", help="what was read, to be scored")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--style", help="one family only")
    parser.add_argument("--sheets", type=int, default=4)
    chosen = parser.parse_args()
    kind = ImageKind(styles={chosen.style: 1} if chosen.style else None)
    if chosen.what == "write":
        write(chosen.folder, kind, chosen.level, chosen.sheets)
        return
    if chosen.file is None:
        parser.error("score needs the file of what was read")
    read = chosen.file.read_text().split()
    wrong = score(chosen.folder, read, kind)
    print(f"{len(read) - len(wrong)} of {len(read)} read exactly")
    for number, answer, text in wrong:
        print(f"  picture {number}: {answer!r} was read as {text!r}")


if __name__ == "__main__":
    main()
