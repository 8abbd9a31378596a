"""What `synth` is made of: what to make, who makes it, and where it goes."""
