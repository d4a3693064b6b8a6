"""Processors of PDFs."""
