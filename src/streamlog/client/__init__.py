"""What programs use: `Producer`, `Consumer` and `Admin`, through the public face of a broker."""
