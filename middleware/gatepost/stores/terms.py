"""How stores write down when a rule engages, for those who look at them."""

from __future__ import annotations

import json
from dataclasses import asdict

from ..protocols import Terms


def written(terms: Terms) -> str:
    """The terms as text; empty for none."""
    return json.dumps(asdict(terms)) if terms != Terms() else ""


def read(text: str | None) -> Terms:
    """Terms of a text; what another version of the gate has added to them is left out."""
    told = json.loads(text or "{}")
    return Terms(
        told.get("mode", ""), tuple(told.get("above", ())), tuple(told.get("below", ())), told.get("hold", 0.0)
    )
