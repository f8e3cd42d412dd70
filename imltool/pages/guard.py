"""Access control of the server: it answers only pages that know the token, on this machine, with small requests.

A foreign web page can send requests to a local port, or make its own host name point to this machine. It cannot know
the token, which is the first part of every address and new in each run. Requests with foreign Host and Origin headers
are refused in addition.
"""

from __future__ import annotations

import hmac

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 1_000_000
"""Largest request in bytes: hundreds of boxes with clicks take a tenth of it."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: checks Host, Origin, token and size, removes the token from the path, and adds `HEADERS`.

    Args:
        hosts: accepted values of the Host header, with port.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets here

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            status, reason = refusal
            await JSONResponse({"error": reason}, status)(scope, receive, answer)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES:
                raise HTTPException(413, "the request is too large")
            return message

        path = scope["path"][len(self.token) + 1 :]
        await self.app({**scope, "path": path, "raw_path": path.encode(), "root_path": ""}, counted, answer)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if host not in self.hosts:
            return 421, "this server answers on its own address only"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"http://{host}":
            return 403, "requests of other sites are refused"
        if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
            return 403, "requests of other sites are refused"
        given, slash, _ = scope["path"][1:].partition("/")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return 403, "open the address that the command printed at its last start"
        if not slash:
            return 404, "the address must end with a slash"
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > BODY_BYTES:
            return 413, "the request is too large"
        if scope["method"] == "POST" and headers.get(b"content-type", b"").split(b";")[0] != b"application/json":
            return 415, "requests must hold JSON"
        return None
