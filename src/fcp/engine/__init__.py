"""Training: recipes, the loop, and the two stages of `tiny`. The only import of accelerate."""
