"""The doors of the server: what every request goes through, whatever it asks for."""

from __future__ import annotations

import logging
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)


class OnlyFrom:
    """Refuses pages of other origins, and names by which nobody may address this server.

    A page from elsewhere could otherwise make a visitor's browser talk to it.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            host, origin = headers.get("host", ""), headers.get("origin")
            wrong = None
            if _name(host) not in self.hosts:
                wrong = ("Host", host)
            elif origin is not None and origin.partition("://")[2] != host:
                wrong = ("Origin", origin)
            if wrong is not None:
                told = {"field": wrong[0], "error": f"{wrong[0]}: {wrong[1]!r} is not let in"}
                await JSONResponse(told, 403)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Told:
    """A line of the log for every request: who, what, the answer's status and size, and seconds.

    A refusal's reason is told beside it, since the client alone would know it otherwise.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, size, reason, began = 499, 0, b"", time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status, size, reason
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
                reason += message.get("body", b"")[:_SHOWN] if status >= 400 else b""
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            query = scope["query_string"].decode("latin-1")
            log.log(
                logging.DEBUG if scope["path"] == "/health" else logging.INFO,
                "serve: %s %s %s -> %d, %d bytes, %.2f s%s",
                (scope.get("client") or ("-",))[0],
                scope["method"],
                _plain(scope["path"] + (f"?{query}" if query else "")),
                status,
                size,
                time.monotonic() - began,
                f": {_plain(reason.decode('utf-8', 'replace'))}" if reason else "",
            )


_SHOWN = 300


def _plain(text: str) -> str:
    """A stranger's text on one line of the log."""
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def _name(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
