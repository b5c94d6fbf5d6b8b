"""Which rule a method and a path fall under.

A path that the application would route must not slip past the gate because it is spelt another way. So the patterns
match a little more than a router does:

- a final slash more or less (routers redirect, or take both);
- several slashes for one, and none for the first (Werkzeug and Litestar take them, some servers do too);
- a final line feed (``$`` in a router's pattern matches before it, and ``%0A`` decodes to it);
- for ``int``, ``float`` and ``uuid`` whatever Python reads as such: any Unicode digits (Werkzeug), signs, blanks,
  underscores, ``urn:uuid:`` (Litestar);
- any case of the method (Django, Werkzeug and Quart turn it into upper case).

Paths are compared decoded and with their case, which is what Starlette, Django, Flask and Litestar do. ``..`` and
``;parameters`` are left alone, as these routers leave them alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from urllib.parse import urlparse

from .rules import Bound

Finder = Callable[[str], "re.Match[str] | None"]

# Values that stand for a parameter when rules are held against each other: unlike anything a fixed path would have.
_SAMPLES = {
    "str": "\ue000",
    "path": "\ue000/\ue000",
    "int": "9007199254740993",
    "float": "90071992.5",
    "uuid": "0e9d6d0a-0000-4000-8000-00000000e000",
}
_PARAMETER = re.compile(r"{[^}]*}")

# What int(), float() and uuid.UUID() take, or a little more.
_INT = r"\s*[-+]?\d[\d_]*\s*"
_FLOAT = r"\s*[-+]?(?:(?i:nan|inf(?:inity)?)|(?=[\d_]*\.?\d)[\d_]*(?:\.[\d_]*)?(?:[eE][-+]?[\d_]+)?)\s*"
_UUID = r"(?:urn:|uuid:|[-+{}\s_xX\da-fA-F]){32,}"


def strip_prefix(path: str, prefix: str) -> str:
    """``path`` without ``prefix``, if it begins with it and ends there or goes on with a slash.

    Of an absolute address only the path counts: some servers hand on the request line's, and Quart takes it.
    """
    if not path.startswith("/") and "://" in path:
        try:
            path = urlparse(path).path
        except ValueError:
            return path
    if prefix and path.startswith(prefix):
        rest = path[len(prefix) :]
        if not rest or rest[0] == "/":
            return rest
    return path


class Routes:
    """The patterns of all rules, compiled into one expression for each method; the first rule that matches wins.

    :raises ValueError: for a pattern that is malformed or can match nothing.
    """

    def __init__(self, rules: Sequence[Bound]) -> None:
        patterns = [_pattern(rule.path) for rule in rules]
        _check_reachable(rules, patterns)
        #: For each method the number of the rule that a match belongs to, by the match's ``lastindex``.
        self.indices: dict[str, dict[int, int]] = {}
        #: For each method the function to call with a path; it gives a match or ``None``.
        self.finders: dict[str, Finder] = {}
        for method in {method for rule in rules for method in rule.methods}:
            mine = [index for index, rule in enumerate(rules) if method in rule.methods]
            # The empty group at its end tells which rule matched: lastindex is the group that closed last, whatever
            # groups a convertor brings. A group around each would be entered for every rule that is tried.
            expression = re.compile("|".join(f"{patterns[index]}(?P<r{index}>)" for index in mine), re.DOTALL)
            indices = {expression.groupindex[f"r{index}"]: index for index in mine}
            for spelling in _spellings(method):
                self.indices[spelling] = indices
                self.finders[spelling] = expression.match

    def find(self, method: str, path: str) -> int | None:
        """The number of the first rule for this method and path, or ``None``."""
        finder = self.finders.get(method)
        match = finder(path) if finder is not None else None
        return None if match is None else self.indices[method][match.lastindex or 0]


def _spellings(method: str) -> Iterator[str]:
    return map("".join, product(*zip(method, method.lower(), strict=True)))


def _slashes(text: str) -> str:
    return re.sub(r"/+", "/+", re.escape(text))


def _pattern(path: str) -> str:
    """The regular expression for a path in Starlette's notation, widened as the module says."""
    for part, why in (("?", "a query string"), ("#", "a fragment"), ("\\", "a backslash")):
        if part in _PARAMETER.sub("", path):
            raise ValueError(f"protect: {path!r} can match nothing, since a path never holds {why}; leave it out.")
    if re.search(r"%[0-9A-Fa-f]{2}", path):
        raise ValueError(f"protect: {path!r} can match nothing, since paths are compared decoded; write it decoded.")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise ValueError(f"protect: {path!r} can match nothing, since clients resolve '.' and '..'; write it resolved.")
    body = path.rstrip("/")
    if "{" not in path and "}" not in path:
        return _final(_slashes(body))
    from starlette import convertors as known  # here, so that a gate without such patterns does not load it
    from starlette.routing import compile_path

    try:
        _, path_format, convertors = compile_path(body)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"protect: {path!r} is no pattern: {error}.") from error
    wider = {known.IntegerConvertor: _INT, known.FloatConvertor: _FLOAT, known.UUIDConvertor: _UUID}
    expression = ""
    rest = path_format
    for name, convertor in convertors.items():
        fixed, _, rest = rest.partition("{" + name + "}")
        _check_braces(path, fixed)
        expression += _slashes(fixed) + f"(?:{wider.get(type(convertor), convertor.regex)})"
    _check_braces(path, rest)
    expression += _slashes(rest)
    # A parameter that takes slashes takes those beside it, too. If both could, a long path would cost its length cubed.
    greedy = f"(?:{known.PathConvertor.regex})"
    return _final(expression.replace(f"/+{greedy}", f"/{greedy}").replace(f"{greedy}/+", f"{greedy}/"))


def _final(expression: str) -> str:
    """Any number of slashes in front and behind, none included, and a line feed."""
    front = f"/*{expression[2:]}" if expression.startswith("/+") else f"/?{expression[1:]}"
    return front + "/*\n?$"


def _check_braces(path: str, fixed: str) -> None:
    if "{" in fixed or "}" in fixed:
        raise ValueError(f"protect: {path!r} has a brace too many; wanted parameters such as '{{id:int}}'.")


def _sample(path: str) -> str:
    def value(match: re.Match[str]) -> str:
        _, _, convertor = match[0][1:-1].partition(":")
        return _SAMPLES.get(convertor or "str", _SAMPLES["str"])

    return _PARAMETER.sub(value, path)


def _check_reachable(rules: Sequence[Bound], patterns: Sequence[str]) -> None:
    """Stop the start over a rule of which every request is taken by earlier ones."""
    for later, rule in enumerate(rules):
        sample = _sample(rule.path)
        left = set(rule.methods)
        for earlier in range(later):
            if left & set(rules[earlier].methods) and re.match(patterns[earlier], sample, re.DOTALL):
                left -= set(rules[earlier].methods)
                if not left:
                    raise ValueError(
                        f"protect: {rule.path!r} can match nothing, since {rules[earlier].path!r} stands before it and "
                        f"takes its requests; put the narrower rule first."
                    )
