"""Device code in Triton: what runs on the card, launched by the modules one folder up. Importing it needs triton."""
