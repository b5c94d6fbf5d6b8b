"""Fonts that the image challenge draws with, each beside its licence."""
