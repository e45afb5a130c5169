"""How fast Expedite is, measured on the real system through its public interfaces."""
