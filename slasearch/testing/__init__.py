"""Contract suites for kinds, gates, conditions, task sources and storage: each raises AssertionError on a breach."""
