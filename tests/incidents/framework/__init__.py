"""Staged incidents: worlds in which they happen, and a judge of the answers."""
