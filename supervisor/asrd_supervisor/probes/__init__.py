"""What the operating system knows of a worker."""
