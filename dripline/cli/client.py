"""How a command reaches the API: by its address, else the `run` of the data folder, else the folder itself, under its lock."""

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import typer
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from dripline.cli.shell import NO, WRONG_USE, Failure

SECONDS = 60.0
TRIES = 20
"""How often a busy tracking API is asked."""
Answered = TypeVar("Answered")

DataOption = Annotated[Path | None, typer.Option("--data", help="The data folder of the `run` to talk to.", show_default="./.dripline")]


class ClientSettings(BaseSettings):
    """Where the API is, from the environment or `.env`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    url: str = ""
    api_key: SecretStr = SecretStr("")
    data_dir: Path = Path(".dripline")


class Api:
    """The API, asked with one key. Every refusal becomes a Failure that says what the server said."""

    def __init__(self, client: httpx.AsyncClient, token: str, *, is_live: bool = True) -> None:
        """`is_live`: services are at work behind it; an opened folder only answers."""
        self.is_live = is_live
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **params: str | int | None) -> Any:
        given = {name: str(value) for name, value in params.items() if value is not None}
        return await self._ask("GET", path, params=given)

    async def each(self, path: str, cursor: str = "cursor", **params: str | int | None) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        at: str | None = None
        while True:
            page = await self.get(path, **params | {cursor: at})
            for item in page["items"]:
                yield item
            at = page["next"]
            if at is None:
                return

    async def find(self, path: str) -> Any | None:
        """As `get`, but None where nothing is there."""
        return await self._ask("GET", path, missing_is_none=True)

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """An answer as it comes, however large."""
        try:
            async with self._client.stream("GET", path, headers=self._headers) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise Failure(_said(answer), NO)
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise Failure(f"{self._client.base_url} broke off ({type(error).__name__}): what was written is not whole") from error

    async def post(self, path: str, body: Any = None) -> Any:
        return await self._ask("POST", path, json=body)

    async def track(self, path: str, body: Any) -> Any:
        """Post to the tracking API, whose keys travel as Segment's do; waits and tries again while it is busy or holds."""
        token = self._headers["Authorization"].removeprefix("Bearer ")
        for _ in range(TRIES):
            answer = await self._request("POST", path, json=body, headers={}, auth=(token, ""))
            if answer.status_code not in (429, 503):
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
        return _taken(answer)

    async def delete(self, path: str, **params: str | int) -> Any:
        return await self._ask("DELETE", path, params=params)

    async def _ask(self, method: str, path: str, *, missing_is_none: bool = False, **request: Any) -> Any:
        answer = await self._request(method, path, headers=self._headers, **request)
        if answer.status_code == 404 and missing_is_none:
            return None
        return _taken(answer)

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **request)
        except httpx.HTTPError as error:
            raise Failure(f"{self._client.base_url} does not answer ({type(error).__name__}); is `dripline run` alive?") from error


def _taken(answer: httpx.Response) -> Any:
    """What a good answer says. Raises Failure in the server's words for any other."""
    if answer.status_code == 401:
        raise Failure(
            f"{answer.request.url.host} does not know this key (any more): look at DRIPLINE_API_KEY; `dripline keys create` makes one"
        )
    if answer.is_error:
        raise Failure(_said(answer), WRONG_USE if answer.status_code == 400 else NO)
    return answer.json()


def ask(data: Path | None, question: Callable[[Api], Awaitable[Answered]]) -> Answered:
    """Reach the API and put one question to it."""

    async def go() -> Answered:
        async with reached(data) as api:
            return await question(api)

    return asyncio.run(go())


@asynccontextmanager
async def reached(data: Path | None) -> AsyncIterator[Api]:
    """The API, wherever it is. Raises Failure with the remedy where it is nowhere."""
    settings = ClientSettings()
    if settings.url and data is None:
        async with _connected(settings.url) as client:
            yield Api(client, _token(settings))
        return
    folder = data or settings.data_dir
    running = _announced(folder)
    if running is not None:
        async with _connected(running["url"]) as client:
            yield Api(client, running["token"])
        return
    if not (folder / "state.db").exists():
        remedy = "start `dripline run`, name its folder with --data, or set DRIPLINE_URL and DRIPLINE_API_KEY"
        raise Failure(f"nothing runs here and {folder} holds nothing yet; {remedy}", WRONG_USE)
    from dripline.embedded import opened

    async with opened(folder) as (client, token):
        yield Api(client, token, is_live=False)


def _connected(url: str) -> httpx.AsyncClient:
    """Proxies of the environment are for other hosts, never for this machine."""
    here = httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")
    return httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=not here)


def _token(settings: ClientSettings) -> str:
    token = settings.api_key.get_secret_value()
    if not token:
        raise Failure("DRIPLINE_URL is set, DRIPLINE_API_KEY is not; `dripline keys create` on the server makes one", WRONG_USE)
    return token


def _announced(folder: Path) -> dict[str, Any] | None:
    """What the `run` of this folder says of itself; None where none runs (a killed one may have left its note)."""
    try:
        said: dict[str, Any] = json.loads((folder / "run.json").read_text())
        with (folder / "lock").open("rb") as lock:  # whoever runs holds it; another process may have got the pid of a killed one
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return said
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Failure(f"{folder}: the `run` here belongs to another user; set DRIPLINE_URL and DRIPLINE_API_KEY", WRONG_USE) from None
    return None


def _said(answer: httpx.Response) -> str:
    """The server's own words."""
    try:
        said = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        said = f"{answer.request.url.path} answered {answer.status_code}"
    return str(said)
