"""edge: from a PyTorch checkpoint to files a phone or a Raspberry Pi runs, with proof."""

__version__ = "0.1.0"
