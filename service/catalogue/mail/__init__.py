"""Processors of mail."""
