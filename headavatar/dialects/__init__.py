"""Folder layouts in which other programs keep a tracked head: one file per layout, a reader and a writer in each."""
