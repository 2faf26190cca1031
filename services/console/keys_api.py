"""`/api/keys`: write keys and secret keys, made, listed and ended by an admin."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from shared.http import Problem, allow
from shared.keys import KeyRing, Kind, Role


class NewKey(BaseModel):
    """What to make: a write key has no role; a secret key needs one."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind
    role: Role | None = None
    name: str = Field(default="", max_length=100)


def key_routes(keys: KeyRing) -> APIRouter:
    """Routes for admins only. A token is answered once, when its key is made."""
    router = APIRouter(prefix="/api/keys", dependencies=[allow()])

    @router.get("")
    async def list_keys() -> dict[str, Any]:
        return {"items": await keys.list_keys(), "next": None}

    @router.post("", status_code=201)
    async def create_key(wanted: NewKey) -> dict[str, Any]:
        if (wanted.role is None) != (wanted.kind == "write"):
            raise Problem(400, "invalid", "a secret key needs a role (admin, marketer, sales, viewer); a write key has none")
        key, token = await keys.create(wanted.kind, wanted.role, wanted.name)
        return {"id": key.id, "kind": key.kind, "role": key.role, "name": key.name, "token": token}

    @router.delete("/{key_id}")
    async def revoke_key(key_id: str) -> dict[str, Literal[True] | str]:
        if keys.is_fixed(key_id):
            raise Problem(409, "fixed", f"{key_id} is fixed by the settings or lies in the data folder; change it there and start again")
        if not await keys.revoke(key_id):
            raise Problem(404, "not_found", f"no live key {key_id}; `dripline keys list` names them")
        return {"id": key_id, "revoked": True}

    return router
