"""The catalogues of the pages: extracts what is to be translated, brings every language up to date, and compiles.

    python tools/messages.py

A new language begins as an empty folder of its name, such as ``templates/locale/es``. Nothing is written that has not
changed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "templates" / "locale"
TEMPLATE = LOCALE / "gatepost.pot"

# What is extracted from, by what, and with which options: those of the gate's own templates.
SOURCES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("templates/*.html", "jinja2.ext:babel_extract", {"newstyle_gettext": "true", "silent": "false"}),
    ("middleware/gatepost/words.py", "python", {}),
)
HEAD = """# The words of Gatepost's pages.
# This file has the licence of the package.
"""
# Fields at the head of a catalogue that say when, by whom and by what it was made.
NOISE = (
    b'"Project-Id-Version:',
    b'"Report-Msgid-Bugs-To:',
    b'"POT-Creation-Date:',
    b'"PO-Revision-Date:',
    b'"Last-Translator:',
    b'"Language-Team:',
    b'"Generated-By:',
)


def extract() -> Catalog:
    """What is to be translated, as the sources have it now."""
    catalogue = Catalog(charset="utf-8", fuzzy=False, header_comment=HEAD.strip())
    for pattern, method, options in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            found = extract_from_file(method, path, comment_tags=("Translators:",), options=options)
            for _, message, comments, _ in sorted(found, key=lambda item: item[0]):
                where = path.relative_to(ROOT).as_posix()
                catalogue.add(message, locations=[(where, 0)], auto_comments=comments)
    return catalogue


def rendered(catalogue: Catalog) -> bytes:
    """The catalogue as the text of a file, with nothing in it that changes although no message does."""
    out = io.BytesIO()
    write_po(out, catalogue, width=110, ignore_obsolete=True, include_lineno=False)
    return b"".join(line for line in out.getvalue().splitlines(keepends=True) if not line.startswith(NOISE))


def read(path: Path) -> Catalog:
    """The catalogue in a file, in the language of its folder."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name, domain="gatepost")


def compiled(catalogue: Catalog) -> bytes:
    """The catalogue as programs read it; what is not translated, or fuzzy, stays English."""
    out = io.BytesIO()
    write_mo(out, _Bare(catalogue))  # type: ignore[arg-type]
    return out.getvalue()


class _Bare:
    """A catalogue whose head says only what is needed to read it."""

    charset = "utf-8"

    def __init__(self, catalogue: Catalog) -> None:
        self._catalogue = catalogue

    def __iter__(self) -> Iterator[Message]:
        forms = self._catalogue.plural_forms
        yield Message("", f"Content-Type: text/plain; charset=utf-8\nPlural-Forms: {forms}\n")
        yield from (message for message in self._catalogue if message.id)


def languages() -> list[Path]:
    """The file of each language, whether it exists or is to be made."""
    return [folder / "LC_MESSAGES" / "gatepost.po" for folder in sorted(LOCALE.iterdir()) if folder.is_dir()]


def _save(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(f"wrote {path.relative_to(ROOT)}")


def untranslated(catalogue: Catalog) -> Iterable[str]:
    """The messages that would stay English."""
    for message in catalogue:
        texts = message.string if isinstance(message.string, tuple | list) else (message.string,)
        if message.id and (message.fuzzy or not all(texts)):
            yield str(message.id)


def main() -> None:
    """Bring all files up to date, and say what is missing."""
    template = extract()
    _save(TEMPLATE, rendered(template))
    for path in languages():
        catalogue = read(path) if path.exists() else Catalog(locale=path.parent.parent.name, fuzzy=False)
        catalogue.update(template, no_fuzzy_matching=True, update_header_comment=True)
        _save(path, rendered(catalogue))
        _save(path.with_suffix(".mo"), compiled(catalogue))
        missing = len(list(untranslated(catalogue)))
        if missing:
            print(f"{missing} messages are still to be translated in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
