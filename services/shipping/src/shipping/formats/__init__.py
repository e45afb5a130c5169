"""Tracking webhooks in the words of those who send them, translated into ours. Pure: bytes in, updates out."""
