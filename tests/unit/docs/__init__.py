"""Tests of the documentation: generated pages and quoted messages."""
