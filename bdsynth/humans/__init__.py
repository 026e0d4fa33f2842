"""Synthetic people: a body, clothes, a motion, cameras and light, and from them pictures with their truth."""
