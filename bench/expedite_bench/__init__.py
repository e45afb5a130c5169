"""How fast the saga runs, measured on the real system through its public interfaces."""
