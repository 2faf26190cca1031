"""Where mails land in `run` when no SMTP_URL is set: mailer ──SMTP──► Reception ──► Mailbox (a folder of .eml files)."""

import asyncio
import os
import re
import secrets
import socket
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope, Session

from dripline.demo.mail import Mail, Summary
from services.console.pages import IsTheirs
from shared.clock import real_now
from shared.names import address_name

KEEP = 2_000
"""How many mails stay; an older one is deleted when a new one comes."""

WRITERS = 4
"""Threads that write mails: as many flushes to the disk wait side by side."""

_ID = re.compile(r"\d{16}-[0-9a-f]{8}")
_MICROSECONDS = 1_000_000


class Mailbox:
    """Mails as files of one folder. A mail is on the disk, under its final name, before `store` returns; safe to use from any thread."""

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for unfinished in folder.glob("*.part"):
            unfinished.unlink()
        self._folder = folder
        self._keep = keep
        self._ids = deque(sorted(path.stem for path in folder.glob("*.eml") if _ID.fullmatch(path.stem)))
        self._lock = threading.Lock()
        self._summaries: dict[str, Summary] = {}

    def store(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """Keep one mail as its envelope delivered it and answer its id. Raises OSError where the disk takes no more."""
        mail_id = self._next_id(real_now())
        delivered = "".join(f"Delivered-To: {recipient}\r\n" for recipient in recipients)
        path = self._folder / f"{mail_id}.eml"
        _write_durably(path, f"Return-Path: <{sender}>\r\n{delivered}".encode() + content)
        with self._lock:
            self._ids.append(mail_id)
        self._forget_oldest()
        return mail_id

    def newest(self, limit: int, before: str | None = None) -> list[Summary]:
        """Up to `limit` mails, newest first; only those older than the id `before` where it is given."""
        with self._lock:
            ids = sorted((mail_id for mail_id in self._ids if before is None or mail_id < before), reverse=True)[:limit]
        return [summary for mail_id in ids if (summary := self._summary(mail_id)) is not None]

    def find(self, mail_id: str) -> Mail | None:
        """The mail, or None where the id is none of ours or the mail was deleted since."""
        if not _ID.fullmatch(mail_id):
            return None
        try:
            source = (self._folder / f"{mail_id}.eml").read_bytes()
        except FileNotFoundError:
            return None
        return Mail(mail_id, _arrival(mail_id), source)

    def forget(self, is_theirs: IsTheirs) -> int:
        """Delete the mails to somebody's addresses; says how many."""
        with self._lock:
            ids = list(self._ids)
        mails = (mail for mail_id in ids if (mail := self.find(mail_id)) is not None)
        theirs = {mail.id for mail in mails if any(is_theirs(address_name(address)) for address in mail.recipients)}
        with self._lock:
            self._ids = deque(mail_id for mail_id in self._ids if mail_id not in theirs)
        self._delete(theirs)
        return len(theirs)

    def _summary(self, mail_id: str) -> Summary | None:
        if mail_id not in self._summaries and (mail := self.find(mail_id)) is not None:
            self._summaries[mail_id] = mail.summary()
        return self._summaries.get(mail_id)

    def _next_id(self, now: datetime) -> str:
        return f"{int(now.timestamp() * _MICROSECONDS):016d}-{secrets.token_hex(4)}"

    def _forget_oldest(self) -> None:
        with self._lock:
            excess = [self._ids.popleft() for _ in range(len(self._ids) - self._keep)]
        self._delete(excess)

    def _delete(self, mail_ids: Iterable[str]) -> None:
        for mail_id in mail_ids:
            self._summaries.pop(mail_id, None)
            (self._folder / f"{mail_id}.eml").unlink(missing_ok=True)


class Reception:
    """A real SMTP server on a free port of 127.0.0.1: it answers 250 only for what the mailbox holds."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self._socket = socket.create_server(("127.0.0.1", 0))  # bound at once: the address is known before the loop runs
        self._sessions: WeakSet[SMTP] = WeakSet()
        self._writers = ThreadPoolExecutor(WRITERS, "mailbox")  # of its own: mails must land however busy the others are
        self.url = f"smtp://127.0.0.1:{self._socket.getsockname()[1]}"

    async def serve(self) -> None:
        """Take mails until cancelled; then close every session that is still open."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self._session(loop), sock=self._socket)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for session in self._sessions:
                if session.transport is not None:
                    session.transport.close()
            await server.wait_closed()
            self._writers.shutdown()

    def close(self) -> None:
        """Give the port back; for who never serves."""
        self._socket.close()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by aiosmtpd when a mail has arrived whole; the text is the SMTP answer."""
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        try:
            loop = asyncio.get_running_loop()
            mail_id = await loop.run_in_executor(self._writers, self.mailbox.store, envelope.mail_from or "", envelope.rcpt_tos, content)
        except OSError as error:
            return f"452 4.3.1 the mailbox cannot store it: {error.strerror}"
        return f"250 2.0.0 stored as {mail_id}"

    def _session(self, loop: asyncio.AbstractEventLoop) -> SMTP:
        session = SMTP(self, hostname="localhost", enable_SMTPUTF8=True, loop=loop)
        self._sessions.add(session)
        return session


def _arrival(mail_id: str) -> datetime:
    return datetime.fromtimestamp(int(mail_id[:16]) / _MICROSECONDS, real_now().tzinfo)


def _write_durably(path: Path, content: bytes) -> None:
    """The file appears whole or not at all, and is still there after a power cut."""
    part = path.with_suffix(".part")
    with part.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
