"""SQL for Roe: parameters are bound here, for its API takes none."""
