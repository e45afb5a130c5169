"""Pure decisions of the carrier leg: no clock, no ids, no I/O."""
