"""An issuer of OpenID Connect tokens on this machine, as the specifications have it.

Discovery, keys and their rotation; the device authorization grant; the authorization code grant with PKCE.
"""

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

AUDIENCE = "https://ci.example.org"


@dataclass
class OidcIssuer:
    """A running issuer. What it answers can be changed."""

    url: str = ""
    keys: list[RSAKey | ECKey] = field(default_factory=list)
    """Those in its key set; the last one signs."""
    asked: Counter[str] = field(default_factory=Counter)
    is_down: bool = False
    named: str | None = None
    """Which issuer the discovery document names, if not itself."""

    device: dict[str, Any] = field(default_factory=dict)
    """What was asked for with the device authorization grant."""
    person: dict[str, Any] | None = None
    """The claims of the person who has signed in on the page, or an error; None until then."""
    client_secret: str | None = None
    """What the client has to send with a code, if anything."""
    secret_in: str = "client_secret_basic"
    """How it sends that."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    """What was asked for, by the code that was given for it and not used so far."""

    def rotate(self, name: str, kind: str = "RSA") -> None:
        """Sign with another key from now on."""
        key = RSAKey.generate_key(2048, {"kid": name}) if kind == "RSA" else ECKey.generate_key("P-256", {"kid": name})
        self.keys.append(key)

    def token(self, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        """Return a token that holds for five minutes; a claim that is None is left out."""
        now = int(time.time())
        whole = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, **claims}
        signing = key or self.keys[-1]
        algorithm = "ES256" if isinstance(signing, ECKey) else "RS256"
        head = {"alg": algorithm, "kid": signing.kid, **(header or {})}
        return jwt.encode(
            head,
            {name: value for name, value in whole.items() if value is not None},
            signing,
            algorithms=[*{"RS256", "ES256", "HS256", head["alg"]}],
        )

    def config(self, *grants: dict[str, Any], **fields: Any) -> str:
        """Return a file for CI_OIDC_CONFIG."""
        lines = ["[[issuers]]", f"issuer = {json.dumps(self.url)}", f"audience = {json.dumps(AUDIENCE)}"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
        for grant in grants:
            lines.append("[[issuers.grants]]")
            claims = grant.pop("claims", {})
            lines += [f"{name} = {json.dumps(value)}" for name, value in grant.items()]
            lines += [f"claims.{name} = {json.dumps(value)}" for name, value in claims.items()]
        return "\n".join(lines) + "\n"

    async def _device(self, request: web.Request) -> web.Response:
        """Answer as RFC 8628 has it."""
        form = await request.post()
        if request.path == "/device":
            self.device = {"client_id": form["client_id"], "scope": form["scope"]}
            page = f"{self.url}/sign-in"
            return web.json_response(
                {
                    "device_code": "device-1",
                    "user_code": "ABCD-EFGH",
                    "expires_in": 60,
                    "interval": 0.05,
                    "verification_uri": page,
                    "verification_uri_complete": f"{page}?code=ABCD-EFGH",
                }
            )
        assert (form["device_code"], form["client_id"]) == ("device-1", self.device["client_id"])
        if self.person is None:
            return web.json_response({"error": "authorization_pending"}, status=400)
        if "error" in self.person:
            return web.json_response(self.person, status=400)
        return web.json_response({"id_token": self.token(**self.person), "access_token": "x", "token_type": "Bearer"})

    def _authorize(self, request: web.Request) -> web.Response:
        """Send the browser back with a code, or an error."""
        asked = dict(request.query)
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        given = {"state": asked["state"], "iss": self.url, "session_state": "kept by the issuer"}
        if self.person is not None and "error" in self.person:
            given |= self.person
        else:
            given["code"] = f"code-{len(self.codes)}-{self.asked['/authorize']}"
            self.codes[given["code"]] = asked
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(given)}"})

    async def _exchange(self, request: web.Request) -> web.Response:
        """Give a token for a code, once."""
        form = await request.post()
        asked = self.codes.pop(str(form["code"]), None)
        challenge = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        is_same = asked is not None and (
            form["redirect_uri"],
            form["client_id"],
            base64.urlsafe_b64encode(challenge).decode().rstrip("="),
        ) == (asked["redirect_uri"], asked["client_id"], asked["code_challenge"])
        if asked is None or not is_same:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if self._sent_secret(request, form.get("client_secret")) != self.client_secret:
            return web.json_response({"error": "invalid_client"}, status=401)
        claims = {"nonce": asked["nonce"], "azp": asked["client_id"], **(self.person or {})}
        return web.json_response({"id_token": self.token(**claims), "access_token": "x", "token_type": "Bearer"})

    def _sent_secret(self, request: web.Request, in_form: object) -> object:
        if self.secret_in == "client_secret_post":
            return in_form
        sent = request.headers.get("Authorization")
        if sent is None:
            return None
        return unquote_plus(base64.b64decode(sent.removeprefix("Basic ")).decode().partition(":")[2])

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        if self.is_down:
            return web.json_response({"error": "down"}, status=503)
        if request.method == "POST":
            is_code = (await request.post()).get("grant_type") == "authorization_code"
            return await (self._exchange if is_code else self._device)(request)
        if request.path == "/authorize":
            return self._authorize(request)
        if request.path.endswith("openid-configuration"):
            places = {
                "authorization_endpoint": f"{self.url}/authorize",
                "device_authorization_endpoint": f"{self.url}/device",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "token_endpoint_auth_methods_supported": [self.secret_in],
            }
            return web.json_response({"issuer": self.named or self.url, **places})
        return web.json_response(KeySet(self.keys).as_dict(private=False))


@asynccontextmanager
async def oidc_issuer() -> AsyncIterator[OidcIssuer]:
    """Run an issuer."""
    issuer = OidcIssuer()
    issuer.rotate("first")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", issuer._answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        await runner.cleanup()
