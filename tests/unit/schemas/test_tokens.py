"""Facts about tokens and what is kept of them."""

import pytest

from tollgate.schemas.tokens import Role, TokenText, hash_secret, new_token_text, parse_token_text, token_record

CREATED_MS = 1_795_000_000_000


def test_a_token_is_an_id_and_256_random_bits_in_url_safe_text() -> None:
    text = new_token_text()
    assert len(str(text)) == len("tg_") + 16 + 1 + 43
    assert parse_token_text(str(text)) == text
    assert new_token_text() != text


@pytest.mark.parametrize(
    "text", ["", "tg_", "tg_0123456789abcdef_short", "TG_0123456789abcdef_" + "a" * 43, "x" * 10_000]
)
def test_other_text_is_no_token(text: str) -> None:
    assert parse_token_text(text) is None


def test_a_record_keeps_the_sha_256_of_the_secret_alone() -> None:
    record = token_record(TokenText("0123456789abcdef", "abc"), Role.VIEWER, CREATED_MS)
    # The example of FIPS 180-2.
    assert record.hash == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert record.matches("abc")
    assert not record.matches("abd")
    assert hash_secret("abc") == record.hash


def test_a_token_holds_until_just_before_it_expires() -> None:
    record = token_record(new_token_text(), Role.USER, CREATED_MS, lifetime_ms=1000)
    assert record.holds_at(CREATED_MS + 999)
    assert not record.holds_at(CREATED_MS + 1000)
    assert token_record(new_token_text(), Role.USER, CREATED_MS).holds_at(10**14)
