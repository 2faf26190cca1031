"""What erasing does with every table: whoever adds one says here how it is emptied, and sees to it."""

from dripline.migrate import every_table

HOW = {
    "scoring_lead": "deleted by lead",
    "scoring_identity": "deleted by lead",
    "scoring_event": "deleted by lead",
    "scoring_renewal": "of nobody",
    "journeys_lead": "emptied",
    "journeys_enrollment": "emptied",
    "journeys_visit": "of nobody",
    "journeys_recent": "deleted by lead",
    "journeys_control": "of nobody",
    "mailer_delivery": "emptied",
    "mailer_received": "of nobody",
    "mailer_withdrawal": "of nobody",
    "mailer_lead": "emptied",
    "mailer_suppression": "deleted by address",
    "mailer_address": "deleted by address",
    "mailer_endpoint": "of nobody",
    "mailer_handoff": "emptied",
    "mailer_request": "deleted by delivery",
    "mailer_rate": "of nobody",
    "mailer_warm_up": "of nobody",
    "shared_position": "of nobody",
    "shared_backlog": "of nobody",
    "shared_outbox": "waited for",
    "shared_dead_letter": "deleted by name",
    "shared_erasure": "of nobody",
    "shared_grave": "keyed hashes",
    "shared_key": "of nobody",
    "shared_playbook": "of nobody",
}
"""`services/*/erasing.py` and `shared/erasing.py` do as it says here."""


def test_every_table_says_what_erasing_makes_of_it():
    assert {table.name for table in every_table().sorted_tables} == set(HOW)


def test_a_table_that_names_leads_is_not_called_nobodys():
    named = {table.name for table in every_table().sorted_tables if {"lead_id", "email", "address"} & set(table.columns.keys())}
    assert {table for table in named if HOW[table] == "of nobody"} == {"shared_erasure"}
