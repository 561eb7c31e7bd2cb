"""The study file: its schema, reading it with every error at once, its fingerprint, and where results lie."""
