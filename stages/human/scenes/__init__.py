"""Scenes in colour: walkers in places, before one or several cameras, with what is true of them."""
