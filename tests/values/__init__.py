"""What values are and when they are refused."""
