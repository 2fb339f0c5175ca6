"""The HTTP side: what may be asked where, and what is refused before the model sees it."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from diffsci.families import did_you_mean
from diffsci.forecasting.requests.answering import Question
from diffsci.forecasting.requests.plausible import WITHIN
from diffsci.serving import pages
from diffsci.serving.bodies import KINDS
from diffsci.serving.desk import Desk
from diffsci.serving.doors import OnlyFrom, Told
from diffsci.serving.refusals import Refusal

log = logging.getLogger(__name__)

PARAMETERS = ("members", "seed", "lead", "start", "within")

_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def application(desk: Desk, hosts: tuple[str, ...] = ()) -> Starlette:
    """The application of one model.

    Args:
        desk: With the model.
        hosts: Names by which clients may address it, beside those of this machine.
    """

    async def sample(request: Request) -> Response:
        try:
            return await _sample(request, desk)
        except (Refusal, HTTPException):
            raise
        except Exception as error:  # Past here it would be raised, and logged, a second time.
            return await _failed(request, error)

    async def health(request: Request) -> Response:
        told = {"status": "ok", "waiting": desk.waiting, "answered": desk.answered}
        return JSONResponse({**told, "model": desk.model.pipeline.name})

    async def model(request: Request) -> Response:
        return JSONResponse(pages.described(desk.model))

    async def openapi(request: Request) -> Response:
        return JSONResponse(pages.openapi(desk))

    async def page(request: Request) -> Response:
        return HTMLResponse(
            pages.page(desk, request.headers["host"]),
            headers={"Content-Security-Policy": pages.POLICY},
        )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    return Starlette(
        routes=[
            Route("/sample", sample, methods=["POST"]),
            Route("/health", health),
            Route("/model", model),
            Route("/openapi.json", openapi),
            Route("/docs", page),
            Route("/", page),
        ],
        middleware=[Middleware(Told), Middleware(OnlyFrom, hosts=(*_LOCAL, *hosts))],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _nothing_there,
            Exception: _failed,
        },
        lifespan=lifespan,
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    # What is left of a body is not read: the connection ends with the answer.
    headers = {"Connection": "close"} if error.status in (408, 413, 415) else {}
    if error.status == 503:
        headers["Retry-After"] = "10"
    return JSONResponse(error.to_dict(), error.status, headers)


async def _nothing_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    way = f"{request.method} {request.url.path}"
    ways = "POST /sample, GET /, /model, /health and /openapi.json"
    told = {"field": "path", "error": f"path: {way} is nothing here; there are {ways}"}
    return JSONResponse(told, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("serve: %s", error, exc_info=error)
    told = {"field": "server", "error": "something went wrong here; the server's log says what"}
    return JSONResponse(told, 500)


async def _sample(request: Request, desk: Desk) -> Response:
    question = asked(request)
    kind = _kind(request, desk.limits.body)
    folder = Path(tempfile.mkdtemp(prefix="diffsci-serve-"))
    try:
        body = await _received(request, folder / "body", desk)
        made = await _while_there(request, desk.ask(body, kind, question, folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        made,
        media_type="application/x-netcdf",
        filename=f"{desk.model.pipeline.name}.nc",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def asked(request: Request) -> Question:
    """The question of a request's parameters.

    Raises:
        Refusal: Naming the parameter.
    """
    query = request.query_params
    for key in query:
        if key not in PARAMETERS:
            near = did_you_mean(key, PARAMETERS)
            raise Refusal(
                400, key, f"{key}: no such parameter{near}; there are {', '.join(PARAMETERS)}"
            )
        if key != "start" and len(query.getlist(key)) > 1:
            raise Refusal(400, key, f"{key}: is given more than once")
    return Question(
        members=_count(query.get("members"), "members", 1, 100_000),
        seed=_count(query.get("seed"), "seed", 0, 2**63 - 1),
        lead=query.get("lead"),
        starts=tuple(query.getlist("start")),
        within=_deviations(query.get("within")),
    )


def _deviations(text: str | None) -> float:
    if text is None:
        return WITHIN
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not found > 0:
        raise Refusal(
            400, "within", f"within: got {text[:40]!r}, expected a number above 0, or inf"
        )
    return found


def _count(text: str | None, name: str, low: int, high: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or not low <= int(text[:25]) <= high:
        raise Refusal(400, name, f"{name}: got {text[:40]!r}, expected {low} to {high}")
    return int(text)


def _kind(request: Request, limit: int) -> str:
    """Of the body; refused by its headers alone where it is too large or of another kind."""
    told = request.headers.get("content-length")
    if told is not None and told.isdigit() and int(told) > limit:
        raise Refusal(413, "body", f"body: {int(told):,} bytes, the limit is {limit:,}")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "Content-Encoding", "Content-Encoding: send the body as it is")
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0]
    if kind.strip().lower() not in KINDS:
        raise Refusal(
            415, "Content-Type", f"Content-Type: got {kind[:80]!r}, expected {', '.join(KINDS)}"
        )
    return KINDS[kind.strip().lower()]


async def _received(request: Request, place: Path, desk: Desk) -> Path | None:
    """The body as a file; none where it is empty.

    Raises:
        Refusal: When it is longer than it may be, or stops coming.
    """
    size, limits = 0, desk.limits
    chunks = request.stream().__aiter__()
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.seconds
    with place.open("wb") as file:
        while True:
            try:
                left = min(limits.idle, end - loop.time())
                chunk = await asyncio.wait_for(anext(chunks), max(left, 0.001))
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise Refusal(408, "body", f"body: nothing came for {limits.idle:g} s") from None
            except ClientDisconnect:
                raise Refusal(400, "body", "body: the connection ended in its midst") from None
            size += len(chunk)
            if size > limits.body:
                raise Refusal(413, "body", f"body: more than {limits.body:,} bytes, the limit")
            file.write(chunk)
    return place if size else None


async def _while_there(request: Request, answer: Coroutine[Any, Any, Path]) -> Path:
    """The answer, unless the client goes away before it: then it is not computed to the end."""
    work = asyncio.ensure_future(answer)
    try:
        while not work.done():
            await asyncio.wait([work], timeout=1.0)
            if not work.done() and await request.is_disconnected():
                work.cancel()
        made: Path = await work
    except asyncio.CancelledError:
        raise Refusal(499, "client", "the client has gone") from None
    return made
