"""Which job next."""
