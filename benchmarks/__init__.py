"""What a wait costs: measured against a bare aiohttp loop, and against other providers' triggers."""
