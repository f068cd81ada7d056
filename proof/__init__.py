"""Proofs: stress, sanitizers and soaks that run longer, or need more, than tests do."""
