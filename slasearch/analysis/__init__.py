"""From stored trials to estimates with intervals: pure functions from frames to frozen results."""
