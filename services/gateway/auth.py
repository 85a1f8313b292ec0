"""A request's API key in, its tenant out.

`Settings.api_keys` holds SHA-256 digests, never keys. With none configured, no key is asked for and everyone is the
tenant `public`. `/healthz`, `/readyz`, `/docs` and `/openapi.json` never ask; everything else does, `/metrics` too:
behind a proxy every caller seems to come from loopback, so where a caller is proves nothing. Prometheus in production
scrapes Ray's own agents and not this page.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers

from shared.errors import Unauthorized

PUBLIC = "public"


class KeyRing:
    """Known API keys, by digest."""

    def __init__(self, api_keys: Mapping[str, str]) -> None:
        self._tenants = [(digest.lower().encode(), tenant) for digest, tenant in api_keys.items()]

    def tenant(self, headers: Headers) -> str:
        """The tenant of `Authorization: Bearer <key>`, of `X-API-Key: <key>`, or of basic authentication's password,
        which is all that some clients have. Raises `Unauthorized`.

        Every known digest is compared, in constant time, whatever was found before.
        """
        if not self._tenants:
            return PUBLIC
        field, key = _key(headers)
        sent = hashlib.sha256(key.encode("latin-1")).hexdigest().encode()
        found = [tenant for digest, tenant in self._tenants if hmac.compare_digest(digest, sent)]
        if not found:
            raise Unauthorized.of(field, reason="this API key is not known")
        return found[0]


def _key(headers: Headers) -> tuple[str, str]:
    """The header that brings a key, and the key."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        field, key = "Authorization", bearer.strip()
    elif scheme.lower() == "basic":
        field, key = "Authorization", _password(bearer.strip())
    else:
        field, key = "X-API-Key", headers.get("x-api-key", "")
    if not key:
        raise Unauthorized()
    return field, key


def _password(credentials: str) -> str:
    """The password in `user:password` as base64; empty where it is none."""
    try:
        return binascii.a2b_base64(credentials, strict_mode=True).decode("latin-1").partition(":")[2]
    except ValueError:  # binascii.Error, or characters beyond ASCII
        return ""
