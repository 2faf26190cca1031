"""`dripline keys`: who may post events and who may act."""

from enum import StrEnum
from typing import Annotated

import typer

from dripline.cli.client import DataOption, ask
from dripline.cli.shell import WRONG_USE, Commands, Failure, Format, FormatOption, put_json, put_rows, safe, screen, short, table

keys = typer.Typer(name="keys", cls=Commands, help="Write keys (pk_…) post events; secret keys (sk_…) act.")


class Kind(StrEnum):
    write = "write"
    secret = "secret"


class Role(StrEnum):
    admin = "admin"
    marketer = "marketer"
    sales = "sales"
    viewer = "viewer"


@keys.command("create")
def create(
    kind: Annotated[Kind, typer.Argument(help="write: post events only. secret: read and act.")],
    role: Annotated[Role | None, typer.Option(help="What a secret key may do; it needs one.")] = None,
    name: Annotated[str, typer.Option(help="Who or what it is for.")] = "",
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Make a key.

    Its token is shown this once.
    """
    if kind is Kind.secret and role is None:
        raise Failure("say what the key may do: --role admin, marketer, sales or viewer", WRONG_USE)
    wanted = {"kind": kind, "role": role, "name": name}
    made = ask(data, lambda api: api.post("/api/keys", wanted))
    if format is Format.json:
        put_json(made)
        return
    screen().print(made["token"], soft_wrap=True)
    screen(stderr=True).print(f"{made['id']}: shown this once; keep it safe", style="dim")


@keys.command("list")
def list_keys(data: DataOption = None, format: FormatOption = Format.text) -> None:
    """List every key ever made."""
    found = ask(data, lambda api: api.get("/api/keys"))
    if format is Format.json:
        put_json(found)
        return
    rows = table("id", "kind", "role", "name", "made", "revoked")
    for key in found["items"]:
        made = short(key["created_at"]) or "fixed by the settings"
        rows.add_row(key["id"], key["kind"], key["role"] or "", safe(key["name"]), made, short(key["revoked_at"]))
    put_rows(rows)


@keys.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID")], data: DataOption = None, format: FormatOption = Format.text) -> None:
    """End a key.

    Every process refuses it within seconds.
    """
    ended = ask(data, lambda api: api.delete(f"/api/keys/{key_id}"))
    put_json(ended) if format is Format.json else screen().print(f"{key_id} is revoked")
