"""What to run next, asked of Optuna, told truthfully, and written so that a crash at any point loses nothing."""
