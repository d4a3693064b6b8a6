"""Processors of audio and video."""
