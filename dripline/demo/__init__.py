"""What `dripline run` adds so that a newcomer needs no mail server: a mailbox behind a real SMTP socket."""
