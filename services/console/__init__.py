"""The front and its pages: one address for all services, no tables, no private door."""
