"""What has been measured, kept as JSON lines, so that a run that takes hours can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .contenders import Contender
from .pictures import drawing


@dataclass(frozen=True, slots=True)
class Result:
    """What one reader makes of one generator's pictures.

    :param contender: whose pictures they are.
    :param reading: by what they were read.
    :param seed: of the reader.
    :param version: the fingerprint of what draws our pictures; empty for others.
    :param figures: by name: shares of 1, contrasts, rates, bytes, and ``pictures``, how many there were.
    :param families: the share of each family that was read exactly, where there are several.
    """

    contender: str
    reading: str
    seed: int
    version: str
    figures: Mapping[str, float]
    families: Mapping[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What two results have in common if one of them is enough."""
        return self.contender, self.reading, self.seed, self.version


class Results:
    """All results of a file; of those of older pictures of ours nothing is shown.

    :param path: the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._all = {result.key: result for result in (Result(**json.loads(line)) for line in lines)}

    def has(self, contender: Contender, reading: str, seed: int) -> bool:
        """Whether this is known."""
        return (contender.name, reading, seed, version(contender)) in self._all

    def add(self, result: Result) -> None:
        """Keep a result, on disk too."""
        self._all[result.key] = result
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def of(self, contender: Contender, reading: str) -> list[Result]:
        """What is known of this, one result for each seed."""
        wanted = (contender.name, reading, version(contender))
        return [one for one in self._all.values() if (one.contender, one.reading, one.version) == wanted]

    def readings(self) -> list[str]:
        """Every reading there is, in the order of the first of its results."""
        return list(dict.fromkeys(one.reading for one in self._all.values()))


def version(contender: Contender) -> str:
    """The fingerprint of a contender's source, as far as results depend on it."""
    return drawing() if contender.own else ""
