"""What `dripline run` adds so that a newcomer needs nothing else: a shop, a mailbox behind a real SMTP socket, a sales team."""
