"""HTTP: what browsers, clients and people in the console speak to. Views are short; the rules are elsewhere."""
