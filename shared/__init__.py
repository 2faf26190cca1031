"""Wire shapes and plumbing that knows no marketing."""
