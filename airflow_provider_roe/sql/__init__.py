"""SQL for and from other code: literals (binding) and dbapi (PEP 249)."""
