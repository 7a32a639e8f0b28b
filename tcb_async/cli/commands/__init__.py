"""One module per command: its options, its examples, and what is wrong with the options."""
