"""Runs trials with Ray Tune: the searcher and scheduler over a study, what a worker process does, and the driver."""
