"""Networks, their cards and their checkpoints."""
