"""Domains that a researcher writes: one TOML file with phrasings, slots and what fills them."""
