"""Every figure the README quotes, with its peer or its floor beside it in the same run."""
