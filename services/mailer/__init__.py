"""Delivers what journeys decided: mails over SMTP, hand-offs over signed webhooks; and says what became of each."""
