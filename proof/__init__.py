"""Proofs that take longer than a test: each runs on its own, and a short form of each is a test."""
