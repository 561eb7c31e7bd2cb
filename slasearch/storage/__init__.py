"""One SQL database for everything: our `sla_` tables beside Optuna's own, and the files that trials hand back."""
