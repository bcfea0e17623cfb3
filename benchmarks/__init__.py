"""What streamlog costs, next to the floor below it and to what a user would pick instead: `make bench`."""
