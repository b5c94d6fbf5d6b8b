"""Form and header tokens: what is accepted, what is refused, and that no re-spelling of a text is worth anything."""

from __future__ import annotations

import hashlib
import secrets
import string
import subprocess
import sys
from base64 import urlsafe_b64decode
from dataclasses import replace
from itertools import count, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.tokens import DATA_LIMIT, FORM, HEADER, PERMIT, TOKEN_LIMIT, Token, Tokens, new_id, path_digest

BASE64 = string.ascii_letters + string.digits + "-_"
STRAY = ["=", "==", "====", "+", "/", "-", " ", "\n", "\t", "%", "!", ".", "\0", "\x7f", "é", "\u0661", "\ud800"]


def key() -> bytes:
    return secrets.token_bytes(32)


TOKENS = Tokens((key(),))
TOKEN = Token(
    path=path_digest("/contact", ""),
    carry=hashlib.sha256(b"head").digest(),
    submission=new_id(),
    store=new_id(),
    first=1,
    end=3_600_001,
    nonce=new_id(),
    kind=bytes(range(8)),
    rule=bytes(range(8, 16)),
    method=bytes(range(16, 24)),
    level=1,
    issued=1,
    expires=600_001,
    since=1,
    mac=new_id(),
    data=b"data",
)
HEADER_TOKEN = replace(TOKEN, carry=None)
TEXTS = {FORM: TOKENS.issue(TOKEN), HEADER: TOKENS.issue(HEADER_TOKEN)}


def respellings(text: str) -> list[str]:
    """Other texts that a lenient base64 decoder may take for the same, and some that it should not."""
    payload, dot, signature = text.rpartition(".")
    found = [f"{payload}{dot}{signature[:-1]}{last}" for last in BASE64]
    found += [f"{payload[:-1]}{last}{dot}{signature}" for last in BASE64]
    for stray in STRAY:
        found += [text + stray, stray + text, f"{payload}{dot}{stray}{signature}", f"{payload}{stray}{dot}{signature}"]
        found += [f"{payload}{dot}{signature[:9]}{stray}{signature[9:]}", text[:-1] + stray]
    plain = str.maketrans("-_", "+/")
    found += [text.translate(plain), f"{payload}{dot}{signature.translate(plain)}"]
    found += [text.upper(), text.lower(), text.swapcase(), text[:-1], text[1:], text + text, payload, signature, ""]
    return [other for other in found if other != text]


def changed(text: str) -> st.SearchStrategy[str]:
    """One character put in, taken out, replaced, or everything after it cut off."""
    character = st.sampled_from(BASE64) | st.sampled_from(STRAY) | st.characters()

    def change(at: int, new: str, how: str) -> str:
        kept = text[at:] if how == "insert" else "" if how == "cut" else text[at + 1 :]
        return text[:at] + ("" if how in ("remove", "cut") else new) + kept

    return st.builds(
        change, st.integers(0, len(text) - 1), character, st.sampled_from(["insert", "replace", "remove", "cut"])
    )


# --- texts ---


@pytest.mark.parametrize("purpose", [FORM, HEADER])
def test_token_reads_back(purpose: str) -> None:
    """What was issued is read back whole, and stays far under the limit with the longest data of a kind."""
    token = TOKEN if purpose == FORM else HEADER_TOKEN
    assert TOKENS.read(purpose, TEXTS[purpose]) == token
    assert len(TOKENS.issue(replace(token, data=bytes(DATA_LIMIT)))) < TOKEN_LIMIT * 3 // 4
    with pytest.raises(ValueError, match="at most 64"):
        TOKENS.issue(replace(token, data=bytes(DATA_LIMIT + 1)))


@pytest.mark.parametrize("purpose", [FORM, HEADER])
def test_i4_respelt_text_is_refused_or_the_same_token(purpose: str) -> None:
    """A re-spelt text is forged, or has the nonce and the submission of the original, by which it is claimed."""
    token = TOKEN if purpose == FORM else HEADER_TOKEN
    read = [TOKENS.read(purpose, text) for text in respellings(TEXTS[purpose])]
    assert set(read) == {None, token}  # both happen: base64 is malleable


@given(changed(TEXTS[FORM]))
def test_i5_changed_text_is_refused_or_the_same_token(text: str) -> None:
    """No change of one character, and no truncation, makes a token say anything else."""
    assert TOKENS.read(FORM, text) in (None, TOKEN)


@given(st.text(max_size=40) | st.binary(max_size=400).map(lambda raw: TOKENS.sign(FORM, raw)))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    """Neither noise nor a genuine signature over noise raises."""
    TOKENS.read(FORM, text)
    TOKENS.read(HEADER, text)


def test_long_text_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text over the limit is refused before any MAC is computed for it."""
    long = TOKENS.sign(FORM, bytes(TOKEN_LIMIT))
    monkeypatch.setattr(TOKENS, "_signers", {})
    assert TOKENS.unsign(FORM, long) is None
    with pytest.raises(KeyError):  # a shorter one is verified
        TOKENS.unsign(FORM, long[:TOKEN_LIMIT])


# --- salts and keys ---

OLD, MIDDLE, NEW, OTHER = key(), key(), key(), key()


@pytest.mark.parametrize(
    ("issuer", "reader", "accepted"),
    [
        ((OLD,), (OLD,), True),
        ((OLD,), (OLD, NEW), True),
        ((OLD,), (OLD, MIDDLE, NEW), True),
        ((OLD,), (NEW,), False),  # the old one was taken out
        ((OLD, NEW), (NEW,), True),  # the newest signs
        ((OLD, NEW), (OLD,), False),
        ((OLD,), (OTHER,), False),
    ],
)
def test_secrets_rotate(issuer: tuple[bytes, ...], reader: tuple[bytes, ...], accepted: bool) -> None:
    """Secrets are listed from oldest to newest: all are accepted, the newest signs; so for tokens and answers."""
    old, new = Tokens(issuer), Tokens(reader)
    token = replace(TOKEN, mac=old.mac(TOKEN.nonce, "right"))
    assert new.read(FORM, old.issue(token)) == (token if accepted else None)
    assert new.right(token, "right") is accepted
    assert not new.right(token, "wrong")


@pytest.mark.parametrize(("signed", "asked"), list(permutations((FORM, HEADER, PERMIT), 2)))
def test_i5_text_of_another_purpose_is_forged(signed: str, asked: str) -> None:
    """What was signed for one purpose is nothing for another."""
    text = TOKENS.sign(signed, b"payload")
    assert TOKENS.unsign(signed, text) == b"payload"
    assert TOKENS.unsign(asked, text) is None


@pytest.mark.parametrize(("site", "accepted"), [("a", True), ("", False), ("b", False), ("a:", False), ("A", False)])
def test_i5_token_of_another_site_is_forged(site: str, accepted: bool) -> None:
    """Two applications that share a secret do not take each other's tokens and answers."""
    mine, theirs = Tokens((OLD,), "a"), Tokens((OLD,), site)
    token = replace(TOKEN, mac=mine.mac(TOKEN.nonce, "right"))
    assert (theirs.read(FORM, mine.issue(token)) is not None) is accepted
    assert theirs.right(token, "right") is accepted


@pytest.mark.parametrize(("purpose", "carry"), [(FORM, None), (HEADER, TOKEN.carry)])
def test_form_token_has_a_carry_digest_and_header_token_none(purpose: str, carry: bytes | None) -> None:
    """A form token without a carry digest, and a header token with one, are forged even if the signature is right."""
    text = TOKENS.issue(replace(TOKEN, carry=carry))
    payload = TOKENS.unsign(HEADER if purpose == FORM else FORM, text)
    assert payload is not None
    assert TOKENS.read(purpose, TOKENS.sign(purpose, payload)) is None


@pytest.mark.parametrize(
    ("mac", "answer"), [(TOKENS.mac(TOKEN.nonce, ""), ""), (b"", ""), (b"", "x"), (bytes(16), "x")]
)
def test_empty_answer_and_empty_mac_are_never_right(mac: bytes, answer: str) -> None:
    """An empty answer is not right even where a MAC of it was signed, and nothing is right where there is no MAC."""
    assert not TOKENS.right(replace(TOKEN, mac=mac), answer)


def test_macs_of_one_answer_differ() -> None:
    """The MAC is of the nonce too, so that two tokens do not show that they have the same answer."""
    assert len({TOKENS.mac(nonce, "same") for nonce in (bytes(16), TOKEN.nonce, HEADER_TOKEN.submission)}) == 3
    assert not TOKENS.right(replace(TOKEN, nonce=new_id(), mac=TOKENS.mac(TOKEN.nonce, "same")), "same")


def test_signed_text_without_a_lineage_is_forged() -> None:
    """A signed payload too short to say whose submission it is counts as forged."""
    payload = urlsafe_b64decode(TEXTS[FORM].partition(".")[0] + "==")
    for size in (0, 1, 96):
        assert TOKENS.read(FORM, TOKENS.sign(FORM, payload[:size])) is None
    known = TOKENS.read(FORM, TOKENS.sign(FORM, payload[:97]))
    assert known is not None
    assert not known.known


def test_i4_ids_differ() -> None:
    """No two ids are the same, and any bit of them is as often set as not."""
    ids = [new_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {16}
    for bit in range(128):
        assert 9_300 < sum(int.from_bytes(one, "big") >> bit & 1 for one in ids) < 10_700


def test_i4_ids_of_a_copied_process_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was saved and is started again makes other ids from the same state, since time has passed."""

    def ids() -> list[bytes]:
        monkeypatch.setattr("gatepost.tokens._numbers", count())
        return [new_id() for _ in range(9)]

    monkeypatch.setattr("gatepost.tokens.time.time_ns", lambda: 1)
    before = ids()
    assert ids() == before
    monkeypatch.setattr("gatepost.tokens.time.time_ns", lambda: 2)
    assert not set(ids()) & set(before)


def test_i4_ids_of_a_forked_process_differ() -> None:
    """Two processes that were forked from one another make other ids at the same number and time."""
    program = """
import os, sys, time
from gatepost.tokens import new_id
time.time_ns = lambda: 1
child = os.fork()
os.write(1, new_id().hex().encode() + b"\\n")
if child:
    os.waitpid(child, 0)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)  # noqa: S603 - our own
    found = run.stdout.split()
    assert len(found) == len(set(found)) == 2


def test_ids_of_another_process_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows the time and the number of an id still cannot tell it without the key."""
    monkeypatch.setattr("gatepost.tokens.time.time_ns", lambda: 1)
    found = set()
    for key in (bytes(32), secrets.token_bytes(32)):
        monkeypatch.setattr("gatepost.tokens._id_key", key)
        monkeypatch.setattr("gatepost.tokens._numbers", count())
        found.add(new_id())
    assert len(found) == 2
