"""What happens to goods between the shelf and the dock: pure decisions over one order's work."""
