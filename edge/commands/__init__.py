"""The verbs of the `edge` command, one module each; loaded when called."""
