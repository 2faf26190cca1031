"""The database's schema, step by step; every released step upgrades with data in place."""
