"""The product: the command, and all services in one process."""
