"""The command line: one file per verb parses, calls the stage and prints. The only room that knows typer and rich."""
