"""Measuring: harness, devices, gates and reports."""
