"""Processors of tables."""
