"""The pure core of the prioritizer: how urgent an order is, by when, and who is told when that slips."""
