"""What is done to files, and what a processor is."""
