"""`dripline publish`: puts a playbook in force."""

from pathlib import Path
from typing import Annotated

import typer

from dripline.cli.client import DataOption, ask
from dripline.cli.shell import Failure, Format, FormatOption, put_json, screen
from shared.playbooks import Playbook, read_folder


def publish(
    folder: Annotated[Path, typer.Argument(help="The playbook's folder.")],
    data: DataOption = None,
    format: FormatOption = Format.text,
) -> None:
    """Put a playbook in force.

    It is checked where it will work, with the environment there, and refused whole if it has a mistake. Leads inside a journey finish the
    version they began.
    """
    book = read_folder(folder)
    published = ask(data, lambda api: api.post("/api/playbook", {"files": _texts(folder, book)}))
    if format is Format.json:
        put_json(published)
    else:
        screen().print(f"version {published['version']} is in force: {len(published['files'])} files")


def _texts(folder: Path, book: Playbook) -> dict[str, str]:
    texts = {}
    for path, content in book.files.items():
        try:
            texts[path] = content.decode()
        except UnicodeDecodeError as error:
            raise Failure(f"{folder / path}: byte {error.start} is no UTF-8; save the file as UTF-8") from error
    return texts
