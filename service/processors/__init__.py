"""What a processor is, and how it is found and called."""
