"""Knows every lead: who it is, what it has done, and how ready it is."""
