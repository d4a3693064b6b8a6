"""Processors that call other servers."""
