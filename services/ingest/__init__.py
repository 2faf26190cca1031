"""Takes tracking events over Segment's HTTP API and answers only after the log has them."""
