"""JWTs of an identity provider: which are believed, and whom they name."""

import base64
import hashlib
import hmac
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tollgate.console.access.callers import Role
from tollgate.console.access.jwks import KeysUnknownError, ProviderKeys, read_keys
from tollgate.console.access.jwts import Jwts, role_names
from tollgate.runtime.settings import Settings

SECRET = "s" * 32
ISSUER, AUDIENCE = "https://id.example.com/", "tollgate"
URL = "https://id.example.com/jwks"
RSA = RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "r2", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "e1", "use": "sig"})
ED = OKPKey.generate_key("Ed25519", {"kid": "d1", "use": "sig"})


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "role": "viewer", "exp": now + 300, "iat": now, **changes}
    return {name: value for name, value in made.items() if value is not None}


def shared(**changes: Any) -> str:
    return jwt.encode({"alg": "HS256"}, claims(**changes), OctKey.import_key(SECRET))


def signed(key: Any, alg: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode({"alg": alg, "kid": key.kid, **(header or {})}, claims(**changes), key, algorithms=[alg])


def with_secret(**settings: Any) -> Jwts:
    given = {"jwt_secret": SECRET, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, **settings}
    return Jwts(Settings.model_validate(given))


def public(*keys: Any) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class Provider:
    """Answers of a provider, and how often it was asked; a clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
        self.body: bytes | None = body
        self.asked, self.seconds = 0, 1000.0
        monkeypatch.setattr("tollgate.console.access.jwks._fetch", self._fetch)
        self.keys = ProviderKeys(URL, lambda: self.seconds)
        given = {"jwt_jwks_url": URL, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
        self.jwts = Jwts(Settings.model_validate(given), self.keys)

    def _fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        if self.body is None:
            raise OSError("away")
        return self.body


def unsigned(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


async def test_a_token_signed_with_the_shared_secret_names_its_caller() -> None:
    found = await with_secret().read(shared(role="analyst", sub="alice@example.com", org="acme"))
    assert found is not None
    assert (found.name, found.role, found.user, found.org) == ("jwt:alice@example.com", Role.ANALYST, "", "acme")


@pytest.mark.parametrize(
    ("key", "alg"), [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (ED, "EdDSA")], ids=lambda x: str(x)[:12]
)
async def test_a_token_signed_with_a_key_of_the_provider_is_believed(
    monkeypatch: pytest.MonkeyPatch, key: Any, alg: str
) -> None:
    provider = Provider(monkeypatch, public(RSA, EC, ED))
    found = await provider.jwts.read(signed(key, alg, role="user", sub="u-7"))
    assert found is not None
    assert (found.role, found.user) == (Role.USER, "u-7")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 1},
        {"exp": None},
        {"exp": "never"},
        {"exp": float("nan")},
        {"exp": True},
        {"nbf": int(time.time()) + 3600},
        {"iat": int(time.time()) + 3600},
        {"iss": "https://evil.example/"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"aud": "another-program"},
        {"aud": None},
        {"aud": []},
        {"role": "root"},
        {"role": None},
        {"role": {"admin": True}},
        {"role": [["admin"]]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "u" * 257},
        {"sub": "u\n1"},
        {"org": ""},
        {"org": 5},
        {"org": ["acme"]},
    ],
    ids=str,
)
async def test_a_token_whose_claims_are_not_right_names_nobody(changes: dict[str, Any]) -> None:
    assert await with_secret().read(shared(**changes)) is None


async def test_a_clock_that_differs_by_a_minute_is_forgiven_for_the_beginning_alone() -> None:
    soon = int(time.time()) + 50
    assert await with_secret().read(shared(nbf=soon, iat=soon)) is not None


async def test_an_audience_among_several_is_enough() -> None:
    assert await with_secret().read(shared(aud=["other", AUDIENCE])) is not None


async def test_without_an_own_audience_a_token_for_another_one_is_refused() -> None:
    jwts = with_secret(jwt_audience="", jwt_issuer="")
    assert await jwts.read(shared(aud="another-program")) is None
    assert await jwts.read(shared(aud=None)) is not None


async def test_a_token_without_a_signature_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(monkeypatch, public(RSA))
    for name in ("none", "None", "NONE", ""):
        text = unsigned({"alg": name, "kid": "r1"}, claims(role="admin"))
        assert await provider.jwts.read(text) is None
        assert await with_secret().read(text) is None


async def test_a_public_key_is_no_shared_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(monkeypatch, public(RSA))
    for secret in (RSA.as_pem(private=False), public(RSA), RSA.as_der(private=False)):
        head = unsigned({"alg": "HS256", "kid": "r1", "typ": "JWT"}, claims(role="admin")).rpartition(".")[0]
        signature = hmac.new(secret, head.encode(), hashlib.sha256).digest()
        text = f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
        assert await provider.jwts.read(text) is None


async def test_a_shared_secret_does_not_open_the_way_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(monkeypatch, public(RSA))
    assert await provider.jwts.read(shared(role="admin")) is None
    assert await with_secret().read(signed(RSA, "RS256", role="admin")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        "x" * 8193,
        "€.€.€",
        unsigned({"alg": "HS256"}, {"sub": "x"}, b"x"),
        unsigned({"alg": ["HS256"]}, {}),
        unsigned({"alg": {"a": 1}}, {}),
        unsigned({"alg": "HS256", "crit": ["x"]}, claims()),
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".e30.x",
        base64.urlsafe_b64encode(b'{"alg":' + b"9" * 5000 + b"}").decode() + ".e30.x",
        base64.urlsafe_b64encode(b"[]").decode() + ".e30.x",
    ],
    ids=lambda text: text[:20] or "empty",
)
async def test_what_is_no_token_names_nobody(text: str) -> None:
    assert await with_secret().read(text) is None


async def test_a_changed_token_is_refused() -> None:
    head, payload, signature = shared(role="viewer").split(".")
    other = shared(role="admin").split(".")[1]
    assert await with_secret().read(f"{head}.{payload}.{signature}") is not None
    assert await with_secret().read(f"{head}.{other}.{signature}") is None
    assert await with_secret().read(f"{head}.{payload}.") is None


async def test_a_signed_payload_that_is_no_object_or_too_deep_names_nobody() -> None:
    key = OctKey.import_key(SECRET)
    for payload in (b"[]", b"[" * 3000, b"1", b'{"exp":' + b"9" * 5000 + b"}"):
        head = ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in (b'{"alg":"HS256"}', payload))
        signature = hmac.new(key.raw_value, head.encode(), hashlib.sha256).digest()
        text = f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
        assert await with_secret().read(text) is None


async def test_names_of_roles_are_mapped_and_the_highest_counts() -> None:
    jwts = with_secret(jwt_role_claim="realm_access.roles", jwt_roles="admin=boss|root, viewer=staff")
    found = await jwts.read(shared(role=None, realm_access={"roles": ["staff", "boss", 7]}))
    assert found is not None
    assert found.role is Role.ADMIN
    assert await jwts.read(shared(role=None, realm_access={"roles": ["admin"]})) is None
    found = await jwts.read(shared(role=None, realm_access={"roles": ["analyst"]}))
    assert found is not None
    assert found.role is Role.ANALYST


async def test_a_claim_whose_name_has_dots_is_found_by_its_name() -> None:
    jwts = with_secret(jwt_role_claim="https://example.com/role")
    found = await jwts.read(shared(role=None, **{"https://example.com/role": "admin"}))
    assert found is not None
    assert found.role is Role.ADMIN


def test_a_mapping_that_names_no_role_is_refused() -> None:
    for text in ("root=x", "admin", "=x"):
        with pytest.raises(ValueError, match="role=name"):
            role_names(text)


async def test_an_unknown_key_id_asks_the_provider_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(monkeypatch, public(RSA))
    assert await provider.jwts.read(signed(RSA, "RS256")) is not None
    for _ in range(20):
        assert await provider.jwts.read(signed(OTHER_RSA, "RS256")) is None
    assert provider.asked == 1
    provider.body = public(RSA, OTHER_RSA)
    provider.seconds += 31
    assert await provider.jwts.read(signed(OTHER_RSA, "RS256")) is not None
    assert provider.asked == 2


async def test_while_the_provider_is_away_its_last_keys_hold_for_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(monkeypatch, public(RSA))
    text = signed(RSA, "RS256")
    assert await provider.jwts.read(text) is not None
    provider.body = None
    provider.seconds += 23 * 3600
    assert await provider.jwts.read(text) is not None
    provider.seconds += 2 * 3600
    with pytest.raises(KeysUnknownError):
        await provider.jwts.read(text)


async def test_a_key_that_the_provider_took_back_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Provider(monkeypatch, public(RSA, OTHER_RSA))
    text = signed(OTHER_RSA, "RS256")
    assert await provider.jwts.read(text) is not None
    provider.body = public(RSA)
    provider.seconds += 601
    # The first one still uses what is known, and has the keys read again behind it.
    await provider.jwts.read(text)
    assert provider.keys._renewal is not None
    await provider.keys._renewal
    assert await provider.jwts.read(text) is None


async def test_a_provider_that_was_never_reached_is_told_apart_from_a_wrong_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = Provider(monkeypatch, b"")
    provider.body = None
    with pytest.raises(KeysUnknownError):
        await provider.jwts.read(signed(RSA, "RS256"))
    assert await provider.jwts.read("a.b.c") is None


def test_keys_that_are_not_for_signing_or_known_to_everybody_are_passed_over() -> None:
    small = RSAKey.generate_key(1024, {"kid": "small"}, auto_kid=False)
    encryption = RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"})
    secret = {"kty": "oct", "kid": "o1", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}
    entries = [small.as_dict(private=False), encryption.as_dict(private=False), secret, RSA.as_dict(private=True)]
    entries += [{"kty": "AKP", "kid": "new"}, {"kid": 5}, "text", {"kty": "RSA"}]
    entries.append(EC.as_dict(private=False))
    assert list(read_keys(json.dumps({"keys": entries}).encode())) == ["e1"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": {}}', b"[" * 5000, b"<html>"])
def test_what_is_no_key_set_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="JWKS"):
        read_keys(body)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/keys")
            self.end_headers()
            return
        body = b"x" * 300_000 if self.path == "/large" else public(RSA)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


async def test_keys_are_read_over_http_without_redirects_and_up_to_a_size() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        assert await ProviderKeys(f"{base}/keys").find("r1") is not None
        for path in ("/moved", "/large"):
            with pytest.raises(KeysUnknownError):
                await ProviderKeys(base + path).find("r1")
    finally:
        server.shutdown()
        server.server_close()
