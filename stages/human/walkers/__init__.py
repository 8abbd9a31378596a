"""People who do not exist, walking: bodies, gaits, clothes, and what a camera makes of them."""
