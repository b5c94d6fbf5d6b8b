"""The form of an answer request: our own fields, and nothing else is ever parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .carry import TEXT_LIMIT
from .tokens import TOKEN_LIMIT

#: How the body of an answer request begins.
PREFIX = b"gatepost_token="
URLENCODED = "application/x-www-form-urlencoded"
#: The longest answer that is looked at, in characters.
ANSWER_LIMIT = 256
#: The largest body that can be an answer request, in bytes; an answer of other scripts is percent-encoded.
BODY_LIMIT = TOKEN_LIMIT + TEXT_LIMIT + 9 * ANSWER_LIMIT + 1024

_FIELDS = 12
_OTHER_KIND = "kind-"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer request brought.

    ``fields`` is what a kind may see: ``answer``, and ``x`` and ``y`` of a click. ``another`` is set if another
    picture was asked for, and ``kind`` if it should be of another kind.
    """

    token: str
    carry: str
    fields: Mapping[str, str]
    another: bool = False
    kind: str = ""


def parse(body: bytes) -> AnswerForm | None:
    """The form in an answer request's body; ``None`` if it is malformed, too long, or has a field of ours twice."""
    if len(body) > BODY_LIMIT:
        return None
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        return None
    if not pairs or pairs[0][0] != "gatepost_token":
        return None
    ours = [(name.removeprefix("gatepost_"), value) for name, value in pairs if name.startswith("gatepost_")]
    values = dict(ours)
    if len(values) < len(ours):
        return None
    fields = {"answer": values.get("answer", "")}
    fields |= {axis: values[f"answer.{axis}"] for axis in ("x", "y") if f"answer.{axis}" in values}
    if any(len(value) > ANSWER_LIMIT for value in fields.values()):
        return None
    button = values.get("do", "")
    return AnswerForm(
        token=values["token"],
        carry=values.get("carry", ""),
        fields=fields,
        another=button == "another" or button.startswith(_OTHER_KIND),
        kind=button.removeprefix(_OTHER_KIND) if button.startswith(_OTHER_KIND) else "",
    )
