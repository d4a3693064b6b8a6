"""Processors of archives."""
