"""Where a request came from, and how much of it an application may trust after a detour over our page.

Facts
    The answer comes from our own page. So the browser sends it with SameSite cookies and a same-origin ``Origin``,
    even if the form that was challenged stood on another site. Delivered as it is, a foreign form would have become
    one of ours.

Strategy
    The carry remembers what the first request said of its origin, and the names of its cookies. Whether that is *own*
    is worked out anew at each answer, never stored; along a chain of pages a carry can only lose trust.

Sources: RFC 6454 and the Fetch standard (``Origin``), W3C Fetch Metadata Request Headers (``Sec-Fetch-*``),
RFC 6265bis (cookies).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import urlsplit

from .protocols import Headers, Request

_PORTS = {"http": 80, "https": 443}
_ADDRESS_LIMIT = 2000  # characters
_BLANK = " \t"  # a byte that Latin-1 takes for a blank can be the last one of a letter in UTF-8
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a request says of its origin, and which credentials it had: their names and number, never their values."""

    origins: tuple[str, ...] = ()
    referers: tuple[str, ...] = ()
    fetch: tuple[tuple[str, str], ...] = ()  # the Sec-Fetch-* fields
    cookies: tuple[tuple[str, int], ...] = ()
    authorized: bool = False

    @classmethod
    def of(cls, headers: Headers) -> Provenance:
        """What these header fields say."""
        return cls(
            origins=tuple(headers.all("origin")),
            referers=tuple(headers.all("referer")),
            fetch=tuple((name, value) for name, value in headers if name.startswith("sec-fetch-")),
            cookies=tuple(sorted(Counter(name for name, _ in cookie_pairs(headers)).items())),
            authorized="authorization" in headers,
        )

    def fetch_values(self, name: str) -> list[str]:
        """Every value of one ``Sec-Fetch-*`` field."""
        return [value for key, value in self.fetch if key == name]


class Trust(Enum):
    """What may be delivered of an answer."""

    FULL = "full"  # the form and the answer are our own: every cookie
    CUT = "cut"  # the form is not ours, the answer is: the cookies that came with the form
    NARROW = "narrow"  # neither is known to be ours, but both say the same: what both have
    NONE = "none"  # the answer comes from elsewhere than the form: nothing


def cookie_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Name and ``name=value`` of each cookie, in order; a cookie without ``=`` has the empty name."""
    pairs = []
    for field in headers.all("cookie"):
        for piece in field.split(";"):
            text = piece.strip(_BLANK)
            if text:
                name, equals, _ = text.partition("=")
                pairs.append((name.strip(_BLANK) if equals else "", text))
    return pairs


def _endpoint(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin or a URL; ``None`` if it has none, or is malformed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname or parts.username is not None:
        return None
    return scheme, parts.hostname.lower(), _PORTS[scheme] if port is None else port


def own(said: Provenance, request: Request) -> bool:
    """Whether ``said`` comes from the site that ``request``, the answer request, was sent to."""
    sites = said.fetch_values("sec-fetch-site")
    if sites:
        return sites == ["same-origin"]
    hosts = request.headers.all("host")
    if len(said.origins) != 1 or len(hosts) != 1:
        return False
    origin = said.origins[0]
    here = _endpoint(origin)
    # An origin is scheme, host and port, nothing after.
    if here is None or origin.count("/") != 2:
        return False
    scheme = here[0]
    if scheme == "http" and request.scheme == "https":
        return False
    return _endpoint(f"{scheme}://{hosts[0]}") == here


def address_here(url: str, request: Request) -> str:
    """Path and query of a URL on the very host that ``request`` was sent to; empty if it is elsewhere."""
    hosts = request.headers.all("host")
    here = _endpoint(url)
    if here is None or len(hosts) != 1 or len(url) > _ADDRESS_LIMIT or _endpoint(f"{here[0]}://{hosts[0]}") != here:
        return ""
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def judge_trust(carried: Provenance, request: Request, formlike: bool) -> Trust:
    """How far an answer request may be trusted with a carry.

    :param carried: what the carry's head says of the first request.
    :param formlike: whether a plain HTML form could have sent the first request's body.
    """
    answered = Provenance.of(request.headers)
    if own(answered, request):
        return Trust.FULL if own(carried, request) else Trust.CUT
    same_origin = carried.origins == answered.origins and len(answered.origins) <= 1
    same_site = carried.fetch_values("sec-fetch-site") == answered.fetch_values("sec-fetch-site")
    same_site = same_site and len(answered.fetch_values("sec-fetch-site")) <= 1
    return Trust.NARROW if same_origin and same_site and formlike else Trust.NONE


def formlike(content_type: str | None, content_encoding: str | None) -> bool:
    """Whether a plain HTML form can send this type of body."""
    if content_encoding is not None:
        return False
    return content_type is None or content_type.partition(";")[0].strip().lower() in _FORM_TYPES


def narrowed(carried: Provenance, answered: Provenance) -> Provenance:
    """What is left when a carry was answered from a place not known to be ours: only what both have."""
    theirs: Mapping[str, int] = dict(answered.cookies)
    referers: tuple[str, ...] = ()
    if len(carried.referers) == len(answered.referers) == 1:
        here = _endpoint(carried.referers[0])
        if here is not None and here == _endpoint(answered.referers[0]):
            referers = carried.referers
    return replace(
        answered,
        referers=referers,
        cookies=tuple((name, min(count, theirs[name])) for name, count in carried.cookies if name in theirs),
        authorized=carried.authorized and answered.authorized,
    )


def cut_cookies(headers: Headers, allowed: tuple[tuple[str, int], ...]) -> str:
    """The ``Cookie`` field with the names that are allowed; a name that comes more often than allowed goes whole.

    So does every cookie without a name, or with one of blanks alone: some frameworks take its text for the name, and
    that may be another one.
    """
    pairs = cookie_pairs(headers)
    counts = Counter(name for name, _ in pairs)
    ceilings = dict(allowed)
    return "; ".join(text for name, text in pairs if not _blank(name) and counts[name] <= ceilings.get(name, 0))


def _blank(name: str) -> bool:
    """Whether a name of bytes is made of blanks, as Latin-1 or as UTF-8: frameworks read it as the one or the other."""
    return not name.strip() or not name.encode("latin-1", "replace").decode("utf-8", "replace").strip()
