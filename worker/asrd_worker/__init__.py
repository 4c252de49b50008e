"""The worker of asrd: one mortal process with one engine. It is started by the supervisor and by nobody else."""
