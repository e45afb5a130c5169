"""Where every order is, folded from every event. Decides nothing."""
