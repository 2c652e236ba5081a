"""The public API's verbs, one a file: each composes rooms, returns values and prints nothing; the CLI prints them."""
