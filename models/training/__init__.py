"""Training and distillation: tasks, losses, and the one loop that all families share."""
