"""The decisions of order-intake: pure and synchronous."""
