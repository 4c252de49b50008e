"""What the daemon tells: logs, events, reports."""
