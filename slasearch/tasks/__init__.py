"""Tasks: where texts and labels come from, their splits, their tokens, their batches and their scores."""
