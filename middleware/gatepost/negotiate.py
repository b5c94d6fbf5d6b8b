"""Who gets the page, who gets JSON, and two details of the page that hang on how it is shown."""

from __future__ import annotations

from .origin import formlike
from .protocols import Request

#: The request headers that an interstitial depends on.
VARY = "Accept, Sec-Fetch-Dest, Sec-Fetch-Mode, X-Requested-With, HX-Request"
#: The same, where its language is negotiated.
VARY_LANGUAGE = f"{VARY}, Accept-Language"

_HTML = ("text/html", "application/xhtml+xml")


def _types(accept: str) -> list[str]:
    return [part.partition(";")[0].strip().lower() for part in accept.split(",")]


def wants_json(request: Request) -> bool:
    """Whether the client could not show a page to a person: a script, or a programme."""
    types = _types(",".join(request.headers.all("accept")))
    if any(name in types for name in _HTML):
        return False
    if any(name == "application/json" or name.endswith("+json") for name in types):
        return True
    headers = request.headers
    scripted = "sec-fetch-mode" in headers and headers.get("sec-fetch-mode") != "navigate"
    if scripted or "x-requested-with" in headers or "hx-request" in headers:
        return True
    return not formlike(headers.get("content-type") or None, None)


def in_frame(request: Request) -> bool:
    """Whether the answer will be shown in a frame, so that the form lived in one already."""
    return request.headers.get("sec-fetch-dest") in ("iframe", "frame", "embed", "object")


def needs_action(request: Request) -> bool:
    """Whether the page is put in place by a script, which leaves the browser at another address than the form's."""
    return "sec-fetch-mode" in request.headers and request.headers.get("sec-fetch-mode") != "navigate"
