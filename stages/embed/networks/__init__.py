"""Gait networks and the blocks they share, one file each. Importing a network imports torch."""
