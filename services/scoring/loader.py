"""Scoring's part of the playbook: readiness.yaml and four keys of playbook.yaml, to frozen definitions, with every mistake told at once.

published files ──load──► Definitions ──► consumer.py, scheduler.py, api.py
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel

from services.scoring.forms import ConsentForm, FitForm, OrdersForm, PlaybookForm, ReadinessForm, RuleForm, SleepingForm
from services.scoring.histories import asked_for
from services.scoring.history import Noted, OrderRule
from services.scoring.leads import Definitions
from services.scoring.past import TOLD_HERE
from services.scoring.reach import ConsentRule
from services.scoring.readiness import Fit, Rule, Rules
from services.scoring.sleeping import SleepRule
from shared.expressions import Expression, ExpressionError, compile_expression
from shared.yaml import Document, Path, PlaybookError, Trouble, read, shape

READINESS, PLAYBOOK = "readiness.yaml", "playbook.yaml"
PLAYBOOK_KEYS = frozenset({"orders", "consent", "late_after", "events"})
"""The keys of playbook.yaml that are scoring's."""
OF_AN_EVENT = frozenset({"event"})
OF_A_LEAD = frozenset({"lead.traits", "lead.tags", "lead.consent"})

M = TypeVar("M", bound=BaseModel)


def load(files: Mapping[str, bytes], environ: Mapping[str, str]) -> Definitions:
    """Read scoring's part of a playbook. Raises PlaybookError with all that is wrong in it.

    What is left out is off: without readiness.yaml every lead stays at 1, without `late_after` only imported events are late.
    """
    reading = _Reading()
    readiness = reading.form(files, READINESS, ReadinessForm, environ)
    playbook = reading.form(files, PLAYBOOK, PlaybookForm, environ)
    rules = Rules() if readiness is None else reading.rules(*readiness)
    orders = None if playbook is None or playbook[1].orders is None else reading.orders(playbook[0], playbook[1].orders)
    if reading.troubles:
        raise PlaybookError(sorted(reading.troubles, key=lambda trouble: (trouble.file, trouble.line, trouble.column)))
    return Definitions(
        version=_version(None if readiness is None else readiness[1], None if playbook is None else playbook[1]),
        rules=rules,
        noted=Noted(frozenset(asked_for(files)), orders, None if playbook is None else _consent(playbook[1].consent)),
        late_after=None if playbook is None else playbook[1].late_after,
        sleep=None if readiness is None else _sleep(readiness[1].sleeping),
    )


def _version(readiness: ReadinessForm | None, playbook: PlaybookForm | None) -> str:
    """The name of all that the past is folded and judged by: a comment or another order of keys changes nothing in it."""
    orders = None if playbook is None else playbook.orders
    parts = ["" if form is None else form.model_dump_json(exclude_defaults=True) for form in (readiness, orders)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _consent(form: ConsentForm | None) -> ConsentRule | None:
    return None if form is None else ConsentRule(frozenset(form.events), form.from_browser == "single")


def _sleep(form: SleepingForm | None) -> SleepRule | None:
    return None if form is None else SleepRule(_names(form.event), form.silent_for)


class _Reading:
    """Reads the two files; what is wrong is collected."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []

    def form(self, files: Mapping[str, bytes], file: str, model: type[M], environ: Mapping[str, str]) -> tuple[Document, M] | None:
        """The file in its shape; None where it is not there or not right."""
        if file not in files:
            return None
        try:
            document = read(files[file], file)
            if file == PLAYBOOK:
                document = _our_keys(document.with_environment(environ, PLAYBOOK_KEYS))
            return document, shape(document, model)
        except PlaybookError as error:
            self.troubles += error.troubles
            return None

    def rules(self, document: Document, form: ReadinessForm) -> Rules:
        self._ids(document, form)
        if form.sleeping is not None:
            self._done_by_leads(document, ("sleeping", "event"), form.sleeping.event)
        if form.rearm_below is not None and (form.hot is None or form.rearm_below > form.hot):
            self._wrong(document, ("rearm_below",), "`rearm_below` must not lie above `hot`: a hot lead must cool below it first")
        return Rules(
            rules=tuple(self._rule(document, ("rules", index), rule, form.half_life) for index, rule in enumerate(form.rules)),
            fit=tuple(self._fit(document, ("fit", index), line) for index, line in enumerate(form.fit)),
            hot=form.hot,
            rearm_below=form.rearm_below,
            hold=form.hold or timedelta(0),
        )

    def orders(self, document: Document, form: OrdersForm) -> OrderRule:
        amount = self._expression(document, ("orders", "amount"), form.amount, OF_AN_EVENT) if form.amount else None
        return OrderRule(_names(form.event), _names(form.refund or []), amount)

    def _ids(self, document: Document, form: ReadinessForm) -> None:
        """Reasons and evidence go by the id, so rules and fit share one set of them."""
        first: dict[str, Path] = {}
        places = [(("rules", index, "id"), rule.id) for index, rule in enumerate(form.rules)]
        places += [(("fit", index, "id"), line.id) for index, line in enumerate(form.fit)]
        for place, id in places:
            if id in first:
                line = document.mark(first[id]).line
                self._wrong(document, place, f"the id `{id}` stands twice, first on line {line}: give each rule its own")
            first.setdefault(id, place)

    def _rule(self, document: Document, place: Path, form: RuleForm, half_life: timedelta | None) -> Rule:
        if (form.at_least is None) == (form.add is None):
            self._wrong(document, place, f"rule `{form.id}`: write either `at_least: 7` or `add: 0.5`")
        if form.max is not None and form.add is None:
            self._wrong(document, (*place, "max"), "`max` holds the sum of an `add`; an `at_least` needs none")
        self._done_by_leads(document, (*place, "event"), form.event)
        return Rule(
            id=form.id,
            kind="at_least" if form.add is None else "add",
            points=form.at_least or form.add or 0.0,
            events=_names(form.event),
            when=self._expression(document, (*place, "when"), form.when, OF_AN_EVENT) if form.when else None,
            most=form.max,
            half_life=form.half_life or half_life,
            text=form.text,
        )

    def _done_by_leads(self, document: Document, place: Path, names: str | list[str]) -> None:
        for name in sorted(_names(names) & TOLD_HERE):
            self._wrong(document, place, f"`{name}` is told by the readiness itself; count what the lead did")

    def _fit(self, document: Document, place: Path, form: FitForm) -> Fit:
        return Fit(form.id, self._expression(document, (*place, "when"), form.when, OF_A_LEAD), form.add, form.text)

    def _expression(self, document: Document, place: Path, source: str, names: frozenset[str]) -> Expression:
        try:
            return compile_expression(source, names)
        except ExpressionError as error:
            self.troubles.append(document.trouble(place, error.message, error.offset))
            return _NEVER

    def _wrong(self, document: Document, place: Path, message: str) -> None:
        self.troubles.append(document.trouble(place, message))


_NEVER = compile_expression("false", frozenset())
"""Stands where an expression could not be read, until all troubles are told."""


def _our_keys(document: Document) -> Document:
    if not isinstance(document.value, dict):
        return document
    return replace(document, value={key: value for key, value in document.value.items() if key in PLAYBOOK_KEYS})


def _names(names: str | list[str]) -> frozenset[str]:
    return frozenset([names] if isinstance(names, str) else names)
