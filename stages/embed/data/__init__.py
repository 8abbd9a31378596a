"""Stored gait sequences: the public datasets' layout, our packed format, batches for training."""
