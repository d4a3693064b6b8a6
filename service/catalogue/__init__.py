"""What is done to files: one package for each family."""
