"""Connections, transactions and tables. Knows no rule of the product."""
