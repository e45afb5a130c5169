"""What the customer and the staff are told, as pure decisions."""
