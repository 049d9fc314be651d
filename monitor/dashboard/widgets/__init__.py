"""What stands on the screen, one widget per concern; each shows what the pure modules made."""
