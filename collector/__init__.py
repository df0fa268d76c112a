"""Leadlight: a self-hosted web tracker and in-page messenger."""

__version__ = "0.1.0"
