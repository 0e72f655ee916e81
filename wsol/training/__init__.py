"""Training: one typed config, the loop, checkpoints that survive, and several processes."""
