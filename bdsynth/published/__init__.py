"""Readers of the checkpoints that other projects published: key maps and sizes, nothing else."""
