"""The rules of the product: who is who, what is counted, who gets which message. Knows storage and values, not HTTP."""
