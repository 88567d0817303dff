"""One module per foreign head model: each reads the user's file into a `NativeHead`."""
