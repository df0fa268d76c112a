"""Values and their rules: no storage, no network, no clock of its own. Imports nothing else of the package."""
