"""What people look at while a study runs or stands: the read-only dashboard, and what is missing on this machine."""
