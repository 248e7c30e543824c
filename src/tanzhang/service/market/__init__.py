"""What pooled reductions become: units, lots, trade, money, retirement, passing on; one verb per module."""
