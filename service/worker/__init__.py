"""From a ticket to a settled job."""
