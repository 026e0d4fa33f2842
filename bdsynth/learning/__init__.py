"""What every experiment needs to learn: config, run folder, checkpoints and one training loop."""
