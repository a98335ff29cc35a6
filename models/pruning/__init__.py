"""Pruning by B-FPGM: which filters go, how many, and a network that is really smaller."""
