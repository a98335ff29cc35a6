"""The `edge` command."""
def main() -> int:
    return 0
