"""Every state of the page before axe-core and a ruler, in a real browser: light, dark, narrow, large, right to left.

The rules are axe-core's for WCAG 2.0 to 2.2, A and AA, and its best practices; the ruler has what those leave open.
Both need scripts. The page has none, and that it works without them is what the other tests in a browser show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route

from browsers import PATIENCE, browser_fixture  # noqa: F401 - a fixture
from page_states import SHAPES, STATES, State

ADDRESS = "http://site.example/contact"
COLOURS = ["cat.color"]  # AAA among them: a contrast of 7 to 1
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", *COLOURS]
DESK = (1280, 800)
NARROW = (320, 640)
ENLARGED = (320, 256)  # what is left of 1280 by 1024 at 400 %
TINY = "min-height: 0; padding: 0; font-size: 8px; margin: -9px"
TARGETS = "a, button, input:not([type=hidden]), audio"

Scheme = Literal["light", "dark"]

named = pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
shaped = pytest.mark.parametrize("state", SHAPES, ids=lambda state: state.name)


@pytest.fixture(scope="module", name="page")
def page_fixture(browser: Browser) -> Iterator[Page]:
    """A page that scripts can look at; the policy of what it shows holds all the same."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


def look(page: Page, state: State, language: str = "en", size: tuple[int, int] = DESK) -> None:
    """Show a state as it goes out, header fields included, in a window of this size in CSS pixels."""
    response = state.render(language)

    def answer(route: Route) -> None:
        route.fulfill(status=response.status, headers=dict(response.fields), body=response.body)

    page.emulate_media(color_scheme="light", forced_colors="none")
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.route("**/*", answer)
    page.goto(ADDRESS)
    page.unroute("**/*")


def found(page: Page, tags: list[str] = RULES, without: tuple[str, ...] = ()) -> tuple[list[Any], set[str]]:
    """What axe-core finds, or cannot tell, and the rules that were looked at and hold."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"runOnly": tags, "rules": {rule: {"enabled": False} for rule in without}}
    results = page.evaluate("options => axe.run(document, options)", options)
    troubles = [
        (trouble["id"], [(node["target"], node.get("failureSummary")) for node in trouble["nodes"]])
        for kind in ("violations", "incomplete")
        for trouble in results[kind]
    ]
    return troubles, {rule["id"] for rule in results["passes"]}


# --- axe-core ---


@named
def test_axe_finds_nothing(state: State, page: Page) -> None:
    """Each state of the page keeps every rule, light and dark."""
    look(page, state)
    troubles, kept = found(page)
    assert troubles == []
    assert {"color-contrast-enhanced", "document-title", "html-has-lang", "page-has-heading-one", "region"} <= kept
    assert state.name.startswith("message") or {"button-name", "target-size"} <= kept
    page.emulate_media(color_scheme="dark")
    troubles, kept = found(page, COLOURS)
    assert troubles == []
    assert {"color-contrast", "color-contrast-enhanced"} <= kept


@shaped
@pytest.mark.parametrize(("language", "size"), [("ar", DESK), ("ar", ENLARGED), ("en", NARROW), ("en", ENLARGED)])
def test_axe_finds_nothing_in_other_shapes(language: str, size: tuple[int, int], state: State, page: Page) -> None:
    """Right to left, narrow and enlarged to 400 % the page keeps every rule, in forced colours, too."""
    look(page, state, language, size)
    assert found(page)[0] == []
    # There colours are the visitor's own, but axe-core reads the page's.
    page.emulate_media(forced_colors="active", color_scheme="dark")
    assert found(page, without=("color-contrast", "color-contrast-enhanced"))[0] == []


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        ("document.documentElement.lang = ''", "html-has-lang"),
        ("document.title = ''", "document-title"),
        ("document.querySelector('img').removeAttribute('alt')", "image-alt"),
        ("document.querySelector('label').remove()", "label"),
        ("document.querySelector('.hint').style.color = '#aaa'", "color-contrast"),
        ("document.querySelector('#notice').id = 'answer'", "duplicate-id-aria"),
        (f"document.querySelectorAll('button').forEach(one => one.style.cssText = '{TINY}')", "target-size"),
    ],
)
def test_axe_finds_what_is_wrong(damage: str, rule: str, page: Page) -> None:
    """A page that has been damaged is found out, so that finding nothing means something."""
    (state,) = (state for state in STATES if state.name == "image-wrong")
    look(page, state)
    page.evaluate(f"() => {{ {damage} }}")
    assert rule in [name for name, _ in found(page)[0]]


# --- the ruler ---

# Elements that are wider than the place that they have, and buttons whose words do not fit into them.
_OVERFLOWING = """() => [...document.querySelectorAll('html, main, main *')].filter(one =>
    one.checkVisibility() && getComputedStyle(one).display !== 'inline' && one.localName !== 'audio' &&
    (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0 ||
     one.localName === 'button' && one.scrollHeight > one.clientHeight + 1)).map(one => one.outerHTML.slice(0, 200))"""

# What a reader may want of a page, as in WCAG 1.4.12, set in a way that the policy leaves open.
_SPACE_OUT = """() => document.querySelectorAll('body, body *').forEach(one => {
    one.style.setProperty('line-height', '1.5', 'important');
    one.style.setProperty('letter-spacing', '0.12em', 'important');
    one.style.setProperty('word-spacing', '0.16em', 'important');
    if (one.localName === 'p') one.style.setProperty('margin-bottom', '2em', 'important');
})"""

_SIZES = """targets => [...document.querySelectorAll(targets)].flatMap(one => {
    const box = one.getBoundingClientRect(); return [box.width, box.height] })"""


@named
def test_nothing_overflows(state: State, page: Page) -> None:
    """At 320 CSS pixels there is nothing to scroll sideways and no word is cut off, however the text is spaced."""
    for language in ("de", "ar") if state in SHAPES else ("de",):  # the long words, and the other way round
        look(page, state, language, NARROW)
        assert page.evaluate(_OVERFLOWING) == []
        page.evaluate(_SPACE_OUT)
        assert page.evaluate(_OVERFLOWING) == []


@shaped
def test_targets_are_large_enough(state: State, page: Page) -> None:
    """Whatever is pressed or clicked is at least 24 CSS pixels wide and high (WCAG 2.5.8), without any exception."""
    for size in (DESK, NARROW):
        look(page, state, size=size)
        assert min(page.evaluate(_SIZES, TARGETS)) >= 24


@pytest.mark.parametrize(
    "state", [state for state in SHAPES if state.name.startswith("image")], ids=lambda one: one.name
)
@pytest.mark.parametrize("size", [ENLARGED, (375, 340), (800, 450), DESK])
def test_picture_is_seen_with_its_field(size: tuple[int, int], state: State, page: Page) -> None:
    """The browser scrolls to the field, and most of the picture is in the window with it, however small that is."""
    look(page, state, size=size)
    page.wait_for_function("document.activeElement.id === 'answer'")
    picture, field = (page.locator(name).bounding_box() for name in ("img", "#answer"))
    assert picture is not None
    assert field is not None
    assert field["y"] >= 0
    assert field["y"] + field["height"] <= size[1]
    assert -picture["y"] < picture["height"] / 4


_LOOKS = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
    const middle = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const grounds = [document.querySelector('main'), document.body].map(one => getComputedStyle(one).backgroundColor);
    return {what: one.localName, seen: middle === one, top: box.top, bottom: box.bottom, high: innerHeight,
            width: parseFloat(style.outlineWidth), line: style.outlineStyle, ring: style.outlineColor,
            edge: one.localName === 'a' ? style.color : style.borderTopColor,
            ground: grounds.find(color => color !== 'rgba(0, 0, 0, 0)')};
}"""


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as a browser computes them, ``rgb(r, g, b)``."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@shaped
@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", ENLARGED)])
def test_focus_is_seen(scheme: Scheme, size: tuple[int, int], state: State, page: Page) -> None:
    """What has the focus has a thick ring in clear contrast, lies in the window whole, and nothing covers it.

    The edges of fields and buttons have that contrast, too (WCAG 1.4.11, 2.4.7, 2.4.11).
    """
    look(page, state, size=size)
    page.emulate_media(color_scheme=scheme)
    targets = page.locator("a, button, input:not([type=hidden])").count()
    reached, pressed = 0, 0
    while reached <= targets:  # once around
        assert pressed < targets + 12  # a player has stops of its own
        looks = page.evaluate(_LOOKS)
        if looks["what"] in ("a", "button", "input"):
            reached += 1
            assert looks["seen"]
            assert (looks["line"], looks["width"] >= 2) == ("solid", True)
            assert looks["top"] >= looks["width"]
            assert looks["bottom"] + looks["width"] <= looks["high"]
            assert contrast(looks["ring"], looks["ground"]) >= 3
            assert contrast(looks["edge"], looks["ground"]) >= 3
        page.keyboard.press("Tab")
        pressed += 1
