"""Walks leads through journeys: activities in, messages and withdrawals out."""
