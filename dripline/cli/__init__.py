"""The command: `dripline run`, `check`, and clients of the API."""
