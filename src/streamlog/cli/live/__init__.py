"""What `streamlog top` is made of: `Sample`s of a broker, what happened between two of them, and the screen."""
