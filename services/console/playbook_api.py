"""`/api/playbook`: which one is in force, and publishing another. What has mistakes is refused whole, and the one before stays."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from shared.http import Problem, allow
from shared.playbooks import Playbook, Playbooks, playbook_of

Checker = Callable[[Playbook], Sequence[object]]
"""Every mistake of a playbook, as `file:line:column: message`; none where it may be published."""


class NewPlaybook(BaseModel):
    """A playbook's folder: the text of each file by its path in it."""

    model_config = ConfigDict(extra="forbid")
    files: dict[str, str]


def playbook_routes(playbooks: Playbooks, check: Checker) -> APIRouter:
    """Viewers look, marketers publish. Every replica goes by the newest within seconds."""
    router = APIRouter(prefix="/api/playbook")

    @router.get("", dependencies=[allow("marketer", "sales", "viewer")])
    async def in_force() -> dict[str, Any]:
        newest = await playbooks.newest()
        return {"version": newest.version, "files": sorted(newest.files)}

    @router.post("", dependencies=[allow("marketer")])
    async def publish(new: NewPlaybook) -> dict[str, Any]:
        book = playbook_of({path: text.encode() for path, text in new.files.items()})
        if troubles := check(book):
            raise Problem(400, "mistakes", "nothing was published, the playbook has mistakes\n" + "\n".join(map(str, troubles)))
        await playbooks.publish(book)
        return {"version": book.version, "files": sorted(book.files)}

    return router
