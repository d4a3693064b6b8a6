"""HTTP: parse, call, render."""
