"""JWTs of the company's identity provider: their signature, their claims, and the caller that they name."""

import time
from collections.abc import Mapping
from typing import Any, Final

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from tollgate.console.access.callers import Caller, Role
from tollgate.console.access.jwks import ProviderKeys
from tollgate.runtime.settings import Settings
from tollgate.schemas.strict_json import read_json
from tollgate.schemas.text_rules import CONTROL_CHARACTER, NAME_CHARS_MAX

log = structlog.get_logger("tollgate.console.access")

TOKEN_CHARS_MAX: Final = 8192
# A token may be used this long before its `nbf` or `iat`, for clocks differ. `exp` is exact.
_LEEWAY_SECONDS: Final = 60
_SHARED: Final = ("HS256", "HS384", "HS512")
# A key signs in its own kind's ways alone: a public key is never taken as a shared secret.
_ALGORITHMS: Final[Mapping[type, tuple[str, ...]]] = {
    OctKey: _SHARED,
    RSAKey: ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ECKey: ("ES256", "ES384", "ES512"),
    OKPKey: ("EdDSA", "Ed25519"),
}
# Of several roles in a claim the first of these counts.
_BY_RANK: Final = (Role.ADMIN, Role.ANALYST, Role.VIEWER, Role.SERVICE, Role.USER)
_FAULTS: Final = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class Jwts:
    """Reads the JWTs that the settings allow. Without `TOLLGATE_JWT_JWKS_URL` and `TOLLGATE_JWT_SECRET` none."""

    def __init__(self, settings: Settings, keys: ProviderKeys | None = None) -> None:
        self._settings = settings
        self._keys = keys or (ProviderKeys(settings.jwt_jwks_url) if settings.jwt_jwks_url else None)
        secret = settings.jwt_secret
        self._secret = OctKey.import_key(secret.get_secret_value()) if secret is not None else None
        self._roles = role_names(settings.jwt_roles)

    async def read(self, text: str) -> Caller | None:
        """The caller that a valid token names. Raises KeysUnknownError."""
        header = _header(text)
        if header is None:
            return None
        key = await self._key(header)
        if key is None:
            return None
        try:
            claims = jwt.decode(text, key, algorithms=_ALGORITHMS[type(key)]).claims
            self._check(claims)
            return self._caller(claims)
        except _FAULTS as error:
            log.info("a JWT was refused", error=type(error).__name__)
            return None

    async def _key(self, header: dict[str, Any]) -> OctKey | RSAKey | ECKey | OKPKey | None:
        if header.get("alg") in _SHARED:
            return self._secret
        if self._keys is None or not any(header.get("alg") in names for names in _ALGORITHMS.values()):
            return None
        key_id = header.get("kid")
        key = await self._keys.find(key_id if isinstance(key_id, str) else None)
        return key if key is not None and header["alg"] in _ALGORITHMS[type(key)] else None

    def _check(self, claims: dict[str, Any]) -> None:
        issuer, audience = self._settings.jwt_issuer, self._settings.jwt_audience
        if not audience and "aud" in claims:
            # RFC 7519, 4.1.3: a token that names its audience is not for those who are not in it.
            raise ValueError("aud")
        now = int(time.time())
        begins = {name: value for name, value in claims.items() if name in ("nbf", "iat")}
        jwt.JWTClaimsRegistry(now=now, leeway=_LEEWAY_SECONDS).validate(begins)
        jwt.JWTClaimsRegistry(now=now, exp={"essential": True}, iss=_must_be(issuer), aud=_must_be(audience)).validate(
            {name: value for name, value in claims.items() if name not in begins}
        )

    def _caller(self, claims: dict[str, Any]) -> Caller:
        """ValueError when the claims give no role, or no user."""
        settings = self._settings
        told = claim(claims, settings.jwt_role_claim)
        names = {told} if isinstance(told, str) else {name for name in _list(told) if isinstance(name, str)}
        role = next((role for role in _BY_RANK if self._roles[role] & names), None)
        if role is None:
            raise ValueError("role")
        user = _name(claim(claims, settings.jwt_user_claim))
        org_told = claim(claims, settings.jwt_org_claim)
        # An org that cannot be read must not open the whole company.
        org = _name(org_told) if org_told is not None else ""
        return Caller(
            f"jwt:{user}"[:NAME_CHARS_MAX],
            role,
            user=user if role is Role.USER else "",
            org=org,
            expires_at=int(claims["exp"]),
        )


def role_names(text: str) -> dict[Role, frozenset[str]]:
    """The names in the role claim that stand for each role, from `admin=billing-admins,viewer=staff|everyone`.

    A role that the text does not name has its own name. ValueError when the text is no such list.
    """
    names = {role: frozenset({role.value}) for role in Role}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        role, equals, given = entry.partition("=")
        if not equals or role.strip() not in list(Role):
            raise ValueError(f"{entry[:64]!r} is no role=name; roles are {', '.join(Role)}")
        names[Role(role.strip())] = frozenset(filter(None, (name.strip() for name in given.split("|"))))
    return names


def claim(claims: dict[str, Any], name: str) -> Any:
    """A claim by its name, or by a path: `realm_access.roles` is `roles` in the object `realm_access`."""
    if name in claims:
        return claims[name]
    node: Any = claims
    for part in name.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _header(text: str) -> dict[str, Any] | None:
    """The header of a text with the form of a signed JWT, read with bounds; its signature is not looked at yet."""
    if len(text) > TOKEN_CHARS_MAX or not text.isascii() or text.count(".") != 2:
        return None
    try:
        document = read_json(urlsafe_b64decode(text.partition(".")[0].encode()))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _must_be(value: str) -> jwt.ClaimsOption:
    return {"essential": True, "value": value} if value else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: Any) -> str:
    if isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and not CONTROL_CHARACTER.search(value):
        return value
    raise ValueError("a name")
