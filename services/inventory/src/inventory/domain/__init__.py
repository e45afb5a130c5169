"""The pure core of inventory: what a unit, a shelf and a sourcing decision are. No clock, no ids, no I/O."""
