"""The command line: one module per verb, each parses, calls one function of a room and writes the result."""
