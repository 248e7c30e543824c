"""What the system does for someone, one verb per module."""
