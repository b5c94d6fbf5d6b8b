"""Spoken digits that the audio challenge mixes: a WAV file for each language, and where each digit begins in it."""
