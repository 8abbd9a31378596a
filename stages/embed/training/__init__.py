"""Training of gait networks."""
