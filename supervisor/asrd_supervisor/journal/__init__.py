"""What the daemon has promised, on disk: every job that was accepted, its attempts, and its one end."""
