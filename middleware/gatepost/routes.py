"""Which rule a method and a path fall under.

A path that the application would route must not slip past the gate because it is spelt another way. So the patterns
match a little more than a router does:

- a final slash more or less (routers redirect, or take both);
- several slashes for one (Werkzeug merges them, some servers do too);
- a final line feed (``$`` in a router's pattern matches before it, and ``%0A`` decodes to it);
- for ``int`` and ``float`` any Unicode digits and a sign (Werkzeug's ``\\d+`` takes them).

Paths are compared decoded and with their case, which is what Starlette, Django, Flask and Litestar do. ``..`` and
``;parameters`` are left alone, as these routers leave them alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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


def strip_prefix(path: str, prefix: str) -> str:
    """``path`` without ``prefix``, if it begins with it and ends there or goes on with a slash."""
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
        self._indices: dict[str, dict[int, int]] = {}
        #: For each method the function to call with a path; it gives the match to hand to :meth:`index`.
        self.finders: dict[str, Finder] = {}
        for method in {method for rule in rules for method in rule.methods}:
            mine = [index for index, rule in enumerate(rules) if method in rule.methods]
            expression = re.compile("|".join(f"(?P<r{index}>{patterns[index]})" for index in mine), re.DOTALL)
            # A match's lastindex is the outermost group that closed last, which is the rule's own, whatever groups a
            # convertor brings.
            self._indices[method] = {expression.groupindex[f"r{index}"]: index for index in mine}
            self.finders[method] = expression.match

    def index(self, method: str, match: re.Match[str]) -> int:
        """The number of the rule that a finder's match belongs to."""
        return self._indices[method][match.lastindex or 0]

    def find(self, method: str, path: str) -> int | None:
        """The number of the first rule for this method and path, or ``None``."""
        finder = self.finders.get(method)
        match = finder(path) if finder is not None else None
        return None if match is None else self.index(method, match)


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
        return _slashes(body) + "/*\n?$"
    from starlette.routing import compile_path  # here, so that a gate without such patterns does not load it

    try:
        _, path_format, convertors = compile_path(body)
    except (AssertionError, ValueError) as error:
        raise ValueError(f"protect: {path!r} is no pattern: {error}.") from error
    expression = ""
    rest = path_format
    for name, convertor in convertors.items():
        fixed, _, rest = rest.partition("{" + name + "}")
        _check_braces(path, fixed)
        wide = convertor.regex.replace("[0-9]+", r"\d+")
        sign = "-?" if wide.startswith(r"\d") else ""
        expression += _slashes(fixed) + f"{sign}(?:{wide})"
    _check_braces(path, rest)
    return expression + _slashes(rest) + "/*\n?$"


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
