"""Processors of files of any kind."""
