"""What the doctor checks: each law of the ledger, recounted from what is stored by itself."""
