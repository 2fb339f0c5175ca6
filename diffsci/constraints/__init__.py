"""Constraints: conditions that every state must meet, kept exactly while sampling."""
