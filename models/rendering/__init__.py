"""Draws catalogue-like photos with exact boxes and labels; Pillow and numpy only."""
